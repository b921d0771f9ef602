"""Bit statistics against float64 NumPy, with and without masked examples."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from partrep.losses import bit_balance, bit_decorrelation, quantisation

RNG = np.random.default_rng(6)
CODES = RNG.uniform(-1, 1, size=(5, 2, 3))
WHERE = np.array([True, True, False, True, False])


def balance(codes, rows):
    return (codes.reshape(5, 6)[rows].mean(0) ** 2).sum()


def decorrelation(codes, rows):
    flat = codes.reshape(5, 6)[rows]
    return ((flat.T @ flat / len(flat) - np.eye(6)) ** 2).sum()


@pytest.mark.parametrize("where", [None, WHERE], ids=["all", "masked"])
@pytest.mark.parametrize("loss, oracle", [(bit_balance, balance), (bit_decorrelation, decorrelation)])
def test_against_oracle(loss, oracle, where, matches):
    rows = slice(None) if where is None else where
    mask = None if where is None else jnp.array(where)
    matches(lambda c: loss(c, mask), lambda c: oracle(c, rows), CODES)


def test_quantisation_against_oracle(matches):
    matches(quantisation, lambda u: (np.abs(np.abs(u) - 1) ** 3).mean((1, 2)), 2 * CODES)


def test_all_words_of_a_code_are_balanced_and_uncorrelated():
    words = 2.0 * ((jnp.arange(8)[:, None] >> jnp.arange(3)) & 1) - 1.0
    assert float(bit_balance(words)) == 0 and float(bit_decorrelation(words)) == 0
    assert float(bit_balance(jnp.ones((4, 3)))) == 3
    assert float(quantisation(words).max()) == 0


@pytest.mark.parametrize("loss", [bit_balance, bit_decorrelation])
def test_masked_examples_may_hold_anything(loss):
    codes = jnp.float32(CODES).at[2].set(jnp.nan)
    value, gradient = jax.value_and_grad(loss)(codes, jnp.array(WHERE))
    assert np.isfinite(value) and np.isfinite(gradient).all()
    np.testing.assert_array_equal(gradient[2], 0.0)
    assert np.isfinite(loss(codes, jnp.zeros(5, bool)))


def test_bad_shapes_are_named():
    with pytest.raises(ValueError, match=r"bit_balance: codes has shape \(3,\); expected \[B,M\] or \[B,K,M\]"):
        bit_balance(jnp.ones(3))
    with pytest.raises(ValueError, match="where has shape"):
        bit_decorrelation(jnp.ones((3, 2)), jnp.ones(2, bool))
    with pytest.raises(ValueError, match="logits is a number"):
        quantisation(jnp.float32(1.0))
