"""The trials of the official runs that a report draws: which part of a drawing met which part of each character."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from partrep.evaluate.views import split
from partrep.models.heads.aligned import aligned_contributions
from partrep.models.local import Local
from partrep.report.content import EpisodePicture
from partrep.tasks.fewshot_pictures import Pictures

Images = np.ndarray
"""u8 [n,H,W,1], ink 0."""


class Matching(NamedTuple):
    """How drawings were compared.

    Attributes:
        embed: their local vectors, as `evaluate.views.join` makes them.
        maps: images and maps.
        head: of one view.
        pairs: the settings of `aligned_contributions` that explain the head; None where it pairs no parts.
        views: how many.
    """

    embed: Callable[[Images], Local]
    maps: Callable[[Images], dict[str, Any]]
    head: Callable[..., jax.Array]
    pairs: Mapping[str, Any] | None
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
    amounts, logits = contributions(matching.embed(images), matching)
    maps = matching.maps(images)
    ink = 1 - np.asarray(maps["image"])
    return EpisodePicture(
        support=ink[:-1],
        query=ink[-1],
        support_assignment=maps["assignment"][:-1],
        query_assignment=maps["assignment"][-1],
        logits=logits,
        label=int(run.truth[trial]),
        contributions=amounts,
        class_names=tuple(f"no. {c + 1}" for c in range(len(run.train))),
        title=f"Run {run.number:02d}, {run.alphabet.replace('_', ' ')}, drawing {trial + 1}",
    )


def contributions(local: Local, matching: Matching) -> tuple[np.ndarray | None, np.ndarray]:
    """What each part of the last drawing adds to the logits of the C before it, f32 [C,K], and the logits [C].

    Means over the views; `local` [C+1,T*K,...]. None in place of the first where the head pairs no parts.
    """

    def one(view: Local) -> jax.Array:
        support, query = (jax.tree.map(lambda x, cut=cut: x[cut], view) for cut in (np.s_[:-1, None], np.s_[-1:]))
        mask = jnp.ones(support.weights.shape[:2], bool)
        if matching.pairs is None:
            return matching.head(support, query, mask)[0]
        return aligned_contributions(support, query, mask, **matching.pairs)[0]

    found = np.asarray(jax.lax.map(one, split(local, matching.views)).mean(0))
    return (None, found) if matching.pairs is None else (found, found.sum(-1))
