"""Overlap of predicted parts with true parts: one-to-one matching and the IoU of each true part."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

from partrep import UserError


class PartOverlap(NamedTuple):
    """IoU of each true part with the predicted part it was matched to (column of the table, -1 for none)."""

    iou: np.ndarray
    match: np.ndarray

    @property
    def mean(self) -> float:
        """Mean over all true parts; a part without a match counts as zero."""
        return float(self.iou.mean())


def iou_matrix(table) -> np.ndarray:
    """Intersection over union of every true with every predicted label, `n_ij / (a_i + b_j - n_ij)`.

    Args:
        table: counts [T,R] of `clustering.contingency_table` over ALL pixels, background included: pixels
            that a predicted part spends outside the true part must count against it.

    Returns:
        f64 [T,R] in [0,1]; 0 where both labels are empty.

    Raises:
        UserError: a table without two axes.

    Example:
        >>> iou_matrix([[6, 2], [0, 2]]).tolist()
        [[0.75, 0.2], [0.0, 0.5]]

    Source: Everingham et al., The PASCAL visual object classes challenge, IJCV 2010, section 4.4; pooled over
    images.
    Departures: none.
    """
    table = np.asarray(table, np.float64)
    if table.ndim != 2:
        raise UserError(f"found a table of shape {table.shape}; expected [true labels, predicted labels]")
    union = table.sum(axis=1)[:, None] + table.sum(axis=0)[None] - table
    return np.divide(table, union, out=np.zeros_like(table), where=union > 0)


def part_overlap(table, true_parts: Sequence[int], predicted_parts: Sequence[int]) -> PartOverlap:
    """IoU of each true part under the one-to-one matching of parts that has the greatest sum of IoUs.

    Args:
        table: counts [T,R] over all pixels, background rows and columns included.
        true_parts: the rows that are parts, P of them.
        predicted_parts: the columns that are parts, K of them; each serves one true part at most.

    Returns:
        `PartOverlap` with P entries.

    Raises:
        UserError: no true part or no predicted part.

    Example:
        >>> table = [[9, 0, 0], [1, 0, 4], [0, 5, 1]]
        >>> part_overlap(table, [1, 2], [1, 2]).iou.round(3).tolist()
        [0.667, 0.833]

    Source: Kuhn, The Hungarian method for the assignment problem, 1955, on the matrix of IoUs, as the
    unsupervised segmentation literature evaluates clusters.
    Departures: none.
    """
    wanted, offered = np.asarray(true_parts, int), np.asarray(predicted_parts, int)
    if not len(wanted) or not len(offered):
        raise UserError(f"found {len(wanted)} true and {len(offered)} predicted parts; expected some")
    overlap = iou_matrix(table)[np.ix_(wanted, offered)]
    rows, columns = linear_sum_assignment(overlap, maximize=True)
    iou, match = np.zeros(len(wanted)), np.full(len(wanted), -1)
    iou[rows], match[rows] = overlap[rows, columns], offered[columns]
    return PartOverlap(iou, match)
