"""Regions: shared centres with a learned reach group all locations, and say how they differ (Huang & Li)."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from partrep import UserError
from partrep.parts import competition, readout
from partrep.parts.queries import unit_rows
from partrep.parts.similarity import negative_standardised_distance
from partrep.parts.structure import Parts


class Regions(nn.Module):
    """K centres share every location: `a_.n = softmax_k(-(sqrt(D) / 4) |u_n - c_k|^2 / b_k)`.

    `u_n` is `z_n` standardised over its D entries and at length one, `b_k = sigmoid(s_k)` the reach of part k,
    1/2 at the start: the greater, the more locations it takes. There is no background. What a part says is how its
    locations differ from its centre, `v_k = unit( sum_n a_kn (u_n - c_k) / sum_n a_kn )`.

    Honest explanation: level 1 with a head whose contributions are exact (`linear`, or `attention`, as its
    docstring says). Not level 2: a vector of length one is not linear in the features, even with the assignment
    frozen. Not level 3: a feature sees pixels of other parts.

    Attributes:
        parts: K >= 1.

    Call:
        features: [B,h,w,D].
        train: unused (no noise).

    Returns:
        `Parts` without background and scores; similarity is the logits of the softmax.

    Raises:
        UserError: no parts.
        ValueError: features without four axes.

    Example:
        >>> features = jnp.ones((2, 4, 4, 8))
        >>> start = jax.jit(Regions(parts=3).init_with_output, static_argnames="train")
        >>> parts, variables = start(jax.random.key(1), features, train=False)
        >>> parts.vectors.shape, parts.assignment.shape
        ((2, 3, 8), (2, 3, 4, 4))

    Source: Huang and Li (CVPR 2020), section 3.2: region assignment and region features.
    Departures: distances to standardised features, scaled so that logits have a spread of about 1 for any D at
    `b_k` = 1/2, and centres that start at length one: distances of raw features of a thousand dimensions are in
    the hundreds, so that the softmax is one-hot from the first step and the centres get no gradient. Residuals are
    not divided by `sqrt(b_k / 2)`, which the length one takes away again. Presence is the largest share;
    `partrep.losses.occurrence.smoothed_occurrence` of the assignment is the published one, for the prior.
    """

    parts: int = 8

    @nn.compact
    def __call__(self, features: jax.Array, train: bool) -> Parts:
        """Finds the regions of each image."""
        if self.parts < 1:
            raise UserError(f"regions: {self.parts} parts; expected at least 1")
        depth = features.shape[-1]
        centres = self.param("centres", unit_rows, (self.parts, depth))
        reach = nn.sigmoid(self.param("reach", nn.initializers.zeros, (self.parts,)))
        scale = jnp.sqrt(depth) / 4 / reach[:, None, None]
        similarity = scale * negative_standardised_distance(features, centres)
        assignment = competition.softmax(similarity)
        return Parts(
            similarity=similarity,
            assignment=assignment,
            background=None,
            vectors=readout.standardised_residual(features, assignment, centres),
            scores=None,
            presence=readout.presence(assignment),
            centroid=readout.centroid(assignment),
        )
