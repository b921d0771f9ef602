"""The mutual head against loops in float64."""

from __future__ import annotations

import itertools

import jax
import numpy as np
import pytest

from partrep.models.heads.mutual import mutual


@pytest.mark.parametrize("geometry", [0.0, 2.0])
def test_mutual(episode, oracle, geometry):
    support, query, mask = episode
    sets, queries = oracle.class_sets(support, mask), oracle.query_sets(query)
    expected = np.zeros((5, 3))
    for q, (vectors, weights, places) in enumerate(queries):
        for c, (rows, mass, where) in enumerate(sets):
            score = np.zeros((len(vectors), len(rows)))
            for (i, v), (j, s) in itertools.product(enumerate(vectors), enumerate(rows)):
                far = ((places[i] - where[j]) ** 2).sum()
                score[i, j] = oracle.unit(v) @ oracle.unit(s) - geometry * far
            there = weights / weights.sum() * score.max(1)
            back = mass / mass.sum() * score.max(0)
            expected[q, c] = 2.0 * (there.sum() + back.sum())
    out = jax.jit(lambda *e: mutual(*e, scale=4.0, geometry=geometry))(*episode)
    np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-5)


def test_sides_of_different_sizes(make_episode):
    support, query, mask = make_episode(1)
    fewer = jax.tree.map(lambda x: x[:, :3], query)
    assert mutual(support, fewer, mask).shape == (5, 3)
