"""Softmaxes of cosines with margins, against float64 loops; angles beyond pi - m, vectors at 0 and pi, padding."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from partrep.losses import arcface, cosface, normalised_softmax

pytestmark = pytest.mark.usefixtures("hasty")

RNG = np.random.default_rng(3)
X, W = RNG.normal(size=(5, 3)), RNG.normal(size=(4, 3))
X[3] = -2 * W[1] + 0.1 * RNG.normal(size=3)  # of class 1, at an angle beyond pi - m
LABELS = np.array([0, 3, 2, 1, 2])
EVERYBODY = np.ones(5, bool)
LOSSES = {
    "normalised_softmax": lambda *given, s, where: normalised_softmax(*given, 1 / s, where),
    "cosface": lambda *given, s, where: cosface(*given, 0.3, s, where),
    "arcface": lambda *given, s, where: arcface(*given, 0.5, s, where),
}
MOVES = {"normalised_softmax": lambda c: c, "cosface": lambda c: c - 0.3, "arcface": lambda c: beyond(c, 0.5)}


@functools.cache
def program(name):
    """Losses [5] and the gradients of their sum to embeddings and proxies; compiled once."""
    loss = LOSSES[name]

    def both(x, w, y, s=6.0, where=EVERYBODY):
        gradients, rows = jax.grad(lambda a: (lambda v: (v.sum(), v))(loss(*a, y, s=s, where=where)), has_aux=True)((x, w))
        return rows, *gradients

    compiled = jax.jit(both)
    return lambda x, w, y, s=6.0, where=EVERYBODY: compiled(jnp.float32(x), jnp.float32(w), jnp.int32(y), s, where)


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


@pytest.mark.parametrize("name", LOSSES)
def test_against_oracle(name, matches):
    both = np.concatenate([X, W])  # gradients to embeddings and proxies at once
    loss = functools.partial(LOSSES[name], s=6.0, where=None)
    matches(lambda z: loss(z[:5], z[5:], jnp.array(LABELS)), lambda z: oracle(z, 6, MOVES[name]), both)


def test_without_margin_all_are_the_normalised_softmax():
    given = jnp.float32(X), jnp.float32(W), LABELS
    plain = program("normalised_softmax")(X, W, LABELS, 16.0)[0]
    np.testing.assert_allclose(jax.jit(lambda: cosface(*given, margin=0.0, scale=16.0))(), plain, rtol=1e-5)
    np.testing.assert_allclose(jax.jit(lambda: arcface(*given, margin=0.0, scale=16.0))(), plain, rtol=1e-5)


def test_the_angular_margin_rises_with_the_angle_without_a_jump_and_has_its_gradient_at_both_ends():
    angles = np.linspace(0, np.pi, 200).reshape(40, 5)
    w = np.eye(3)[[0, 2, 2, 2]]
    x = np.stack([np.cos(angles), np.sin(angles), 0 * angles], axis=-1)
    rows, gradients, _ = (np.stack(made) for made in zip(*(program("arcface")(a, w, np.zeros(5), 2.0) for a in x)))
    assert np.isfinite(rows).all() and np.isfinite(gradients).all()
    steps = np.diff(rows.ravel())
    assert (steps >= 0).all() and steps.max() < 2 * angles[0, 1]
    near = angles[0, 1]  # beside angle 0 the root of 1 - cos^2 would have lost its digits
    tangent = gradients[0, 1] @ [-np.sin(near), np.cos(near), 0]
    assert tangent == pytest.approx(2 * np.sin(near + 0.5) * (1 - np.exp(-rows[0, 1])), rel=1e-3)


@pytest.mark.parametrize("name", LOSSES)
def test_padding_changes_nothing_and_gets_no_gradient(name):
    where = np.array([True, False, True, True, False])
    x, y = np.where(where[:, None], X, np.nan), np.where(where, LABELS, [0, -1, 0, 0, 99])
    rows, gradient, _ = program(name)(x, W, y, where=where)
    np.testing.assert_allclose(rows, np.where(where, oracle(np.concatenate([X, W]), 6, MOVES[name]), 0.0), rtol=1e-4)
    np.testing.assert_array_equal(gradient[~where], 0.0)


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
@pytest.mark.parametrize("name", LOSSES)
def test_corners_are_finite(name, scale):
    """Zero vectors, embeddings on and opposite to their proxy, and labels that are no class."""
    x, w = np.stack([0 * W[0], W[0], -W[1], W[2], W[2]]), np.stack([W[0], W[1], W[2], 0 * W[0]])
    rows, to_x, to_w = program(name)(x, w, [3, 0, 1, -1, 3], scale)
    assert np.isfinite(rows).all() and np.isfinite(to_x).all() and np.isfinite(to_w).all()
    for nothing in (to_x[0], to_x[3], rows[3], to_w[3]):
        np.testing.assert_array_equal(nothing, 0.0)


def test_one_class_costs_nothing():
    assert not np.asarray(jax.jit(arcface)(jnp.float32(X), jnp.float32(W[:1]), jnp.zeros(5, int))).any()


def test_lists_and_numbers_are_masks_and_margins_may_be_traced():
    wanted = cosface(X, W, LABELS, where=np.array([True, False, True, True, False]))
    for where in ([True, False, True, True, False], np.array([1.0, 0, 1, 1, 0])):
        np.testing.assert_array_equal(cosface(jnp.float32(X), jnp.float32(W), LABELS, where=where), wanted)
    np.testing.assert_allclose(
        jax.jit(arcface)(jnp.float32(X), jnp.float32(W), LABELS, 0.3), arcface(X, W, LABELS, 0.3), rtol=1e-5
    )


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
