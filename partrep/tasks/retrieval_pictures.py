"""Queries beside what they found, and what each pair of regions adds to the similarity of the two images."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from partrep.data.imageset import ImageSet
from partrep.losses.pairs import cosine
from partrep.models.comparisons import COMPARISONS, Comparison, Kept
from partrep.report.content import OTHER_PAIRS, EpisodePicture, PartGallery, Words
from partrep.tasks.maps import Maps, Sampled
from partrep.tasks.metric import Metric
from partrep.tasks.metric_pictures import pictures
from partrep.tasks.retrieval import Retrieval, summed
from partrep.train.state import Tree

SAME = Words("found first", "the same", "similarity")
STRONGEST = 3
"""Pairs of different regions that are named one by one."""


def region_pairs(first: Kept, second: Kept) -> jax.Array:
    """What each pair of regions adds to the cosine of the descriptors of n images and n others, f32 [n,K,L].

        a_kl = m_k m'_l c_k . c'_l / (|sum_k m_k c_k| |sum_l m'_l c'_l|)

    >>> one = jnp.array([[[1.0, 0.0], [0.0, 1.0]]]), jnp.array([[1.0, 1.0]])
    >>> other = jnp.array([[[0.0, 1.0], [0.0, 1.0]]]), jnp.array([[1.0, 1.0]])
    >>> region_pairs(one, other).round(3).tolist()
    [[[0.0, 0.0], [0.35..., 0.35...]]]
    """
    (c, m), (c2, m2) = jax.tree.map(lambda x: x.astype(jnp.float32), (first, second))
    length = _length(c, m) * _length(c2, m2)
    alike = jnp.einsum("nk,nke,nle,nl->nkl", m, c, c2, m2, precision=jax.lax.Precision.HIGHEST)
    return jnp.where(length > 0, alike / jnp.where(length > 0, length, 1.0), 0.0)


def _length(codes: jax.Array, presence: jax.Array) -> jax.Array:
    return jnp.linalg.norm(jnp.einsum("nk,nke->ne", presence, codes), axis=1)[:, None, None]


def _same(first: Kept, second: Kept) -> jax.Array:
    """What each region adds with the same region of the other image, f32 [n,K]."""
    return jnp.diagonal(region_pairs(first, second), axis1=1, axis2=2)


def _different(first: Kept, second: Kept) -> dict[str, jax.Array]:
    """What the strongest pairs of different regions add, those of the first of the others, and all the rest."""
    added = region_pairs(first, second)
    count = added.shape[1]
    added = jnp.where(jnp.eye(count, dtype=bool), 0.0, added).reshape(len(added), -1)
    named = np.argsort(-np.asarray(added[0]), kind="stable")[:STRONGEST]
    terms = {f"{i // count + 1} with {i % count + 1}": added[:, i] for i in named.tolist() if added[0, i] > 0}
    return {**terms, OTHER_PAIRS: added.sum(1) - sum(terms.values())}


def _sum_cosine(first: Kept, second: Kept) -> jax.Array:
    return cosine(summed(first), summed(second))


def _whole(first: Kept, second: Kept) -> jax.Array:
    return (summed(first) * summed(second)).sum(-1, keepdims=True)


REGIONS = Comparison(COMPARISONS["joined"].keep, _sum_cosine, summed, _same, "sum over regions", _different)
"""Descriptors, of which the pairs of learned regions are told apart."""
WHOLE = Comparison(COMPARISONS["joined"].keep, _sum_cosine, summed, _whole, "one vector an image")
"""The same, of which nothing is told apart."""
LEARNED = ("slots", "landmarks")
"""Part methods whose regions are found in each image; others have none, or a grid that overlaps."""


class Whole(Sampled[Metric]):
    """Images of which the whole is drawn as one region."""

    def at(self, indices: np.ndarray) -> Maps:
        """As of `Sampled`, with one part."""
        maps = super().at(indices)
        one = np.ones_like(maps["assignment"][:, :1])
        return {**maps, "assignment": one, "presence": one.max((2, 3))}


@dataclasses.dataclass(frozen=True)
class Drawn:
    """What the page shows of queries: those that found the same thing first, the others, and where regions lie."""

    matches: tuple[EpisodePicture, ...]
    failures: tuple[EpisodePicture, ...]
    gallery: PartGallery | None


def drawn(task: Retrieval, variables: Tree, images: ImageSet, kept: Kept) -> Drawn:
    """Draws queries of a set beside what the trained descriptor finds; `kept` is what `regions_of` found in it."""
    learned = task.config["model"]["method"]["name"] in LEARNED
    images = dataclasses.replace(images, truth=None)  # which nothing here shows
    sampled: Sampled[Metric] = (Sampled if learned else Whole)(task, variables, images)
    count = task.config["evaluation"]["pictures"]
    found = pictures(sampled, REGIONS if learned else WHOLE, kept, count)
    right, wrong = (tuple(dataclasses.replace(one, words=SAME) for one in each) for each in found)
    if not learned:
        return Drawn(right, wrong, None)
    maps = sampled.maps
    return Drawn(right, wrong, PartGallery(maps["image"], maps["assignment"], maps["presence"], maps["label"]))
