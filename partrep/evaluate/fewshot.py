"""Few-shot accuracy over seeded episodes: local vectors once an image, the same episodes for every method."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from partrep import UserError
from partrep.metrics.intervals import Interval, mean_interval, paired_interval
from partrep.models.local import Local

Head = Callable[[Local, Local, jax.Array], jax.Array]
"""`(support [C,n,r,..], query [Q,r,..], support_mask [C,n]) -> logits [Q,C]`."""

PAIRWISE_BUDGET = 2**18
"""Local similarities of the episodes taken at once: more than this leave the caches and cost time."""


class Episodes(NamedTuple):
    """Stacked episodes of one shape: indices into the source, and which of the C classes each query is."""

    support: np.ndarray
    """int32 [E,C,n]"""
    query: np.ndarray
    """int32 [E,Q]"""
    query_label: np.ndarray
    """int32 [E,Q] in [0,C)"""
    support_mask: np.ndarray
    """bool [E,C,n]"""

    @property
    def fingerprint(self) -> str:
        """Sixteen hex digits of the episodes' contents: only scores of equal episodes may be paired."""
        digest = hashlib.sha256()
        for array in self:
            digest.update(repr(array.shape).encode() + np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()[:16]


class EpisodeScores(NamedTuple):
    """Accuracy of one method on each episode, its mean with a 95 % interval, and which episodes they were."""

    accuracy: np.ndarray
    """f64 [E] in [0,1]"""
    interval: Interval
    fingerprint: str


def draw_episodes(sampler, count: int = 600, start: int = 0) -> Episodes:
    """Episodes `start .. start + count - 1` of a sampler, stacked; drawn once, they serve every method.

    `sampler[t]` has `support [C,n]`, `query [Q]`, `query_label [Q]` and `support_mask [C,n]`.
    """
    if count < 2:
        raise UserError(f"an interval needs at least 2 episodes; found episodes={count}")
    drawn = [sampler[t] for t in range(start, start + count)]
    stacked = [
        np.stack([np.asarray(getattr(episode, name), kind) for episode in drawn])
        for name, kind in zip(Episodes._fields, (np.int32, np.int32, np.int32, bool))
    ]
    return Episodes(*stacked)


def episode_accuracy(local: Local, episodes: Episodes, head: Head, chunk: int | None = None) -> EpisodeScores:
    """Accuracy of a head on each episode, each query judged alone, in one compiled program.

    `accuracy_e = mean_q [argmax_c head(support_e, query_e)_qc = label_eq]`; the interval is 1.96 s / sqrt(E).

    Args:
        local: the local vectors of all n images of the source, computed once: vectors [n,r,D], weights [n,r],
            positions [n,r,2].
        episodes: what `draw_episodes` gave, indices below n.
        head: see `Head`. A `jax.tree_util.Partial(function, parameters)` passes learned parameters without a
            new compilation when they change.
        chunk: episodes at once; by default as many (32 at most) as keep their Q C n r^2 local similarities
            within `PAIRWISE_BUDGET`.

    Returns:
        `EpisodeScores`.

    Raises:
        UserError: an index beyond the images given.
        FloatingPointError: a logit that is not a number; names the first such episode.
    """
    count, width = local.weights.shape
    used = np.concatenate([episodes.support.ravel(), episodes.query.ravel()])
    if used.min() < 0 or used.max() >= count:
        raise UserError(
            f"episodes ask for images {used.min()} to {used.max()}; found local vectors of {count}"
        )
    if chunk is None:
        pairs = episodes.query.shape[1] * math.prod(episodes.support.shape[1:]) * width**2
        chunk = int(np.clip(PAIRWISE_BUDGET // pairs, 1, 32))
    head = head if isinstance(head, Partial) else Partial(head)
    accuracy, unsound = jax.device_get(_score(local, episodes, head, min(chunk, len(episodes.query))))
    if unsound.any():
        raise FloatingPointError(
            f"logits of episode {int(unsound.argmax())} hold values that are not numbers"
        )
    accuracy = accuracy.astype(np.float64)
    return EpisodeScores(accuracy, mean_interval(accuracy), episodes.fingerprint)


@jax.jit(static_argnames="chunk")
def _score(local: Local, episodes: Episodes, head: Partial, chunk: int) -> tuple[jax.Array, jax.Array]:
    def one(episode: Episodes) -> tuple[jax.Array, jax.Array]:
        support, query = _take(local, episode.support), _take(local, episode.query)
        logits = head(support, query, episode.support_mask)
        correct = logits.argmax(axis=-1) == episode.query_label
        return correct.mean(dtype=jnp.float32), jnp.isnan(logits).any()

    return jax.lax.map(one, episodes, batch_size=chunk)


def _take(local: Local, index: jax.Array | np.ndarray) -> Local:
    return jax.tree.map(lambda x: x.at[index].get(mode="promise_in_bounds"), local)


def paired_difference(first: list[EpisodeScores], second: list[EpisodeScores]) -> Interval:
    """`first - second` with its 95 % interval, one entry a seed; refuses scores of different episodes.

    One seed: over episodes, paired. Several: over seeds and episodes, see
    `metrics.intervals.crossed_interval`.
    """
    prints = {scores.fingerprint for scores in [*first, *second]}
    if len(prints) != 1:
        raise UserError(
            f"only scores of the same episodes pair; found {len(prints)} different sets of episodes"
        )
    tables = [np.stack([scores.accuracy for scores in side]) for side in (first, second)]
    return paired_interval(*(table[0] if len(table) == 1 else table for table in tables))


def compact(*sets: Episodes) -> tuple[np.ndarray, list[Episodes]]:
    """The images that the episodes of all sets use, and each set with indices into those."""
    used = np.unique(np.concatenate([part.ravel() for one in sets for part in (one.support, one.query)]))

    def place(index: np.ndarray) -> np.ndarray:
        return np.searchsorted(used, index).astype(np.int32)

    return used, [one._replace(support=place(one.support), query=place(one.query)) for one in sets]


def coarsen(local: Local, max_locations: int) -> Local:
    """Halves a square grid of locations by 2x2 weighted means until at most `max_locations` are left.

    The pairwise heads cost r^2: 16x16 locations to 8x8 is sixteen times less. Weights and positions are
    averaged likewise, a location of weight zero takes no part. Refuses a grid that is not square or not even.
    """
    side = math.isqrt(local.weights.shape[-1])
    if side**2 != local.weights.shape[-1]:
        raise UserError(f"found {local.weights.shape[-1]} locations; expected a square grid")
    while side**2 > max_locations:
        if side % 2:
            raise UserError(f"a grid of {side}x{side} cannot be halved to at most {max_locations} locations")
        local, side = _halve(local, side), side // 2
    return local


def _halve(local: Local, side: int) -> Local:
    def blocks(x: jax.Array) -> jax.Array:
        lead, rest = x.shape[: local.weights.ndim - 1], x.shape[local.weights.ndim :]
        x = x.reshape(*lead, side // 2, 2, side // 2, 2, *rest)
        x = jnp.moveaxis(x, len(lead) + 2, len(lead) + 1)
        return x.reshape(*lead, side**2 // 4, 4, *rest)

    weights = blocks(local.weights)
    share = weights[..., None] / jnp.maximum(weights.sum(axis=-1, keepdims=True), 1e-12)[..., None]
    vectors = (blocks(local.vectors) * share).sum(axis=-2).astype(local.vectors.dtype)
    return Local(vectors, weights.mean(axis=-1), blocks(local.positions).mean(axis=-2))


def pixel_local(images, side: int | None = None, normalise: bool = True) -> Local:
    """Raw pixels as one local vector an image, for the nearest-neighbour baseline.

    Images [n,H,W,C] are resized to `side` (bilinear, antialiased) and flattened; `normalise` takes the mean
    off each and scales it to length one, so that Euclidean neighbours are those of the highest correlation.
    """
    images = jnp.asarray(images, jnp.float32)
    count, _, _, channels = images.shape
    if side is not None:
        images = jax.image.resize(images, (count, side, side, channels), "bilinear")
    vectors = images.reshape(count, -1)
    if normalise:
        vectors = vectors - vectors.mean(axis=1, keepdims=True)
        vectors = vectors / jnp.maximum(jnp.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return Local(vectors[:, None], jnp.ones((count, 1)), jnp.full((count, 1, 2), 0.5))


def nearest_neighbour(support: Local, query: Local, support_mask: jax.Array) -> jax.Array:
    """Logits [Q,C]: minus the squared Euclidean distance to the nearest support image of each class.

    The local vectors of an image are read as one long vector; weights and positions are not used.
    """
    ways, shots = support_mask.shape
    memory = support.vectors.reshape(ways * shots, -1).astype(jnp.float32)
    asked = query.vectors.reshape(query.weights.shape[0], -1).astype(jnp.float32)
    squares = (asked**2).sum(axis=1)[:, None] + (memory**2).sum(axis=1)[None]
    distance = squares - 2 * jnp.matmul(asked, memory.T, precision="highest")
    distance = jnp.where(support_mask.reshape(1, ways * shots), distance, jnp.inf)
    return -distance.reshape(-1, ways, shots).min(axis=-1)
