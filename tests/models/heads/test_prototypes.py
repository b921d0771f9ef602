"""Prototypes and matching against loops in float64."""

from __future__ import annotations

from functools import partial

import jax
import numpy as np
import pytest

from partrep import UserError
from partrep.models.heads.prototypes import matching, prototypes


def images(support, query, mask):
    """Weighted means of the vectors that count: a list of arrays [shots,D] a class, and [Q,D]."""
    per_class = []
    for c in range(mask.shape[0]):
        shots = []
        for i in np.flatnonzero(mask[c]):
            kept = support.weights[c, i] > 0
            weights = support.weights[c, i][kept].astype(np.float64)
            shots.append((support.vectors[c, i][kept] * weights[:, None]).sum(0) / weights.sum())
        per_class.append(np.array(shots))
    asked = [(v * w[:, None]).sum(0) / w.sum() for v, w in zip(query.vectors, query.weights.astype(float))]
    return per_class, np.array(asked)


def test_euclidean_prototypes(episode):
    support, asked = images(*episode)
    expected = [[-((q - s.mean(0)) ** 2).sum() for s in support] for q in asked]
    np.testing.assert_allclose(jax.jit(prototypes)(*episode), expected, rtol=1e-5)


def test_cosine_prototypes(episode, oracle):
    support, asked = images(*episode)
    expected = [[4.0 * oracle.unit(q) @ oracle.unit(s.mean(0)) for s in support] for q in asked]
    run = jax.jit(partial(prototypes, distance="cosine", scale=2.0))
    out = run(*episode, {"log_scale": np.log(2.0)})
    np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-6)


def test_matching(episode, oracle):
    support, asked = images(*episode)
    expected = []
    for q in asked:
        mass = [sum(np.exp(5.0 * oracle.unit(q) @ oracle.unit(x)) for x in s) for s in support]
        expected.append(np.log(np.array(mass) / sum(mass)))
    out = np.asarray(jax.jit(partial(matching, scale=5.0))(*episode))
    np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(np.exp(out).sum(1), 1.0, rtol=1e-6)


def test_unknown_distance(episode):
    with pytest.raises(UserError, match="'cosine'"):
        prototypes(*episode, distance="l1")
