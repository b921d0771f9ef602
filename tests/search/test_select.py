"""Selecting the k largest by tiles gives what a stable sort gives."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from partrep.search.select import TILE, largest

jitted = jax.jit(largest, static_argnums=1)


@pytest.mark.parametrize("kind", ["ties", "equal", "infinite", "distinct"])
@pytest.mark.parametrize("k", [1, 5])
def test_the_largest_by_tiles_are_those_of_a_stable_sort(kind, k):
    rng = np.random.default_rng(k)
    scores = {
        "ties": rng.integers(0, 4, (6, 12 * TILE)),
        "equal": np.zeros((6, 12 * TILE)),
        "infinite": np.where(rng.random((6, 12 * TILE)) < 0.999, -np.inf, 1.0),
        "distinct": rng.normal(size=(6, 12 * TILE)),
    }[kind].astype(np.float32)
    expected = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    values, at = jitted(scores, k)
    np.testing.assert_array_equal(at, expected)
    np.testing.assert_array_equal(values, np.take_along_axis(scores, expected, 1))
