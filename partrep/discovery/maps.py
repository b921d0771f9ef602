"""Assignment maps that read no features, a fixed grid and chance; and which part is the background."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from partrep import UserError

Finder = Callable[[np.ndarray], np.ndarray]
"""Features [n,h,w,D] -> assignment f32 [n,K,h,w] >= 0."""


def grid(features: np.ndarray, parts: int, seed: int = 0) -> Finder:
    """K cells of nearly equal area in rows from top to bottom, the same in every image; reads no features."""
    return lambda features: _same_everywhere(grid_cells(features.shape[1], features.shape[2], parts), features, parts)


def random(features: np.ndarray, parts: int, seed: int = 0) -> Finder:
    """A part drawn for each location of each image, all equally likely; reads no features."""

    def find(features: np.ndarray) -> np.ndarray:
        return one_hot_maps(np.random.default_rng(seed).integers(parts, size=features.shape[:3]), parts)

    return find


def grid_cells(height: int, width: int, parts: int) -> np.ndarray:
    """int [h,w]: the cell of each location; rows hold as equal numbers of cells as K allows.

    >>> grid_cells(2, 6, 5).tolist()
    [[0, 0, 0, 1, 1, 1], [2, 2, 3, 3, 4, 4]]
    """
    rows = max(round(np.sqrt(parts)), 1)
    first = np.arange(rows + 1) * parts // rows
    row = np.arange(height) * rows // height
    columns = np.diff(first)[row]
    return first[row][:, None] + np.arange(width)[None] * columns[:, None] // width


def one_hot_maps(part: np.ndarray, parts: int) -> np.ndarray:
    """f32 [n,K,h,w] of part numbers [n,h,w]."""
    return (part[:, None] == np.arange(parts)[:, None, None]).astype(np.float32)


def _same_everywhere(cells: np.ndarray, features: np.ndarray, parts: int) -> np.ndarray:
    return np.repeat(one_hot_maps(cells[None], parts), len(features), axis=0)


def border_part(assignment: np.ndarray) -> int:
    """The part with the greatest share of the outermost locations, which is taken for the background.

    Assignment [n,K,h,w]: at each location the greatest share wins.
    """
    winner = np.asarray(assignment).argmax(axis=1)
    if winner.size == 0:
        raise UserError("found no assignment maps; expected at least one")
    inner = np.zeros(winner.shape[1:], bool)
    inner[1:-1, 1:-1] = True
    return int(np.bincount(winner[:, ~inner].ravel(), minlength=np.shape(assignment)[1]).argmax())
