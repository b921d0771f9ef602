"""Found parts against the pen strokes of drawings, which are true parts of real images."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from partrep import UserError
from partrep.evaluate.discovery import Found, label_maps
from partrep.metrics.clustering import clustering_scores, contingency_table
from partrep.metrics.intervals import bootstrap_interval


class StrokeScores(NamedTuple):
    """Agreement in each drawing of two strokes or more, for pairing methods drawing by drawing."""

    index: np.ndarray
    """int [m] of the drawings scored"""
    nmi: np.ndarray
    ari: np.ndarray
    ami: np.ndarray

    def means(self, groups: np.ndarray | None = None, seed: int = 0) -> dict[str, float]:
        """Means over drawings, flat; with the group [n] of each drawing (its character) intervals too."""
        means: dict[str, float] = {"stroke_drawings": float(len(self.index))}
        for name in ("nmi", "ari", "ami"):
            values = getattr(self, name)
            means[f"stroke_{name}"] = float(values.mean())
            if groups is not None:
                interval = bootstrap_interval(values, np.asarray(groups)[self.index], seed)
                means |= {f"stroke_{name}_low": interval.low, f"stroke_{name}_high": interval.high}
        return means


def stroke_scores(found: Found, strokes: np.ndarray) -> StrokeScores:
    """Do the parts of a drawing follow its strokes? NMI, ARI and AMI over the ink of each drawing.

    Strokes have no identity beyond their drawing (the second stroke of one letter is no kin of the second of
    another), so each drawing is scored by itself and the scores are averaged; the chance-adjusted ARI and AMI
    are the ones to read, since a drawing has more parts on offer than strokes. Drawings of one stroke are
    left out: they have nothing to tell apart.

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


def order_scores(found: Found, strokes: np.ndarray, characters: np.ndarray) -> dict[str, float]:
    """Does one part mean one stroke across the drawings of a character? Mean NMI, ARI, AMI over characters.

    The drawings of a character that have its commonest number of strokes (at least two strokes, at least two
    drawings) are pooled, the label being the order of the stroke. People mostly draw the strokes of a
    character in one order, not always, so even true parts stay below 1.
    """
    count = strokes.max(axis=(1, 2), initial=0)
    scores = []
    for character in np.unique(characters):
        members = np.flatnonzero(characters == character)
        usual = np.bincount(count[members]).argmax()
        members = members[count[members] == usual]
        if usual >= 2 and len(members) >= 2:
            scores.append(clustering_scores(sum(_tables(found, strokes, members))))
    if not scores:
        raise UserError(f"found no character with two drawings of two strokes among {len(strokes)} drawings")
    means = {f"stroke_order_{name}": float(np.mean([s[name] for s in scores])) for name in scores[0]}
    return means | {"stroke_order_characters": float(len(scores))}


def _tables(found: Found, strokes: np.ndarray, index: np.ndarray) -> list[np.ndarray]:
    """Counts over the ink of each drawing: strokes by parts (column 0 is the background)."""
    chosen = Found(found.assignment[index], None if found.background is None else found.background[index])
    labels = label_maps(chosen, *strokes.shape[1:])
    shape = int(strokes.max(initial=0)) + 1, found.assignment.shape[1] + 1
    return [contingency_table(s, part, shape, where=s > 0)[1:] for s, part in zip(strokes[index], labels)]
