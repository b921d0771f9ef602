"""Found parts against the pen strokes of drawings, which are true parts of real images."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from partrep import UserError
from partrep.evaluate.discovery import Found, label_maps
from partrep.metrics.clustering import clustering_scores, contingency_table
from partrep.metrics.intervals import Interval, bootstrap_interval


class StrokeScores(NamedTuple):
    """Agreement in each drawing of two strokes or more, for pairing methods drawing by drawing."""

    drawings: np.ndarray
    """int [m]: which drawings were scored"""
    nmi: np.ndarray
    ari: np.ndarray
    ami: np.ndarray

    def means(self, groups: np.ndarray | None = None, seed: int = 0) -> dict[str, float]:
        """Means over drawings, flat; with the group [n] of each drawing (its character) intervals too."""
        means: dict[str, float] = {"stroke_drawings": float(len(self.drawings))}
        for name in ("nmi", "ari", "ami"):
            values = getattr(self, name)
            means[f"stroke_{name}"] = float(values.mean())
            if groups is not None:
                interval = bootstrap_interval(values, np.asarray(groups)[self.drawings], seed)
                means |= {f"stroke_{name}_low": interval.low, f"stroke_{name}_high": interval.high}
        return means


def stroke_scores(found: Found, strokes: np.ndarray) -> StrokeScores:
    """Do the parts of a drawing follow its strokes? NMI, ARI and AMI over the ink of each drawing.

    Strokes have no identity beyond their drawing (the second stroke of one letter is no kin of the second of
    another), so each drawing is scored by itself and the scores are averaged. Drawings of one stroke are left
    out: they have nothing to tell apart. Zero is not the score of chance here, not even of AMI: strokes are
    compact and so are the cells of a grid. On 600 drawings of the small background set, K = 8 and a grid of
    14x14, parts at random score AMI 0.16, a fixed grid 0.38, the true strokes at that resolution 0.85: read
    a method against the first two.

    Args:
        found: maps of n drawings.
        strokes: int [n,H,W], 0 off the ink and s on stroke s.
    """
    if len(strokes) != len(found.assignment):
        raise UserError(f"found {len(strokes)} stroke masks for maps of {len(found.assignment)} drawings")
    index = np.flatnonzero(strokes.max(axis=(1, 2), initial=0) >= 2)
    tables = _tables(found, strokes, index)
    kept = [i for i, table in enumerate(tables) if (table.sum(axis=1) > 0).sum() >= 2]
    if not kept:
        raise UserError(f"found no drawing of two strokes among {len(strokes)}; expected one at least")
    scores = [clustering_scores(tables[i]) for i in kept]
    return StrokeScores(index[kept], *(np.array([s[name] for s in scores]) for name in ("nmi", "ari", "ami")))


def stroke_difference(
    first: StrokeScores, second: StrokeScores, groups: np.ndarray, score: str = "ami", seed: int = 0
) -> Interval:
    """Mean of `first - second` drawing by drawing; its interval resamples groups [n] of drawings."""
    if not np.array_equal(first.drawings, second.drawings):
        found = f"found scores of {len(first.drawings)} and {len(second.drawings)} drawings"
        raise UserError(f"{found}; expected the same ones")
    difference = getattr(first, score) - getattr(second, score)
    return bootstrap_interval(difference, np.asarray(groups)[first.drawings], seed)


def _tables(found: Found, strokes: np.ndarray, index: np.ndarray) -> list[np.ndarray]:
    """Counts over the ink of each drawing: strokes by parts (column 0 is the background)."""
    chosen = Found(found.assignment[index], None if found.background is None else found.background[index])
    labels = label_maps(chosen, *strokes.shape[1:])
    shape = int(strokes.max(initial=0)) + 1, found.assignment.shape[1] + 1
    return [contingency_table(s, part, shape, where=s > 0)[1:] for s, part in zip(strokes[index], labels)]
