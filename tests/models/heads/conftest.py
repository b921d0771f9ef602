"""Random episodes with weights, positions and a masked shot, and float64 helpers for the oracles."""

from __future__ import annotations

from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest

from partrep.models.local import Local


def _local(rng, shape, width, low):
    """A `Local` of NumPy arrays with weights in [low,1]."""
    return Local(
        rng.normal(size=(*shape, width)).astype(np.float32),
        rng.uniform(low, 1.0, shape).astype(np.float32),
        rng.uniform(0.0, 1.0, (*shape, 2)).astype(np.float32),
    )


@pytest.fixture(scope="session")
def make_episode():
    """make(seed) -> (support [3,2,4], query [5,4], mask [3,2]); one shot of the second class is masked."""

    def make(seed=0, classes=3, shots=2, vectors=4, queries=5, width=6):
        rng = np.random.default_rng(seed)
        support = _local(rng, (classes, shots, vectors), width, 0.2)
        query = _local(rng, (queries, vectors), width, 0.2)
        mask = np.ones((classes, shots), bool)
        mask[1, -1] = False
        return support, query, mask

    return make


@pytest.fixture(scope="session")
def episode(make_episode):
    """One episode for the oracles, with a weightless support vector and a weightless query vector."""
    support, query, mask = make_episode()
    support.weights[0, 0, 1] = 0.0
    query.weights[2, 3] = 0.0
    support.vectors[0, 0, 1] = np.nan
    return support, query, mask


def _sets(support, mask):
    """For each class the vectors, weights and positions that count, over all shots, in float64."""
    out = []
    for c in range(mask.shape[0]):
        rows = [
            (support.vectors[c, i, j], support.weights[c, i, j], support.positions[c, i, j])
            for i in range(mask.shape[1])
            if mask[c, i]
            for j in range(support.weights.shape[2])
            if support.weights[c, i, j] > 0
        ]
        out.append(tuple(np.array(x, np.float64) for x in zip(*rows, strict=True)))
    return out


def _query_sets(query):
    """For each query the (vectors, weights, positions) that count, in float64."""
    kept = [q > 0 for q in query.weights]
    arrays = (query.vectors, query.weights, query.positions)
    return [tuple(a[q][k].astype(np.float64) for a in arrays) for q, k in enumerate(kept)]


def _unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


@pytest.fixture(scope="session")
def oracle():
    """Float64 helpers: class_sets, query_sets, unit."""
    return SimpleNamespace(class_sets=_sets, query_sets=_query_sets, unit=_unit)


@pytest.fixture(scope="session")
def one():
    """Builds a `Local` of weight one at the origin from nested lists."""

    def build(vectors, positions=None):
        vectors = jnp.asarray(vectors, jnp.float32)
        where = jnp.zeros((*vectors.shape[:-1], 2)) if positions is None else jnp.asarray(positions)
        return Local(vectors, jnp.ones(vectors.shape[:-1]), where)

    return build
