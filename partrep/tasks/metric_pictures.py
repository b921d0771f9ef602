"""Queries beside the images that they find, and what each part adds to the similarity of the two."""

from __future__ import annotations

import jax
import numpy as np

from partrep.models.comparisons import Comparison, Kept
from partrep.report.content import FOUND, EpisodePicture
from partrep.tasks.maps import Sampled
from partrep.tasks.metric import Metric, block_function

SHOWN = 4
"""Images shown beside a query."""


def pictures(
    sampled: Sampled[Metric], comparison: Comparison, kept: Kept, count: int
) -> tuple[tuple[EpisodePicture, ...], tuple[EpisodePicture, ...]]:
    """Up to `count` queries whose nearest image is of their class, and as many for which it is not.

    The queries are evenly spaced over the set; those shown are the first ones of either kind.
    """
    labels = sampled.images.labels
    asked = sampled.indices
    alike = np.array(block_function(comparison, kept)(asked))
    alike[np.arange(len(asked)), asked] = -np.inf
    order = np.argsort(-alike, axis=1, kind="stable")
    hits = labels[order] == labels[asked][:, None]
    hits[:, -1] = False  # the query itself
    usable = hits.any(1)
    chosen = [np.flatnonzero(usable & (hits[:, 0] == right))[:count] for right in (True, False)]

    def drawn(kind: np.ndarray) -> tuple[EpisodePicture, ...]:
        return tuple(picture(sampled, comparison, kept, asked[i], ranked(order[i], hits[i])) for i in kind)

    return drawn(chosen[0]), drawn(chosen[1])


def ranked(order: np.ndarray, hits: np.ndarray) -> np.ndarray:
    """The first images found, the last of them the first of the query's class where none is before it.

    >>> ranked(np.array([9, 8, 7, 6, 5]), np.array([False, False, False, False, True])).tolist()
    [9, 8, 7, 5]
    """
    shown = order[:SHOWN].copy()
    if not hits[:SHOWN].any():
        shown[-1] = order[hits.argmax()]
    return shown


def picture(
    sampled: Sampled[Metric], comparison: Comparison, kept: Kept, query: int, found: np.ndarray
) -> EpisodePicture:
    """One query beside the images that it found."""
    assert comparison.shares is not None
    images = sampled.images
    maps = sampled.at(np.concatenate([[query], found]))
    first = jax.tree.map(lambda x: np.repeat(x[[query]], len(found), 0), kept)
    others = jax.tree.map(lambda x: x[found], kept)
    shares = np.asarray(comparison.shares(first, others))
    terms = {name: np.asarray(term) for name, term in (comparison.terms or _none)(first, others).items()}
    names = [images.names[c] if images.names else f"class {c + 1}" for c in images.labels[found]]
    right = images.labels[found] == images.labels[query]
    return EpisodePicture(
        support=maps["image"][1:],
        query=maps["image"][0],
        support_assignment=maps["assignment"][1:],
        query_assignment=maps["assignment"][0],
        logits=shares.sum(1) + sum(terms.values()),
        label=int(right.argmax()),
        contributions=shares,
        terms=terms,
        class_names=tuple(names),
        words=FOUND,
    )


def _none(first: Kept, second: Kept) -> dict[str, jax.Array]:
    """The further addends of a similarity that has none."""
    return {}
