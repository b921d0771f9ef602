"""Slots: learned queries that look several times and compete for every location (slot attention)."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from partrep import UserError
from partrep.parts import competition, readout
from partrep.parts.similarity import fold_queries, standardised_dot
from partrep.parts.structure import Parts
from partrep.shapes import check_shapes


class Slots(nn.Module):
    """K learned queries, T rounds with shared weights; the last round's attention reads out the features.

    Each round: `a = softmax_k(<U LN(q_k), V x_n + P y_n> / sqrt(A))`, with `x_n` the standardised feature and
    `y_n` its place; between rounds `q_k += W [x, y]_k`, the means of both under `a_k`, and
    `q_k += MLP(LN(q_k))`. `v_k` is the mean of the feature `z_n` itself under the last `a_k`: it lives in
    feature space, and slot k starts from the same query in every image, so vectors of two images can be
    compared.

    Honest explanation, with a linear head: level 1 exactly; level 2 exactly, with the assignment frozen (the
    states `q` choose where to look and nothing else). Not level 3: slots see the whole image to compete.
    `read_out(features, assignment)` is the read-out with the assignment frozen.

    Attributes:
        parts: K >= 1.
        rounds: T >= 1; 1 is plain attention with learned queries.
        width: A, the width of the states and of the attention.
        position: whether slots know where they look; false makes the method blind to place.
        background: whether one more slot, which is not a part, takes what belongs to none.
        border: width in cells of the image's edge, which is one more part, the last (`reserve_border`), and is read
            out by no slot, though all look at it; 0 for none. Losses on maps count it among the parts.

    Call:
        features: [B,h,w,D].
        train: unused (no noise).

    Returns:
        `Parts` without scores, and without a background unless there is a slot for it; similarity is the last
        round's logits, of the border its mask.

    Raises:
        UserError: rounds or parts under 1, a border that leaves no inside.
        ValueError: features without four axes.

    Example:
        >>> features = jnp.ones((2, 4, 4, 8))
        >>> start = jax.jit(Slots(parts=3).init_with_output, static_argnames="train")
        >>> parts, variables = start(jax.random.key(1), features, train=False)
        >>> parts.vectors.shape, parts.centroid.shape
        ((2, 3, 8), (2, 3, 2))

    Source: Slot attention (Locatello et al. 2020), algorithm 1; learned queries and the residual update,
    Super-features (Weinzaepfel et al. 2022), local feature integration transformer.
    Departures: the last round only looks (nothing would read its state); vectors are means of features, not
    states; places enter keys and updates apart from the features, so that features are never copied; queries
    start orthogonal, not drawn one by one; a slot for the background, as landmarks have (PDiscoNet), so that parts
    asked to be in one place need not share it out.
    """

    parts: int = 8
    rounds: int = 3
    width: int = 64
    position: bool = True
    background: bool = False
    border: int = 0
    read_out = staticmethod(readout.weighted_mean)

    @nn.compact
    def __call__(self, features: jax.Array, train: bool) -> Parts:
        """Finds the slots' regions of each image."""
        if min(self.rounds, self.parts) < 1:
            raise UserError(f"slots: {self.rounds} rounds, {self.parts} parts; expected at least 1 of each")
        check_shapes("Slots", features=(features, "B h w D"))
        start = nn.initializers.orthogonal(self.width**0.5)  # far apart from the first step, each of norm sqrt(A)
        states = self.param("queries", start, (self.parts + self.background, self.width))
        norm, mlp_norm = nn.LayerNorm(use_bias=False, name="query_norm"), nn.LayerNorm(name="mlp_norm")
        update = nn.Dense(self.width, use_bias=False, name="update")
        hidden, output = nn.Dense(2 * self.width, name="mlp_hidden"), nn.Dense(self.width, name="mlp_output")
        kernels = self._kernels(features.shape[-1])
        similarity = self._look(features, norm(states), *kernels)
        for _ in range(self.rounds - 1):
            states = states + update(self._seen(features, competition.softmax(similarity)))
            states = states + output(nn.relu(hidden(mlp_norm(states))))
            similarity = self._look(features, norm(states), *kernels)
        assignment, background = competition.softmax(similarity), None
        if self.background:
            assignment, background = competition.split_background(assignment)
        similarity = similarity[:, : self.parts]
        if self.border:
            assignment, background = competition.reserve_border(assignment, background, self.border)
            similarity = jnp.concatenate([similarity, assignment[:, -1:]], axis=1)
        return Parts(
            similarity=similarity,
            assignment=assignment,
            background=background,
            vectors=self.read_out(features, assignment),
            scores=None,
            presence=readout.presence(assignment),
            centroid=readout.centroid(assignment),
        )

    def _kernels(self, depth: int) -> tuple[jax.Array, jax.Array, jax.Array | None]:
        """`U` [A,A] for queries, `V` [D,A] for features and, where slots know their place, `P` [2,A]."""
        kernel = nn.initializers.lecun_normal()
        query = self.param("query_kernel", kernel, (self.width, self.width))
        key = self.param("key_kernel", kernel, (depth, self.width))
        return query, key, self.param("place_kernel", kernel, (2, self.width)) if self.position else None

    def _look(self, features, queries, query_kernel, key_kernel, place_kernel) -> jax.Array:
        """Logits [B,K,h,w] of normalised queries against standardised features and places."""
        logits = standardised_dot(features, fold_queries(queries, key_kernel, query_kernel))
        if place_kernel is None:
            return logits
        places = readout.grid_positions(*features.shape[1:3]) - 0.5
        by_place = fold_queries(queries, place_kernel, query_kernel)
        return logits + jnp.einsum("...kc,hwc->...khw", by_place, places)

    def _seen(self, features: jax.Array, assignment: jax.Array) -> jax.Array:
        """What each slot saw, [B,K,D] or, with its place, [B,K,D+2]."""
        seen = readout.standardised_mean(features, assignment)
        if not self.position:
            return seen
        return jnp.concatenate([seen, readout.centroid(assignment) - 0.5], axis=-1)
