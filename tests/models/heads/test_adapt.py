"""Fitted classifiers against float64 solutions: Adam by hand, normal equations, scikit-learn."""

from __future__ import annotations

from functools import partial

import jax
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from partrep import UserError
from partrep.models.heads.adapt import (
    baseline_plus_plus,
    baseline_plus_plus_fit,
    linear_readout,
    logistic_fit,
    ridge_fit,
)


@pytest.fixture(scope="module")
def shots():
    """Vectors [3,4,6] and a mask under which two examples hold rubbish."""
    rng = np.random.default_rng(0)
    vectors = (rng.normal(size=(3, 4, 6)) + rng.normal(size=(3, 1, 6))).astype(np.float32)
    mask = np.ones((3, 4), bool)
    mask[0, 1] = mask[2, 3] = False
    vectors[~mask] = np.nan
    return vectors, mask


def rows(vectors, mask):
    """The examples that count and their labels."""
    return vectors[mask].astype(np.float64), np.nonzero(mask)[0]


def softmax(x):
    e = np.exp(x - x.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def cosine_gradient(w, x, y, scale):
    """The gradient of the mean cross-entropy of scale * cos(x, w_c), x of length one."""
    length = np.linalg.norm(w, axis=1, keepdims=True)
    direction = w / length
    delta = (softmax(scale * x @ direction.T) - np.eye(len(w))[y]) / len(x)
    outer = scale * delta.T @ x
    return (outer - (outer * direction).sum(1, keepdims=True) * direction) / length


def test_baseline_plus_plus_follows_adam(shots, oracle):
    x, y = rows(*shots)
    x = oracle.unit(x)
    w = oracle.unit(np.array([x[y == c].mean(0) for c in range(3)]))
    m, v = np.zeros_like(w), np.zeros_like(w)
    for t in range(1, 101):
        g = cosine_gradient(w, x, y, 10.0)
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        w = w - 0.01 * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
    np.testing.assert_allclose(baseline_plus_plus_fit(*shots)["weights"], oracle.unit(w), atol=1e-3)


def test_the_head_uses_the_fit(episode, oracle):
    support, query, mask = episode
    out = np.asarray(jax.jit(partial(baseline_plus_plus, steps=5))(support, query, mask))
    asked = np.array([(v * w[:, None]).sum(0) / w.sum() for v, w in zip(query.vectors, query.weights)])
    images = np.zeros((3, 2, 6), np.float32)
    for c, i in zip(*np.nonzero(mask)):
        kept = support.weights[c, i] > 0
        w = support.weights[c, i][kept]
        images[c, i] = (support.vectors[c, i][kept] * w[:, None]).sum(0) / w.sum()
    weights = np.asarray(jax.jit(partial(baseline_plus_plus_fit, steps=5))(images, mask)["weights"])
    np.testing.assert_allclose(out, 10 * oracle.unit(asked) @ weights.T, rtol=1e-4, atol=1e-4)
    images[mask] = oracle.unit(images[mask])
    fit = ridge_fit(images, mask)
    expected = oracle.unit(asked) @ np.asarray(fit["weights"]) + np.asarray(fit["bias"])
    out = jax.jit(linear_readout)(support, query, mask)
    np.testing.assert_allclose(out, expected, rtol=1e-3, atol=1e-4)


def test_ridge_solves_the_normal_equations(shots):
    x, y = rows(*shots)
    system = np.hstack([x, np.ones((len(x), 1))])
    penalty = np.diag([0.7] * 6 + [0.0])
    expected = np.linalg.solve(system.T @ system + penalty, system.T @ np.eye(3)[y])
    fit = ridge_fit(*shots, penalty=0.7)
    np.testing.assert_allclose(fit["weights"], expected[:-1], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(fit["bias"], expected[-1], rtol=1e-3, atol=1e-4)


def test_logistic_agrees_with_scikit_learn(shots):
    x, y = rows(*shots)
    theirs = LogisticRegression(C=0.5, tol=1e-8, max_iter=1000).fit(x, y)
    fit = logistic_fit(*shots, penalty=2.0, steps=400)
    np.testing.assert_allclose(np.asarray(fit["weights"]).T, theirs.coef_, atol=2e-3)
    # Adding one number to every bias changes no probability.
    bias = np.asarray(fit["bias"])
    np.testing.assert_allclose(bias - bias.mean(), theirs.intercept_ - theirs.intercept_.mean(), atol=2e-3)


def test_readouts_tell_apart_what_can_be(shots):
    vectors, mask = shots
    x, y = rows(vectors, mask)
    for fit in (ridge_fit(vectors, mask, 0.1), logistic_fit(vectors, mask, 0.1)):
        predicted = (x @ np.asarray(fit["weights"]) + np.asarray(fit["bias"])).argmax(1)
        assert (predicted == y).mean() > 0.9


def test_unknown_kind(episode):
    with pytest.raises(UserError, match="'ridge' or 'logistic'"):
        linear_readout(*episode, kind="svm")
