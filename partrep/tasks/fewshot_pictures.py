"""The predictions a few-shot report draws: which part of the query met which part of the support."""

from __future__ import annotations

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from partrep.evaluate.fewshot import Episodes
from partrep.evaluate.readers import Reading, standardise
from partrep.models.heads.aligned import aligned_contributions
from partrep.models.local import Local
from partrep.report.content import EpisodePicture
from partrep.tasks.fewshot import Fewshot
from partrep.tasks.maps import Maps, Sampled
from partrep.tasks.readers import pairing

Pictures = tuple[EpisodePicture, ...]
_contributions = jax.jit(aligned_contributions, static_argnames=("scale", "geometry", "align", "weighting"))


def pictures(sampled: Sampled[Fewshot], reading: Reading, episodes: Episodes, most: int) -> tuple[Pictures, Pictures]:
    """(right, wrong): at most one query of each of the first episodes, up to `most` of either kind."""
    right: list[EpisodePicture] = []
    wrong: list[EpisodePicture] = []
    for drawn in draw_all(sampled, reading, jax.tree.map(lambda x: x[: 5 * most], episodes)):
        # The kind that is scarcer so far comes first, so that no episode shows twice.
        order = sorted(((right, True), (wrong, False)), key=lambda kind: len(kind[0]))
        for kept, correct in order:
            fitting = [p for p in drawn if (p.predicted == p.label) is correct]
            if fitting and len(kept) < most:
                kept.append(fitting[0])
                break
        if min(len(right), len(wrong)) >= most:
            break
    return tuple(right), tuple(wrong)


def draw_all(sampled: Sampled[Fewshot], reading: Reading, episodes: Episodes) -> Iterator[list[EpisodePicture]]:
    """Pictures of each of some episodes; their images are read together, in few batches."""
    count, ways, _ = episodes.support.shape
    queries = episodes.query.reshape(count, ways, -1)[:, :, 0]
    shown = np.concatenate([episodes.support.reshape(count, -1), queries], axis=1)
    maps = jax.tree.map(lambda x: x.reshape(*shown.shape, *x.shape[1:]), sampled.at(shown.ravel()))
    for e in range(count):
        yield draw(sampled, reading, episodes.support_mask[e], jax.tree.map(lambda x, e=e: x[e], maps))


def draw(sampled: Sampled[Fewshot], reading: Reading, mask: np.ndarray, maps: Maps) -> list[EpisodePicture]:
    """Pictures of the first query of each class of an episode, beside the first support of each.

    `mask` [C,n] is the supports'; `maps` are of the C n supports, then of C queries. All supports count in the
    numbers; one is drawn.
    """
    ways, shots = mask.shape
    first, asked = np.arange(ways) * shots, np.arange(ways) + ways * shots
    support = jax.tree.map(lambda x: x[: ways * shots].reshape(ways, shots, *x.shape[1:]), maps["parts"])
    query = jax.tree.map(lambda x: x[asked], maps["parts"])
    amounts, logits = contributions(sampled, reading, support, query, jnp.asarray(mask))
    return [
        EpisodePicture(
            support=maps["image"][first],
            query=maps["image"][asked[q]],
            support_assignment=maps["assignment"][first],
            query_assignment=maps["assignment"][asked[q]],
            logits=logits[q],
            label=q,
            contributions=None if amounts is None else amounts[q],
            class_names=tuple(sampled.images.names[c] for c in maps["label"][first]),
        )
        for q in range(ways)
    ]


def contributions(
    sampled: Sampled[Fewshot], reading: Reading, support: Local, query: Local, mask: jax.Array
) -> tuple[np.ndarray | None, np.ndarray]:
    """What each part of the query adds to each logit of the head that was reported, f32 [Q,C,K], and the logits.

    None in place of the first where the head does not pair parts: its logits are no sum over them.
    """
    support, query = standardise(support, reading.standard), standardise(query, reading.standard)
    settings = pairing(sampled.task, sampled.variables, reading.head_name, reading.head)
    if settings is None:
        return None, np.asarray(reading.head(support, query, mask))
    amounts = np.asarray(_contributions(support, query, mask, **settings))
    return amounts, amounts.sum(-1)
