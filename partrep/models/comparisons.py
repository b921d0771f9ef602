"""How two images are compared: what is kept of each, and how alike two of those are."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from partrep.directions import unit
from partrep.losses.pairs import (
    Similarity,
    aligned_cosine,
    best_match_cosine,
    cosine,
    joined_parts,
)
from partrep.models.outputs import PartOutputs
from partrep.search.matching import Reciprocal, similarities

Kept = Any
"""What is kept of B images to compare them: an array or a pytree of arrays with leading axis B."""


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A way to compare images.

    Attributes:
        keep: outputs -> what is kept of each image.
        similarity: of what was kept of b and of B images, f32 [b,B]; larger for more alike.
        vector: what was kept -> one vector an image [B,E], for losses with proxies and for clusters.
        shares: of what was kept of n images and of n others, f32 [n,K]: what each part adds to the similarity of each
            image and its other; None where the similarity is no sum over aligned parts.
        about: what it is, in words.
        terms: of the same as `shares`, further addends of each similarity by name, f32 [n]; None where there are none.
    """

    keep: Callable[[PartOutputs], Kept]
    similarity: Similarity
    vector: Callable[[Kept], jax.Array]
    shares: Callable[[Kept, Kept], jax.Array] | None
    about: str
    terms: Callable[[Kept, Kept], dict[str, jax.Array]] | None = None


def aligned_shares(first: Kept, second: Kept) -> jax.Array:
    """The addends of `aligned_cosine` of n images and as many others, f32 [n,K]; they sum to it.

    >>> parts = jnp.array([[[1.0, 0.0], [0.0, 1.0]]]), jnp.array([[1.0, 1.0]])
    >>> other = jnp.array([[[2.0, 0.0], [1.0, 0.0]]]), jnp.array([[1.0, 1.0]])
    >>> aligned_shares(parts, other).tolist()
    [[0.5, 0.0]]
    """
    (z, m), (z2, m2) = first, second
    weight = m.astype(jnp.float32) * m2
    total = weight.sum(1, keepdims=True)
    share = jnp.where(total > 1e-6, weight / jnp.maximum(total, 1e-6), 0.0)
    return share * (unit(z) * unit(z2)).sum(-1)


def joined_shares(first: Kept, second: Kept) -> jax.Array:
    """The addends of the dot product of `joined_parts` of n images and as many others, f32 [n,K]; they sum to it."""
    one, other = joined_parts(first), joined_parts(second)
    return (one * other).reshape(len(one), first[1].shape[1], -1).sum(-1)


def _parts(outputs: PartOutputs) -> Kept:
    return outputs.codes, outputs.parts.presence


def _joined_cosine(first: Kept, second: Kept) -> jax.Array:
    return cosine(joined_parts(first), joined_parts(second))


def _reciprocal(first: Kept, second: Kept) -> jax.Array:
    return similarities(first, second, Reciprocal())


def _embedding(outputs: PartOutputs) -> Kept:
    return outputs.embedding


def _pooled(outputs: PartOutputs) -> Kept:
    return outputs.features.astype(jnp.float32).mean((1, 2))


def _sum(kept: Kept) -> jax.Array:
    """The sum of the directions of what is there, [B,D]: like the best match it does not hang on the order."""
    vectors, presence = kept
    return (presence[..., None] * unit(vectors)).sum(1)


def _flat(kept: jax.Array) -> jax.Array:
    return kept


COMPARISONS = {
    "aligned": Comparison(_parts, aligned_cosine, joined_parts, aligned_shares, "each part meets the same part"),
    "joined": Comparison(_parts, _joined_cosine, joined_parts, joined_shares, "all parts side by side as one vector"),
    "best_match": Comparison(_parts, best_match_cosine, _sum, None, "each part meets the one most like it"),
    "reciprocal": Comparison(_parts, _reciprocal, _sum, None, "parts that are each other's nearest meet"),
    "embedding": Comparison(_embedding, cosine, _flat, None, "one vector, the mean of its parts"),
    "pooled": Comparison(_pooled, cosine, _flat, None, "features, pooled"),
}
