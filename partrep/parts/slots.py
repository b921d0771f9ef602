"""Slots: learned queries that look several times and compete for every location (slot attention)."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from partrep.parts import competition, readout
from partrep.parts.similarity import scaled_dot
from partrep.parts.structure import Parts
from partrep.shapes import check_shapes


class Slots(nn.Module):
    """K learned queries, T rounds with shared weights; the last round's attention reads out the features.

    Each round: `a = softmax_k(<U LN(q_k), V x_n> / sqrt(A))`; between rounds
    `q_k += W (sum_n a_kn x_n / sum_n a_kn)` and `q_k += MLP(LN(q_k))`. `x_n` is the normalised feature, with
    its place added. `v_k` is the mean of `z_n` under the last `a_k`: it lives in feature space, and slot k
    starts from the same query in every image, so vectors of two images can be compared.

    Honest explanation, with a linear head: level 1 exactly; level 2 exactly, with the assignment frozen (the
    states `q` choose where to look and nothing else). Not level 3: slots see the whole image to compete.
    `read_out(features, assignment)` is the read-out with the assignment frozen.

    Attributes:
        parts: K >= 1.
        rounds: T >= 1; 1 is plain attention with learned queries.
        width: A, the width of the states and of the attention.
        position: whether slots know where they look; false makes the method blind to place.

    Call:
        features: [B,h,w,D].
        train: unused (no noise).

    Returns:
        `Parts` without background or scores; similarity is the last round's logits.

    Raises:
        ValueError: rounds or parts under 1, features without four axes.

    Example:
        >>> features = jax.random.normal(jax.random.key(0), (2, 4, 4, 8))
        >>> parts, _ = Slots(parts=3).init_with_output(jax.random.key(1), features, train=False)
        >>> parts.vectors.shape, bool(jnp.allclose(parts.assignment.sum(1), 1.0))
        ((2, 3, 8), True)

    Source: Slot attention (Locatello et al. 2020), algorithm 1; learned queries and the residual update,
    Super-features (Weinzaepfel et al. 2022), local feature integration transformer.
    Departures: the last round only looks (nothing would read its state); vectors are means of features, not
    states."""

    parts: int = 8
    rounds: int = 3
    width: int = 64
    position: bool = True
    read_out = staticmethod(readout.weighted_mean)

    @nn.compact
    def __call__(self, features: jax.Array, train: bool) -> Parts:
        """Finds the slots' regions of each image."""
        if min(self.rounds, self.parts) < 1:
            raise ValueError(f"Slots: {self.rounds} rounds, {self.parts} parts; expected at least 1 of each")
        check_shapes("Slots", features=(features, "B h w D"))
        inputs = self._inputs(features)
        kernel, depth = nn.initializers.lecun_normal(), features.shape[-1]
        key_kernel = self.param("key_kernel", kernel, (depth, self.width))
        query_kernel = self.param("query_kernel", kernel, (self.width, self.width))
        states = self.param("queries", nn.initializers.normal(1.0), (self.parts, self.width))
        norm, update = (
            nn.LayerNorm(use_bias=False, name="query_norm"),
            nn.Dense(self.width, use_bias=False, name="update"),
        )
        hidden, output = nn.Dense(2 * self.width, name="mlp_hidden"), nn.Dense(self.width, name="mlp_output")
        mlp_norm = nn.LayerNorm(name="mlp_norm")
        similarity = scaled_dot(inputs, norm(states), key_kernel, query_kernel)
        for _ in range(self.rounds - 1):
            seen = readout.weighted_mean(inputs, competition.softmax(similarity))
            states = states + update(seen)
            states = states + output(nn.relu(hidden(mlp_norm(states))))
            similarity = scaled_dot(inputs, norm(states), key_kernel, query_kernel)
        assignment = competition.softmax(similarity)
        return Parts(
            similarity=similarity,
            assignment=assignment,
            background=None,
            vectors=self.read_out(features, assignment),
            scores=None,
            presence=readout.presence(assignment),
            centroid=readout.centroid(assignment),
        )

    def _inputs(self, features: jax.Array) -> jax.Array:
        """Normalised features with their places added, f32 [B,h,w,D]."""
        inputs = nn.LayerNorm(dtype=jnp.float32, name="input_norm")(features)
        if not self.position:
            return inputs
        places = readout.grid_positions(*features.shape[1:3]) - 0.5
        return inputs + nn.Dense(features.shape[-1], use_bias=False, name="position")(places)
