"""Cross entropy against float64 NumPy and optax; masks, soft targets, removed classes."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from partrep.losses import softmax_cross_entropy

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(4, 5)) * 3
LABELS = np.array([0, 4, 2, 2])
SOFT = RNG.dirichlet(np.ones(5), size=4)


def oracle(logits, target, smoothing):
    target = (1 - smoothing) * target + smoothing / 5
    return (target * (np.log(np.exp(logits).sum(1, keepdims=True)) - logits)).sum(1)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("labels", [LABELS, SOFT], ids=["int", "soft"])
def test_against_oracle(labels, smoothing, matches):
    target = np.eye(5)[labels] if labels.ndim == 1 else labels
    given = jnp.asarray(labels) if labels.ndim == 1 else jnp.float32(labels)
    matches(lambda x: softmax_cross_entropy(x, given, smoothing), lambda x: oracle(x, target, smoothing), LOGITS)


def test_agrees_with_optax():
    logits = jnp.float32(LOGITS)
    expected = optax.softmax_cross_entropy_with_integer_labels(logits, LABELS)
    np.testing.assert_allclose(softmax_cross_entropy(logits, LABELS), expected, rtol=1e-5)


def test_masked_examples_count_nothing_whatever_they_hold():
    where = jnp.array([True, False, True, False])
    logits = jnp.float32(LOGITS).at[1].set(jnp.nan).at[3].set(jnp.inf)
    labels = jnp.array([0, -1, 2, 99])
    loss = softmax_cross_entropy(logits, labels, 0.1, where)
    gradient = jax.jit(jax.grad(lambda x: softmax_cross_entropy(x, labels, 0.1, where).sum()))(logits)
    np.testing.assert_allclose(loss[jnp.array([0, 2])], oracle(LOGITS, np.eye(5)[LABELS], 0.1)[[0, 2]], rtol=1e-4)
    np.testing.assert_array_equal(loss[jnp.array([1, 3])], 0.0)
    np.testing.assert_array_equal(gradient[jnp.array([1, 3])], 0.0)


@pytest.mark.parametrize("scale", [1e9, 1e10, 1e20, 1e30])
def test_huge_logits_are_finite_in_a_compiled_program(scale):
    """The scale is multiplied inside of it, so that a compiler may fuse it with the subtraction of the maximum."""
    labels = jnp.argmax(LOGITS, axis=1).at[0].set(int(np.argmin(LOGITS[0])))

    def loss(x, scale):
        return softmax_cross_entropy(scale * x, labels).sum()

    value, gradient = jax.jit(jax.value_and_grad(loss))(jnp.float32(LOGITS), jnp.float32(scale))
    np.testing.assert_allclose(value, scale * np.ptp(LOGITS[0]), rtol=1e-5)
    assert np.isfinite(gradient).all()


def test_a_class_of_minus_infinity_is_removed():
    logits = jnp.array([[0.0, 0.0, -jnp.inf]])
    loss = softmax_cross_entropy(logits, jnp.array([1]))
    gradient = jax.grad(lambda x: softmax_cross_entropy(x, jnp.array([1])).sum())(logits)
    np.testing.assert_allclose(loss, np.log(2), rtol=1e-6)
    np.testing.assert_allclose(gradient, [[0.5, -0.5, 0.0]], atol=1e-6)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ((jnp.ones((2, 3)), jnp.zeros(3, int)), r"labels has shape \(3,\); expected \[B\] with B=2"),
        ((jnp.ones((2, 3)), jnp.ones((2, 4))), r"labels .* expected \[B,C\] with B=2, C=3"),
        ((jnp.ones(3), jnp.zeros(3, int)), "logits has shape"),
        ((jnp.ones((2, 3)), jnp.zeros(2, int), 1.0), "label_smoothing is 1.0"),
        ((jnp.ones((2, 3)), jnp.zeros(2, int), 0.0, jnp.ones(3, bool)), "where has shape"),
    ],
)
def test_bad_input_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        softmax_cross_entropy(*arguments)
