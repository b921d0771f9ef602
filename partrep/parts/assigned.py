"""Assigned: linear detectors that score every location; each part belongs to one region of each image."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from partrep import UserError
from partrep.parts import competition, readout
from partrep.parts.queries import unit_rows
from partrep.parts.similarity import discriminants, dot
from partrep.parts.structure import Parts

SMALLEST_SPREAD = 1e-6


class Assigned(nn.Module):
    """K detectors `w_k` score the locations, `s_kn = <w_k, z_n>`; `v_k = (max_n s_kn, mean_n s_kn)`.

    The detectors are the learned queries, or, whitened, `w_k = (S + r I)^-1 q_k` with S the running covariance of
    all locations: `q_k` is then how the part's mean feature differs from the mean of all. The assignment gives each
    part one region of the image and no region to two parts of one group (`one_region_each`). It gets no gradient: it
    is the target of `partrep.losses.assignment_agreement`, and replaces the matching between rounds of the
    alternating methods (`partrep.discovery.assignment`).

    A group is of parts that belong together, such as those of one class: part k is of group `floor(k G / K)`. Groups
    do not compete: what a group is given is what it would be given alone. Which images a group is for is the loss's
    to say (its `where`); scores are the same in any grouping.

    Honest explanation, with a linear head: level 1 exactly; level 2 exactly, with the place of each maximum frozen
    (and the statistics, which evaluation never changes). What is frozen is `evidence`, the place of each maximum,
    not `assignment`: `apply(variables, features, peaks, method="read_out")` reads out with given peaks. Not level 3:
    a feature sees pixels of other parts.

    Attributes:
        parts: K, a multiple of `groups`.
        groups: G, how many groups the parts are divided into, in order; 1: all parts compete. The parts of a group,
            K / G, are at most as many as locations.
        whiten: whether detectors are whitened; the statistics are `batch_stats` (float32).
        mean: whether vectors hold the mean score, [B,K,2], beside the greatest, [B,K,1].
        momentum: in [0,1), of the statistics; the first batches count alike, so that there is no start to forget.

    Call:
        features: [B,h,w,D].
        train: whether this is a training step; only then do the statistics move.

    Returns:
        `Parts`; the background is what no part of any group was given (sums over the parts of a group are at most
        1, those over all parts at most G), scores are the greatest similarities.

    Raises:
        UserError: groups that do not divide the parts, none or more parts in a group than locations, a momentum out
            of range.
        ValueError: features without four axes.

    Example:
        >>> features = jnp.ones((2, 4, 4, 8))
        >>> start = jax.jit(Assigned(parts=3).init_with_output, static_argnames="train")
        >>> parts, variables = start(jax.random.key(1), features, train=False)
        >>> parts.vectors.shape, parts.assignment.sum((2, 3)).round(3)[0].tolist()
        ((2, 3, 2), [1.0, 1.0, 1.0])

    Source: Sicre et al. (2017, arXiv 1611.04413), part classifiers, assignment and bag of parts; DP-Net (2024, arXiv
    2404.15037), `S = U X`, detectors learned with the classifier.
    Departures: the assignment is a target inside the step, where the source alternates over the whole set. With one
    group the parts are shared by all classes, as in DP-Net; with one a class (or a group of images) they are the
    class's, as in Sicre et al. Queries start at length one; those of
    `partrep.discovery.assignment.fit_assigned_parts` can take their place (not whitened: they are already).
    """

    parts: int = 8
    groups: int = 1
    whiten: bool = False
    mean: bool = True
    momentum: float = 0.99

    def __call__(self, features: jax.Array, train: bool) -> Parts:
        """Scores the locations of each image and assigns one region to each part."""
        self._check(features)
        similarity = dot(features, self._detectors(features, train))
        grouped = in_groups(similarity, self.groups)
        assignment = jax.vmap(one_region_each, in_axes=1, out_axes=1)(grouped).reshape(similarity.shape)
        vectors = self._summarise(similarity, readout.peak_assignment(similarity))
        return Parts(
            similarity=similarity,
            assignment=assignment,
            background=jnp.maximum(1.0 - jnp.sum(assignment, axis=1), 0.0),
            vectors=vectors,
            scores=vectors[..., 0],
            presence=readout.presence(assignment),
            centroid=readout.centroid(assignment),
        )

    @staticmethod
    def evidence(parts: Parts) -> jax.Array:
        """Where the parts were read, one-hot [B,K,h,w]."""
        return readout.peak_assignment(parts.similarity)

    def read_out(self, features: jax.Array, assignment: jax.Array) -> jax.Array:
        """Vectors of features [B,h,w,D] with the peaks [B,K,h,w] frozen: linear in the features."""
        return self._summarise(dot(features, self._detectors(features, train=False)), assignment)

    def _summarise(self, similarity: jax.Array, peaks: jax.Array) -> jax.Array:
        """[B,K,1] or [B,K,2]: the similarity at the peaks and the mean similarity."""
        best = jnp.sum(similarity * peaks, axis=(2, 3))
        return jnp.stack([best, jnp.mean(similarity, axis=(2, 3))] if self.mean else [best], axis=-1)

    @nn.compact
    def _detectors(self, features: jax.Array, train: bool) -> jax.Array:
        """`w` [K,D]; a training step first moves the statistics, through which no gradient goes."""
        depth = features.shape[-1]
        queries = self.param("queries", unit_rows, (self.parts, depth))
        if not self.whiten:
            return queries
        batches = self.variable("batch_stats", "batches", jnp.zeros, ())
        mean = self.variable("batch_stats", "mean", jnp.zeros, (depth,))
        covariance = self.variable("batch_stats", "covariance", jnp.eye, depth)
        if train and not self.is_initializing():
            rate = jnp.maximum(1.0 - self.momentum, 1.0 / (batches.value + 1.0))
            mean.value, covariance.value = mix_statistics(mean.value, covariance.value, features, rate)
            batches.value = batches.value + 1.0
        return discriminants(queries, jnp.zeros(depth), covariance.value)

    def _check(self, features: jax.Array) -> None:
        if self.groups < 1 or self.parts < 1 or self.parts % self.groups:
            found = f"{self.parts} parts, {self.groups} groups"
            raise UserError(f"assigned: {found}; expected at least 1 part in each of equal groups")
        together = self.parts // self.groups
        if jnp.ndim(features) == 4 and together > features.shape[1] * features.shape[2]:
            found = f"{together} parts that compete, {features.shape[1] * features.shape[2]} locations"
            raise UserError(f"assigned: {found}; expected no more parts than locations")
        if not 0 <= self.momentum < 1:
            raise UserError(f"assigned: momentum {self.momentum}; expected 0 <= momentum < 1")


def in_groups(similarity: jax.Array, groups: int) -> jax.Array:
    """The maps [B,K,h,w] of parts by the groups they are divided into in order: [B,G,K/G,h,w].

    >>> in_groups(jnp.zeros((2, 6, 4, 4)), 3).shape
    (2, 3, 2, 4, 4)
    """
    return similarity.reshape(similarity.shape[0], groups, -1, *similarity.shape[2:])


def one_region_each(similarity: jax.Array) -> jax.Array:
    """Each part one region of the image and no region to two parts: `annealed_soft_assign` of `s / spread`.

    The spread is the standard deviation of the image's similarities, so that their scale has no say.

    Args:
        similarity: [B,K,h,w], `s`, with K at most h*w; gets no gradient.

    Returns:
        f32 [B,K,h,w] >= 0; sums over locations are 1, sums over parts at most 1.

    Raises:
        ValueError: not four axes, more parts than locations.

    Example:
        >>> s = jnp.array([[[[9.0, 8.0, 1.0]], [[9.0, 1.0, 1.0]]]])
        >>> one_region_each(s)[0, :, 0].round(1).tolist()
        [[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]

    Source: see `competition.annealed_soft_assign`.
    """
    fixed = jax.lax.stop_gradient(similarity)
    spread = jnp.maximum(jnp.std(fixed, axis=(1, 2, 3), keepdims=True), SMALLEST_SPREAD)
    return competition.annealed_soft_assign(fixed / spread)


def mix_statistics(
    mean: jax.Array, covariance: jax.Array, features: jax.Array, rate: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Mean [D] and covariance [D,D] of a mixture: 1 - rate of the old ones, rate of the features' [...,D]; no gradient.

    >>> mean, covariance = mix_statistics(jnp.zeros(1), jnp.zeros((1, 1)), jnp.array([[1.0], [3.0]]), 0.5)
    >>> mean.tolist(), covariance.tolist()
    ([1.0], [[1.5]])
    """
    rows = jax.lax.stop_gradient(features).astype(jnp.float32).reshape(-1, features.shape[-1])
    new_mean = jnp.mean(rows, axis=0)
    centred, shift = rows - new_mean, new_mean - mean
    product = jnp.matmul(centred.T, centred, precision=jax.lax.Precision.HIGHEST)
    between = rate * (1.0 - rate) * jnp.outer(shift, shift)
    mixed = (1.0 - rate) * covariance + rate * product / rows.shape[0] + between
    return mean + rate * shift, mixed
