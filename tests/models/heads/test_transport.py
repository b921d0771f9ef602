"""DeepEMD against loops in float64."""

from __future__ import annotations

from functools import partial

import jax
import numpy as np
import pytest

from partrep.models.heads.transport import deepemd


def plan_oracle(cost, rows, columns, epsilon, iterations):
    u, v = np.ones(len(rows)), np.ones(len(columns))
    kernel = np.exp(-cost / epsilon)
    for _ in range(iterations):
        u = rows / (kernel @ v)
        v = columns / (kernel.T @ u)
    return u[:, None] * kernel * v


def mean_shots(support, mask, c):
    """The weighted mean of each vector over the shots that count, and its mean weight."""
    vectors, weights = [], []
    for j in range(support.weights.shape[2]):
        shots = np.flatnonzero(mask[c])
        w = support.weights[c, shots, j].astype(np.float64)
        rows = np.where(w[:, None] > 0, support.vectors[c, shots, j], 0.0)
        vectors.append((rows * w[:, None]).sum(0) / w.sum())
        weights.append(w.mean())
    return np.array(vectors), np.array(weights)


@pytest.mark.parametrize("iterations", [50, 3])
def test_deepemd(episode, oracle, iterations):
    support, query, mask = episode
    expected = np.zeros((5, 3))
    for q, (vectors, weights, _) in enumerate(oracle.query_sets(query)):
        for c in range(3):
            rows, mass = mean_shots(support, mask, c)
            ours = (np.maximum(vectors @ np.average(rows, axis=0, weights=mass), 0) + 1e-3) * weights
            theirs = (np.maximum(rows @ np.average(vectors, axis=0, weights=weights), 0) + 1e-3) * mass
            cosine = oracle.unit(vectors) @ oracle.unit(rows).T
            plan = plan_oracle(1 - cosine, ours / ours.sum(), theirs / theirs.sum(), 0.05, iterations)
            expected[q, c] = 12.5 * (plan * cosine).sum()
    out = jax.jit(partial(deepemd, iterations=iterations))(*episode)
    np.testing.assert_allclose(out, expected, rtol=2e-4, atol=1e-4)
