"""Softmaxes of cosines with margins, against float64 loops; angles beyond pi - m, vectors at 0 and pi, padding."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from partrep.losses import arcface, cosface, normalised_softmax

RNG = np.random.default_rng(3)
X, W = RNG.normal(size=(5, 3)), RNG.normal(size=(4, 3))
X[3] = -2 * W[1] + 0.1 * RNG.normal(size=3)  # of class 1, at an angle beyond pi - m
LABELS = np.array([0, 3, 2, 1, 2])
LOSSES = {"normalised_softmax": normalised_softmax, "cosface": cosface, "arcface": arcface}


def oracle(z, scale, move):
    losses = []
    for x, y in zip(z[:5], LABELS):
        logits = []
        for c, w in enumerate(z[5:]):
            cosine = x @ w / np.linalg.norm(x) / np.linalg.norm(w)
            logits.append(scale * (move(cosine) if c == y else cosine))
        losses.append(np.log(np.sum(np.exp(logits))) - logits[y])
    return np.array(losses)


def beyond(cosine, margin):
    angle = np.arccos(cosine)
    return np.cos(angle + margin) if angle + margin < np.pi else cosine - 1 + np.cos(margin)


@pytest.mark.parametrize(
    "loss, scale, move",
    [
        (functools.partial(normalised_softmax, temperature=0.2), 5, lambda c: c),
        (functools.partial(cosface, margin=0.3, scale=6.0), 6, lambda c: c - 0.3),
        (functools.partial(arcface, margin=0.5, scale=6.0), 6, lambda c: beyond(c, 0.5)),
    ],
    ids=LOSSES,
)
def test_against_oracle(loss, scale, move, matches):
    both = np.concatenate([X, W])  # gradients to embeddings and proxies at once
    matches(lambda z: loss(z[:5], z[5:], jnp.array(LABELS)), lambda z: oracle(z, scale, move), both)


def test_without_margin_all_are_the_normalised_softmax():
    given = jnp.float32(X), jnp.float32(W), LABELS
    plain = normalised_softmax(*given, temperature=1 / 16)
    np.testing.assert_allclose(cosface(*given, margin=0.0, scale=16.0), plain, rtol=1e-5)
    np.testing.assert_allclose(arcface(*given, margin=0.0, scale=16.0), plain, rtol=1e-5)


def test_the_angular_margin_rises_with_the_angle_without_a_jump_and_has_its_gradient_at_both_ends():
    angles = np.linspace(0, np.pi, 200)
    w, labels = jnp.float32(np.eye(3)[[0, 2]]), jnp.zeros(len(angles), int)
    x = np.stack([np.cos(angles), np.sin(angles), 0 * angles], axis=1)
    value, gradient = jax.jit(lambda a: jax.value_and_grad(lambda b: arcface(b, w, labels, scale=2.0).sum(), has_aux=False)(a))(jnp.float32(x))
    rows = np.asarray(arcface(jnp.float32(x), w, labels, scale=2.0))
    assert np.isfinite(float(value)) and np.isfinite(gradient).all()
    assert (np.diff(rows) >= 0).all() and np.diff(rows).max() < 2 * angles[1]
    near = 1  # beside angle 0 the root of 1 - cos^2 would have lost its digits
    tangent = np.asarray(gradient)[near] @ [-np.sin(angles[near]), np.cos(angles[near]), 0]
    assert tangent == pytest.approx(2 * np.sin(angles[near] + 0.5) * (1 - np.exp(-rows[near])), rel=1e-3)


@pytest.mark.parametrize("name", LOSSES)
def test_padding_equals_slicing_and_gets_no_gradient(name):
    where = np.array([True, False, True, True, False])
    x, y = np.where(where[:, None], X, np.nan), np.where(where, LABELS, [0, -1, 0, 0, 99])
    gradient, loss = jax.jit(
        jax.grad(lambda a: (lambda v: (v.sum(), v))(LOSSES[name](a, jnp.float32(W), y, where=where)), has_aux=True)
    )(jnp.float32(x))
    np.testing.assert_array_equal(loss[~where], 0.0)
    np.testing.assert_array_equal(gradient[~where], 0.0)
    np.testing.assert_allclose(loss[where], LOSSES[name](jnp.float32(X[where]), jnp.float32(W), y[where]), rtol=1e-4)


@pytest.mark.parametrize("name", LOSSES)
def test_corners_are_finite(name):
    """Zero vectors, embeddings on and opposite to their proxy, an unknown label, and scales of 1e-4 and 1e4."""
    x, w = jnp.float32(np.concatenate([0 * X[:1], W, -W])), jnp.float32(np.concatenate([W, 0 * W[:1]]))
    labels = jnp.array([4, 0, 1, 2, 3, 0, 1, 2, -1])
    option = "temperature" if name == "normalised_softmax" else "scale"
    both = jax.jit(jax.value_and_grad(lambda a, s: LOSSES[name](*a, labels, **{option: s}).sum()))
    for s in (1e-4, 1.0, 1e4):
        value, gradients = both((x, w), s)
        assert np.isfinite(float(value)) and all(np.isfinite(g).all() for g in gradients)
        np.testing.assert_array_equal(gradients[0][0], 0.0)
        np.testing.assert_array_equal(gradients[1][4], 0.0)
    assert float(LOSSES[name](x, w, labels)[-1]) == 0
    assert np.all(np.asarray(LOSSES[name](x, w[:1], jnp.zeros(9, int))) == 0)  # one class: nothing to tell apart


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: normalised_softmax(X, W[:, :2], LABELS), "proxies has shape"),
        (lambda: normalised_softmax(X, W, LABELS, temperature=0.0), "temperature is 0.0; expected above 0"),
        (lambda: cosface(X, W, LABELS[:2]), "labels has shape"),
        (lambda: cosface(X, W, LABELS, margin=-0.1), "margin is -0.1; expected at least 0"),
        (lambda: arcface(X, W, LABELS, margin=28.6), r"margin is 28.6; expected a number in \[0, 1.571\]"),
        (lambda: arcface(X, W, LABELS, scale=-1.0), "scale is -1.0"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
