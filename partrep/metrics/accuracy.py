"""Accuracy over padded batches: sums and counts kept apart until the end."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class MaskedSum:
    """A float64 sum with the number of values in it; sums of batches add up, and `mean` comes last."""

    sum: float = 0.0
    count: int = 0

    def __add__(self, other: MaskedSum) -> MaskedSum:
        return MaskedSum(self.sum + other.sum, self.count + other.count)

    @property
    def mean(self) -> float:
        """The mean, not a number where nothing was counted."""
        return self.sum / self.count if self.count else float("nan")


def masked_sum(values, where=None) -> MaskedSum:
    """Sum and count of the values that are not padding, `sum_i w_i v_i` and `sum_i w_i`.

    Args:
        values: [B] numbers or booleans; those that `where` leaves out may be anything, NaN too.
        where: bool [B]; None takes all.

    Returns:
        `MaskedSum`.

    Example:
        >>> masked_sum([1.0, 0.0, 9.0], [True, True, False]) + masked_sum([1.0])
        MaskedSum(sum=2.0, count=3)

    Source: textbook.
    Departures: none.
    """
    values = np.asarray(values, np.float64)
    kept = values if where is None else values[np.asarray(where, bool)]
    return MaskedSum(float(kept.sum()), int(kept.size))


def accuracy(logits, labels, where=None, k: int = 1) -> MaskedSum:
    """Number of examples whose label is among the k largest logits, and number of examples.

    A label whose logit ties with others counts by the place that the first-comes-first order gives it, as
    argmax
    does: constant logits score the share of class 0, not 1.

    Args:
        logits: [B,C].
        labels: int [B] in [0,C).
        where: bool [B], False for padding; None takes all.
        k: how many guesses count.

    Returns:
        `MaskedSum`; its `mean` is the accuracy in [0,1].

    Example:
        >>> accuracy([[0.1, 0.9], [0.8, 0.2]], [1, 1]).mean
        0.5

    Source: textbook.
    Departures: none.
    """
    logits, labels = np.asarray(logits, np.float64), np.asarray(labels)
    own = np.take_along_axis(logits, np.clip(labels, 0, logits.shape[1] - 1)[:, None], axis=1)
    earlier = np.arange(logits.shape[1])[None] < labels[:, None]
    ahead = ((logits > own) | ((logits == own) & earlier)).sum(axis=1)
    return masked_sum((ahead < k) & ~np.isnan(own[:, 0]), where)
