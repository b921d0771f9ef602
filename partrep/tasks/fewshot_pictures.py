"""The predictions a few-shot report draws: which part of the query met which part of the support."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from partrep.evaluate.fewshot import Episodes
from partrep.evaluate.readers import Reading, standardise
from partrep.models.heads.aligned import aligned_contributions
from partrep.models.local import Local
from partrep.report.content import EpisodePicture
from partrep.tasks.maps import Sampled
from partrep.tasks.readers import pairing

Pictures = tuple[EpisodePicture, ...]


def pictures(sampled: Sampled, reading: Reading, episodes: Episodes, most: int) -> tuple[Pictures, Pictures]:
    """(right, wrong): at most one query of each of the first episodes, up to `most` of either kind."""
    right: list[EpisodePicture] = []
    wrong: list[EpisodePicture] = []
    for e in range(min(len(episodes.query), 5 * most)):
        drawn = draw(sampled, reading, jax.tree.map(lambda x, e=e: x[e], episodes))
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


def draw(sampled: Sampled, reading: Reading, episode: Episodes) -> list[EpisodePicture]:
    """Pictures of the first query of each class of an episode, beside the first support of each.

    All supports count in the numbers; one is drawn.
    """
    ways, shots = episode.support.shape
    queries = episode.query.reshape(ways, -1)[:, 0]
    maps = sampled.at(np.concatenate([episode.support.ravel(), queries]))
    first, asked = np.arange(ways) * shots, np.arange(ways) + ways * shots
    support = jax.tree.map(lambda x: x[: ways * shots].reshape(ways, shots, *x.shape[1:]), maps["parts"])
    query = jax.tree.map(lambda x: x[asked], maps["parts"])
    amounts, logits = contributions(sampled, reading, support, query, jnp.asarray(episode.support_mask))
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
    sampled: Sampled, reading: Reading, support: Local, query: Local, mask: jax.Array
) -> tuple[np.ndarray | None, np.ndarray]:
    """What each part of the query adds to each logit of the head that was reported, f32 [Q,C,K], and the logits.

    None in place of the first where the head does not pair parts: its logits are no sum over them.
    """
    support, query = standardise(support, reading.standard), standardise(query, reading.standard)
    settings = pairing(sampled.task, sampled.variables, reading.head_name, reading.head)
    if settings is None:
        return None, np.asarray(reading.head(support, query, mask))
    amounts = np.asarray(aligned_contributions(support, query, mask, **settings))
    return amounts, amounts.sum(-1)
