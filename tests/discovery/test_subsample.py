"""The sample that k-means and NMF are fitted on."""

from __future__ import annotations

import numpy as np
import pytest

from partrep import UserError
from partrep.discovery.subsample import LARGEST_FIT, sample_vectors


def test_samples_are_seeded_rows():
    vectors = np.arange(LARGEST_FIT + 50, dtype=np.float32)[:, None]
    sample = sample_vectors(vectors, 2, seed=0)
    assert len(np.unique(sample)) == len(sample) == LARGEST_FIT
    assert (sample == sample_vectors(vectors, 2, seed=0)).all()
    assert (sample != sample_vectors(vectors, 2, seed=1)).any()


def test_few_vectors_are_all_taken_in_order():
    features = np.random.default_rng(0).random((2, 3, 3, 4))
    np.testing.assert_array_equal(sample_vectors(features, 18, 0), features.reshape(18, 4).astype(np.float32))


def test_refusals():
    with pytest.raises(UserError, match="4 local vectors for 5 parts"):
        sample_vectors(np.zeros((1, 2, 2, 3)), 5, 0)
    with pytest.raises(UserError, match="not finite"):
        sample_vectors(np.full((1, 2, 2, 3), np.nan), 2, 0)
