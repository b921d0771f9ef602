"""Diffusion against dense linear systems, random walks step by step, and data on two arcs."""

import numpy as np
import pytest

from partrep.search.diffusion import diffuse, mutual_graph

RNG = np.random.default_rng(0)


def nearest(queries, database, k):
    cosines = unit(queries) @ unit(database).T
    ids = np.argsort(-cosines, axis=1)[:, :k]
    return np.take_along_axis(cosines, ids, axis=1), ids


def unit(x):
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def dense(values, ids, gamma):
    """The normalised mutual graph by loops over pairs."""
    n = len(ids)
    weights, near = np.zeros((n, n)), [dict(zip(row, s)) for row, s in zip(ids, values)]
    for i in range(n):
        for j in range(n):
            if i != j and j in near[i] and i in near[j]:
                weights[i, j] = max(near[i][j], 0.0) ** gamma
    degree = weights.sum(1)
    return np.array(
        [[w / np.sqrt(degree[i] * degree[j]) if w else 0.0 for j, w in enumerate(row)] for i, row in enumerate(weights)]
    )


@pytest.fixture
def case():
    database, queries = RNG.normal(size=(40, 3)), RNG.normal(size=(7, 3))
    return nearest(database, database, 8), nearest(queries, database, 5)


@pytest.mark.parametrize("gamma", [1.0, 3.0])
def test_the_graph(case, gamma):
    (values, ids), _ = case
    graph = mutual_graph(values, ids, gamma).toarray()
    np.testing.assert_allclose(graph, dense(values, ids, gamma), atol=1e-12)
    np.testing.assert_array_equal(graph, graph.T)
    assert np.abs(np.linalg.eigvalsh(graph)).max() <= 1 + 1e-12 and not np.diag(graph).any()
    # The row itself may be listed or not, and lists may have gaps.
    own = ids == np.arange(40)[:, None]
    gaps = mutual_graph(np.where(own, -np.inf, values), np.where(own, -1, ids), gamma)
    np.testing.assert_array_equal(gaps.toarray(), graph)


@pytest.mark.parametrize("alpha", [0.0, 0.5, 0.99])
def test_against_the_linear_system(case, alpha):
    (values, ids), (near, at) = case
    graph = mutual_graph(values, ids)
    start = np.zeros((7, 40))
    for q in range(7):
        for s, i in zip(near[q], at[q]):
            start[q, i] = max(s, 0.0) ** 3
    want = (1 - alpha) * np.linalg.solve(np.eye(40) - alpha * dense(values, ids, 3.0), start.T).T
    got = diffuse(graph, near, at, alpha, tolerance=1e-12)
    np.testing.assert_allclose(got, want, atol=1e-9)
    loose = diffuse(graph, near, at, alpha)
    np.testing.assert_allclose(loose, want, atol=1e-3 * want.max())


def test_it_is_the_limit_of_a_random_walk(case):
    (values, ids), (near, at) = case
    graph, alpha = mutual_graph(values, ids), 0.8
    start = diffuse(graph, near, at, alpha=0.0)
    found = start
    for _ in range(200):
        found = alpha * (graph @ found.T).T + (1 - alpha) * start
    np.testing.assert_allclose(diffuse(graph, near, at, alpha, tolerance=1e-12), found, atol=1e-10)


def test_queries_do_not_touch_each_other(case):
    (values, ids), (near, at) = case
    graph = mutual_graph(values, ids)
    together = diffuse(graph, near, at)
    alone = np.concatenate([diffuse(graph, near[q : q + 1], at[q : q + 1]) for q in range(7)])
    np.testing.assert_allclose(together, alone, atol=1e-5 * together.max())
    assert together.min() > -1e-6


def test_it_follows_an_arc_that_cosines_leave():
    """Two arcs on the sphere: from one end of an arc its far end is less similar than the other arc is."""
    t = np.linspace(0, 2.4, 40)
    low = np.stack([np.cos(t), np.sin(t), 0 * t], axis=1)
    high = np.stack([np.cos(t), np.sin(t), 0 * t + 0.5], axis=1)
    database = np.concatenate([low, high]) + RNG.normal(size=(80, 3)) * 0.005
    query = low[:1]
    values, ids = nearest(database, database, 6)
    found = diffuse(mutual_graph(values, ids), *nearest(query, database, 3))[0]
    assert set(np.argsort(-found)[:40]) == set(range(40))
    assert set(np.argsort(-(query @ unit(database).T)[0])[:40]) != set(range(40))


def test_nothing_arrives_where_nothing_leads():
    graph = mutual_graph([[0.9], [0.9], [0.0]], [[1], [0], [-1]])
    assert diffuse(graph, [[1.0, -np.inf], [-0.5, -0.6]], [[2, -1], [0, 1]]).round(12).tolist() == [[0, 0, 0.01], [0, 0, 0]]


def test_bad_input_is_named(case):
    (values, ids), (near, at) = case
    graph = mutual_graph(values, ids)
    for call, message in [
        (lambda: mutual_graph(values, ids + 1), "to 40; expected -1 to 39"),
        (lambda: mutual_graph(values[:, :2], ids), "ids has shape"),
        (lambda: mutual_graph(values, ids, 0.0), "gamma 0.0"),
        (lambda: diffuse(graph, near, at, alpha=1.0), "alpha 1.0"),
        (lambda: diffuse(graph, near, at + 40), "expected -1 to 39"),
        (lambda: diffuse(graph[:3], near, at), "graph has shape"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()
