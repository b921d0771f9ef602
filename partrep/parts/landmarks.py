"""Landmarks: learned prototypes and a background share every location (PDiscoNet, PDiscoFormer)."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from partrep import UserError
from partrep.parts import competition, readout
from partrep.parts.queries import unit_rows
from partrep.parts.similarity import negative_standardised_distance
from partrep.parts.structure import Parts


class Landmarks(nn.Module):
    """K landmarks and a background: `a_.n = softmax_k(-s |u_n - p_k|^2)`, `v_k = (1/N) sum_n a_kn z_n`.

    `u_n` is `z_n` standardised over its D entries and at length one, `s = sqrt(D) / (2 t)`.

    Honest explanation, with a linear head: level 1 exactly; level 2 exactly, with the assignment frozen (the
    read-out is the area mean of the features themselves: an absent part adds nothing). Not level 3: a
    feature sees pixels of other parts. `read_out(features, assignment)` is the read-out with the assignment
    frozen.

    Attributes:
        parts: K >= 1.
        temperature: > 0, `t` at the start; 1 gives logits of spread about 1 for any D.
        learn_temperature: whether `t` is trained.
        gumbel: whether training adds Gumbel noise (stream "gumbel"); evaluation never does.
        background: whether one more prototype takes the locations of no landmark, which then say nothing. Without,
            the landmarks share every location, and their vectors sum to the pooled one.

    Call:
        features: [B,h,w,D].
        train: whether this is a training step.

    Returns:
        `Parts` without scores, with a background where there is one; similarity is `-s |u_n - p_k|^2` of the K
        landmarks.

    Raises:
        UserError: no parts, a temperature that is not positive.
        ValueError: features without four axes.

    Example:
        >>> features = jnp.ones((2, 4, 4, 8))
        >>> start = jax.jit(Landmarks(parts=3).init_with_output, static_argnames="train")
        >>> parts, variables = start(jax.random.key(1), features, train=False)
        >>> parts.vectors.shape, parts.background.shape
        ((2, 3, 8), (2, 4, 4))

    Source: PDiscoNet (van der Klis et al. 2023), part maps and vectors; noise, PDiscoFormer (Aniraj et al.
    2024).
    Departures: distances between standardised features and prototypes that start at length one, with a
    trained
    temperature: on raw features of a thousand dimensions the softmax is one-hot from the first step and the
    prototypes get no gradient. The released modulation and part dropout belong to the head.
    """

    parts: int = 8
    temperature: float = 1.0
    learn_temperature: bool = True
    gumbel: bool = False
    background: bool = True
    read_out = staticmethod(readout.area_mean)

    @nn.compact
    def __call__(self, features: jax.Array, train: bool) -> Parts:
        """Finds the landmarks of each image."""
        if self.parts < 1 or self.temperature <= 0:
            found = f"{self.parts} parts, temperature {self.temperature}"
            raise UserError(f"landmarks: {found}; expected at least 1 part and a positive temperature")
        depth = features.shape[-1]
        prototypes = self.param("prototypes", unit_rows, (self.parts + self.background, depth))
        sharpness = jnp.asarray(-jnp.log(self.temperature), jnp.float32)
        if self.learn_temperature:
            sharpness = self.param("sharpness", nn.initializers.constant(sharpness), ())
        scale = jnp.sqrt(depth) / 2 * jnp.exp(sharpness)
        similarity = scale * negative_standardised_distance(features, prototypes)
        key = self.make_rng("gumbel") if self.gumbel and train else None
        assignment, background = competition.gumbel_softmax(similarity, key=key), None
        if self.background:
            assignment, background = competition.split_background(assignment)
        return Parts(
            similarity=similarity[:, : self.parts],
            assignment=assignment,
            background=background,
            vectors=self.read_out(features, assignment),
            scores=None,
            presence=readout.presence(assignment),
            centroid=readout.centroid(assignment),
        )
