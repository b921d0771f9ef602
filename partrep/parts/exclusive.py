"""Exclusive parts: feature channels compete for every location, and an image is scored by the best share (PIP-Net)."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from partrep import UserError
from partrep.parts import competition, readout
from partrep.parts.structure import Parts
from partrep.shapes import check_shapes


class Exclusive(nn.Module):
    """Each channel is a part: `a_.n = softmax_k(o_n)`, `s_k = max_n a_kn`.

    The logits are `o_n = W u_n + c`, or `o_n = e^g u_n` where no number of parts is given, with `u_n` the feature
    standardised over the batch and the locations (in evaluation, by the running statistics).

    Honest explanation, with a linear head such as `nonnegative`: level 1 exactly; level 2 in this sense: the
    score of a part is its share at one location, the best, though a share is not linear in the feature there.
    Not level 3: a feature sees pixels of other parts.

    Attributes:
        parts: K >= 2, made from the features by a 1x1 convolution; None: the D channels themselves, with one learned
            scale.
        threshold: in [0,1); in evaluation scores under it are 0.

    Call:
        features: [B,h,w,D].
        train: whether this is a training step: batch statistics, no threshold.

    Returns:
        `Parts` with scores and neither vectors nor background; similarity is the logits, presence the largest
        share, without the threshold.

    Raises:
        UserError: fewer than 2 parts, a threshold out of range.
        ValueError: features without four axes.

    Example:
        >>> features = jnp.ones((2, 4, 4, 8))
        >>> start = jax.jit(Exclusive(parts=3).init_with_output, static_argnames="train")
        >>> parts, variables = start(jax.random.key(1), features, train=False)
        >>> parts.scores.shape, sorted(variables)
        ((2, 3), ['batch_stats', 'params'])

    Source: PIP-Net (Nauta et al. 2023), section 3.
    Departures: the features are standardised, each channel by itself. PIP-Net starts from a pretrained network; from
    a random start, what all features have in common gives every location to one part, and neither loss objects: one
    place a part is enough for `tanh_presence`, and one part everywhere is perfect for `alignment`. A softmax of
    small features is flat besides, and its gradient small.
    """

    parts: int | None = None
    threshold: float = 0.1

    @nn.compact
    def __call__(self, features: jax.Array, train: bool) -> Parts:
        """Shares every location out among the parts."""
        check_shapes("Exclusive", features=(features, "B h w D"))
        similarity = jnp.moveaxis(self._logits(features.astype(jnp.float32), train), -1, 1)
        if similarity.shape[1] < 2 or not 0 <= self.threshold < 1:
            found = f"{similarity.shape[1]} parts, threshold {self.threshold}"
            raise UserError(f"exclusive: {found}; expected 2 parts or more, a threshold in [0,1)")
        assignment = competition.softmax(similarity)
        presence = readout.presence(assignment)
        scores = presence if train else jnp.where(presence < self.threshold, 0.0, presence)
        return Parts(
            similarity=similarity,
            assignment=assignment,
            background=None,
            vectors=None,
            scores=scores,
            presence=presence,
            centroid=readout.centroid(assignment),
        )

    def _logits(self, features: jax.Array, train: bool) -> jax.Array:
        """Features f32 [B,h,w,D] -> f32 [B,h,w,K]."""
        norm = nn.BatchNorm(
            use_running_average=not train,
            momentum=0.9,
            epsilon=1e-6,
            use_bias=False,
            use_scale=False,
            use_fast_variance=False,  # E[x^2] - E[x]^2 loses a spread that is small beside the mean
            name="norm",
        )
        standard = norm(features)
        if self.parts is None:
            return jnp.exp(self.param("sharpness", nn.initializers.zeros, ())) * standard
        return nn.Dense(max(self.parts, 1), name="logits")(standard)
