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
    """Each channel is a part: `a_.n = softmax_k(z_n / t)`, `s_k = max_n a_kn`.

    Honest explanation, with a linear head such as `nonnegative`: level 1 exactly; level 2 in this sense: the
    score of a part is its share at one location, the best, though a share is not linear in the feature there.
    Not level 3: a feature sees pixels of other parts.

    Attributes:
        parts: K >= 2, made from the features by a 1x1 convolution; None takes the D channels as they are.
        temperature: > 0, `t`.
        threshold: in [0,1); in evaluation scores under it are 0.

    Call:
        features: [B,h,w,D].
        train: whether this is a training step.

    Returns:
        `Parts` with scores and neither vectors nor background; similarity is the logits `z / t`, presence the
        largest share, without the threshold.

    Raises:
        UserError: fewer than 2 parts, a temperature or threshold out of range.
        ValueError: features without four axes.

    Example:
        >>> features = jnp.eye(4).reshape(1, 2, 2, 4) * 20
        >>> parts = Exclusive().apply({}, features, train=False)
        >>> parts.scores.round(3).tolist()
        [[1.0, 1.0, 1.0, 1.0]]

    Source: PIP-Net (Nauta et al. 2023), section 3.
    """

    parts: int | None = None
    temperature: float = 1.0
    threshold: float = 0.1

    @nn.compact
    def __call__(self, features: jax.Array, train: bool) -> Parts:
        """Shares every location out among the parts."""
        check_shapes("Exclusive", features=(features, "B h w D"))
        count = features.shape[-1] if self.parts is None else self.parts
        if count < 2 or self.temperature <= 0 or not 0 <= self.threshold < 1:
            found = f"{count} parts, temperature {self.temperature}, threshold {self.threshold}"
            raise UserError(f"exclusive: {found}; expected 2 or more, a positive one and one in [0,1)")
        if self.parts is not None:
            features = nn.Dense(self.parts, dtype=jnp.float32, name="logits")(features)
        similarity = jnp.moveaxis(features.astype(jnp.float32), -1, 1) / self.temperature
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
