"""Accuracy: hand values, masking equals slicing, batches add up."""

from __future__ import annotations

import numpy as np
import pytest

from partrep.metrics.accuracy import MaskedSum, accuracy, masked_sum


def test_masked_sum_ignores_what_is_left_out():
    assert masked_sum([1.0, np.nan, 3.0], [True, False, True]) == MaskedSum(4.0, 2)
    assert np.isnan(masked_sum([1.0], [False]).mean) and MaskedSum() + MaskedSum(1.0, 2) == MaskedSum(1.0, 2)


@pytest.mark.parametrize("k", [1, 2, 5])
def test_masking_equals_slicing_and_batches_add_up(k):
    generator = np.random.default_rng(0)
    logits, labels = generator.normal(size=(40, 5)), generator.integers(5, size=40)
    where = generator.random(40) < 0.6
    whole = accuracy(logits, labels, where, k)
    assert whole == accuracy(logits[where], labels[where], k=k)
    cuts = [slice(i, i + 7) for i in range(0, 40, 7)]
    assert whole == sum((accuracy(logits[c], labels[c], where[c], k) for c in cuts), MaskedSum())


def test_top_k_equals_sorting():
    generator = np.random.default_rng(1)
    logits, labels = generator.normal(size=(50, 6)), generator.integers(6, size=50)
    for k in (1, 3):
        best = np.argsort(-logits, axis=1)[:, :k]
        assert accuracy(logits, labels, k=k).mean == (best == labels[:, None]).any(axis=1).mean()


def test_ties_and_not_a_number_are_no_success():
    assert accuracy(np.zeros((4, 4)), np.arange(4)).mean == 0.25
    assert accuracy(np.full((3, 4), np.nan), [0, 1, 2]).mean == 0.0
    assert accuracy([[1.0, 0.0]], [-1], [False]).count == 0
