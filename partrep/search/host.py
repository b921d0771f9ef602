"""One query among few rows, by NumPy: on a CPU, starting a program takes longer than the product of so few."""

from __future__ import annotations

import dataclasses

import numpy as np

MOST = 2**22
"""Numbers of a database at most: from 32,768 rows of 128 numbers on, XLA is as fast."""

EPSILON = 2.0**-23


@dataclasses.dataclass(frozen=True, eq=False)
class Rows:
    """A database as arrays of the host, as it is compared.

    Attributes:
        rows: f32 [N,D], of length one for cosines.
        offsets: f32 [N], added to dot products; `-|x|^2 / 2` for distances, else zeros.
        length: of the longest row.
    """

    rows: np.ndarray
    offsets: np.ndarray
    length: float

    def nearest(self, query: np.ndarray, count: int) -> np.ndarray:
        """The rows whose scores `q . x + offset` are the `count` largest, to rounding and perhaps some more, ascending.

        BLAS may sum up equal rows in different orders, so all that its rounding could have put in another place come
        into question: `D eps (|q| max |x| + |last|)` under the last.
        """
        if count >= len(self.rows):
            return np.arange(len(self.rows))
        with np.errstate(over="ignore", invalid="ignore"):  # where scores overflow, all come into question
            scores = self.rows @ query + self.offsets
            last = np.partition(scores, len(scores) - count)[len(scores) - count]
            rounding = len(query) * EPSILON * (np.linalg.norm(query) * self.length + abs(last))
            return np.flatnonzero(~(scores < last - rounding))

    def search(self, query: np.ndarray, k: int, by_distance: bool, slack: int) -> tuple[np.ndarray, np.ndarray]:
        """The k best scores f32 [k'] and their rows, the best first, of equal ones the lower row.

        Args:
            query: f32 [D], as it is compared.
            k: >= 1.
            by_distance: whether the scores are `-|q - x|`, computed from differences; else `q . x`.
            slack: neighbours kept above k until their distances are known.
        """
        at = self.nearest(query, k + slack if by_distance else k)
        rows = self.rows[at]
        with np.errstate(over="ignore"):
            if by_distance:
                scores = np.float32(0.0) - np.sqrt(np.square(query - rows).sum(1))
            else:
                scores = (rows * query).sum(1) + np.float32(0.0)  # of each row in the same order, and no -0.0
        order = np.argsort(-scores, kind="stable")[:k]
        return scores[order], at[order]
