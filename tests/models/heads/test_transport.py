"""Sinkhorn against the exact linear programme, and DeepEMD against loops in float64."""

from __future__ import annotations

from functools import partial

import jax
import numpy as np
import pytest
from scipy.optimize import linprog

from partrep.models.heads.transport import deepemd, sinkhorn


def exact_cost(cost, rows, columns):
    """The least cost of moving `rows` onto `columns`."""
    s, r = cost.shape
    margins = np.zeros((s + r, s * r))
    for i in range(s):
        for j in range(r):
            margins[i, i * r + j] = margins[s + j, i * r + j] = 1
    solution = linprog(cost.ravel(), A_eq=margins, b_eq=np.concatenate([rows, columns]), method="highs")
    return solution.fun


def test_sinkhorn_comes_close_to_the_linear_programme():
    rng = np.random.default_rng(0)
    cost = rng.uniform(0, 1, (4, 5))
    rows, columns = rng.dirichlet(np.ones(4)), rng.dirichlet(np.ones(5))
    best = exact_cost(cost, rows, columns)
    gaps = []
    for epsilon in (0.2, 0.05, 0.01):
        plan = np.asarray(sinkhorn(cost.astype(np.float32), rows, columns, epsilon, 500), np.float64)
        np.testing.assert_allclose(plan.sum(0), columns, rtol=1e-4)
        np.testing.assert_allclose(plan.sum(1), rows, rtol=1e-2)
        gaps.append((plan * cost).sum() - best)
    assert gaps[0] > gaps[1] > gaps[2] > -1e-3
    assert gaps[1] < 0.05 and gaps[2] < 0.005


def test_no_flow_to_or_from_zero_margins():
    plan = np.asarray(sinkhorn(np.zeros((2, 3)), np.array([1.0, 0.0]), np.array([0.5, 0.0, 0.5])))
    np.testing.assert_allclose(plan, [[0.5, 0, 0.5], [0, 0, 0]], atol=1e-6)


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
