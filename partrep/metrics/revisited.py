"""The revisited Oxford and Paris protocol: mAP and mP@k, easy, medium and hard, with junk taken out of the ranking.

| setting | positives | junk |
|---|---|---|
| easy | easy | junk, hard |
| medium | easy, hard | junk |
| hard | hard | junk, easy |
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from partrep import UserError

SETTINGS = {
    "easy": (("easy",), ("junk", "hard")),
    "medium": (("easy", "hard"), ("junk",)),
    "hard": (("hard",), ("junk", "easy")),
}
"""Setting -> (the lists of its positives, the lists of its junk)."""


def revisited_scores(
    ranks, truth: Sequence[Mapping[str, Any]], k: Sequence[int] = (1, 5, 10)
) -> dict[str, float]:
    """Means over queries of average precision and of precision at k, in each of the three settings.

    Junk is taken out, so that a photo's rank falls by the number of junk photos before it. With `r_j` the rank from 0
    of the j-th positive, `n` positives in the truth and `r_last` the rank of the last one found,

        AP = (1/n) sum_j (p_j + q_j) / 2,   p_j = j / r_j (1 where r_j = 0),   q_j = (j + 1) / (r_j + 1),
        P@k = #{j: r_j < kq} / kq,   kq = min(r_last + 1, k),

    the area under the precision-recall curve by trapezoids, and a precision that finding everything early does not
    lower.

    Args:
        ranks: int [Q,n], for each query the gallery's photos from the best on; all of them, or the first n, in which
            case a positive that is not among them adds nothing. `numpy.argsort(-similarity, kind="stable")` makes
            them. Queries are no part of the gallery.
        truth: for each query `{"easy": ints, "hard": ints, "junk": ints}`, photos of the gallery.
        k: ranks of mP@k, each >= 1.

    Returns:
        For each setting S `S/map` and `S/mp@k` in [0,1], and `S/queries`, how many counted: a query without a
        positive is skipped. NaN in a setting where all are.

    Raises:
        UserError: arrays that do not fit, a photo that is ranked twice, lists that are missing, a rank below 1.

    Example:
        >>> truth = [{"easy": [0], "hard": [2], "junk": [1]}]
        >>> scores = revisited_scores([[1, 3, 0, 2]], truth, k=(1, 5))
        >>> scores["easy/map"], scores["easy/mp@5"], round(scores["medium/map"], 4), scores["hard/mp@1"]
        (0.25, 0.5, 0.4167, 0.0)

    Source: Radenovic, Iscen, Tolias, Avrithis and Chum, Revisiting Oxford and Paris, CVPR 2018; AP and
    the cut at k as in the evaluation code that goes with it.
    Departures: [Q,n] in place of [n,Q]; where no positive is among the n, `kq = k` and P@k is 0 (the public code
    fails).
    """
    values = revisited_values(ranks, truth, k)
    scores: dict[str, float] = {}
    for name, value in values.items():
        counted = value[~np.isnan(value)]
        if name.endswith("/map"):
            scores[name.replace("map", "queries")] = float(len(counted))
        scores[name] = float(counted.mean()) if len(counted) else float("nan")
    return scores


def revisited_values(
    ranks, truth: Sequence[Mapping[str, Any]], k: Sequence[int] = (1, 5, 10)
) -> dict[str, np.ndarray]:
    """What `revisited_scores` averages, query by query, for paired intervals.

    Args:
        ranks: as in `revisited_scores`.
        truth: as there.
        k: as there.

    Returns:
        `S/map` and `S/mp@k`, f64 [Q] each; NaN for a query without a positive.

    Raises:
        UserError: as in `revisited_scores`.

    Example:
        >>> truth = [{"easy": [0], "hard": [], "junk": []}, {"easy": [], "hard": [1], "junk": []}]
        >>> revisited_values([[0, 1], [0, 1]], truth, k=(1,))["easy/map"].tolist()
        [1.0, nan]

    Source: see `revisited_scores`.
    """
    ranks = _checked(ranks, truth, k)
    names = [f"{setting}/{metric}" for setting in SETTINGS for metric in ("map", *(f"mp@{rank}" for rank in k))]
    rows = [
        [value for positive, junk in SETTINGS.values() for value in _query(row, _of(one, positive), _of(one, junk), k)]
        for row, one in zip(ranks, truth)
    ]
    return dict(zip(names, np.array(rows, np.float64).T))


def _checked(ranks, truth: Sequence[Mapping[str, Any]], k: Sequence[int]) -> np.ndarray:
    ranks = np.asarray(ranks)
    if ranks.ndim != 2 or len(ranks) != len(truth) or not ranks.size or not np.issubdtype(ranks.dtype, np.integer):
        raise UserError(f"ranks of shape {ranks.shape} and type {ranks.dtype}; expected ints [{len(truth)},n], n >= 1")
    if (np.diff(np.sort(ranks, axis=1), axis=1) == 0).any():
        raise UserError("a photo that is ranked twice for one query; expected each once")
    if not k or min(k) < 1:
        raise UserError(f"precision at ranks {list(k)}; expected 1 or more")
    for i, one in enumerate(truth):
        missing = [name for name in ("easy", "hard", "junk") if name not in one]
        if missing:
            raise UserError(f"truth of query {i} has no list {missing[0]!r}; expected easy, hard and junk")
    return ranks


def _of(one: Mapping[str, Any], names: Sequence[str]) -> np.ndarray:
    return np.concatenate([np.asarray(one[name], np.int64) for name in names])


def _query(ranks: np.ndarray, positive: np.ndarray, junk: np.ndarray, k: Sequence[int]) -> list[float]:
    """AP and P@k of one query; NaN without a positive."""
    if not len(positive):
        return [float("nan")] * (1 + len(k))
    places = np.flatnonzero(np.isin(ranks, positive))
    places = places - np.searchsorted(np.flatnonzero(np.isin(ranks, junk)), places)
    found = np.arange(len(places))
    before = np.where(places > 0, found / np.maximum(places, 1), 1.0)
    after = (found + 1) / (places + 1)
    cuts = [min(int(places[-1]) + 1, rank) if len(places) else rank for rank in k]
    return [float((before + after).sum() / 2 / len(positive)), *(float((places < cut).sum() / cut) for cut in cuts)]
