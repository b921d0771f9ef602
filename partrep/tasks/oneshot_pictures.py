"""The trials of the official runs that a report draws: which part of a drawing met which part of each character."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from partrep.evaluate.readers import Choice
from partrep.evaluate.views import split
from partrep.models.heads.match import matches
from partrep.models.local import Local
from partrep.report.content import EpisodePicture
from partrep.tasks.fewshot_pictures import Pictures

Images = np.ndarray
"""u8 [n,H,W,1], ink 0."""


class Matching(NamedTuple):
    """How drawings were compared: their local vectors, their maps, the head of one view, the number of views."""

    embed: Callable[[Images], Local]
    maps: Callable[[Images], dict[str, Any]]
    choice: Choice
    views: int


def pictures(runs: Sequence, predicted: np.ndarray, matching: Matching, most: int) -> tuple[Pictures, Pictures]:
    """(right, wrong): up to `most` trials of either kind, from as many runs as there are.

    Args:
        runs: R runs with `train`, `test` [T,H,W,1], `truth` [T], `number` and `alphabet`.
        predicted: int [R,T] of `evaluate.oneshot.predict_runs`.
        matching: of the reader that predicted.
        most: pictures of either kind.
    """
    correct = predicted == np.stack([run.truth for run in runs])
    drawn = [[draw(runs[r], t, matching) for r, t in spread_out(kind, most)] for kind in (correct, ~correct)]
    return tuple(drawn[0]), tuple(drawn[1])


def spread_out(chosen: np.ndarray, most: int) -> list[tuple[int, int]]:
    """Up to `most` of the (row, column) that are true: the first of each row, then the second, and so on.

    >>> spread_out(np.array([[True, True, True], [False, True, False]]), 3)
    [(0, 0), (1, 1), (0, 1)]
    """
    rows, columns = np.nonzero(chosen)
    rank = np.concatenate([np.arange(count) for count in chosen.sum(1)])
    return [(int(rows[i]), int(columns[i])) for i in np.lexsort((rows, rank))[:most]]


def draw(run: Any, trial: int, matching: Matching) -> EpisodePicture:
    """One test drawing of a run beside its training drawings."""
    images = np.concatenate([run.train, run.test[trial : trial + 1]])
    amounts, maps = contributions(matching.embed(images), matching.choice, matching.views), matching.maps(images)
    ink = 1 - np.asarray(maps["image"])
    return EpisodePicture(
        support=ink[:-1],
        query=ink[-1],
        support_assignment=maps["assignment"][:-1],
        query_assignment=maps["assignment"][-1],
        logits=amounts.sum(-1),
        label=int(run.truth[trial]),
        contributions=amounts,
        class_names=tuple(f"no. {c + 1}" for c in range(len(run.train))),
        title=f"Run {run.number:02d}, {run.alphabet.replace('_', ' ')}, drawing {trial + 1}",
    )


def contributions(local: Local, choice: Choice, views: int) -> np.ndarray:
    """f32 [C,K]: what each part of the last drawing adds to the logits of the C before it, the mean over the views.

    `local` [C+1,T*K,...] as `evaluate.views.join` makes it.
    """

    def one(view: Local) -> jax.Array:
        support, query = (jax.tree.map(lambda x, cut=cut: x[cut], view) for cut in (np.s_[:-1, None], np.s_[-1:]))
        mask = jnp.ones(support.weights.shape[:2], bool)
        return matches("aligned", support, query, mask, **choice.head.keywords).amount[0]

    return np.asarray(jax.lax.map(one, split(local, views)).mean(0))
