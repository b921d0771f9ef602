"""Bits are bits, noise only in training, gradients of the stated surrogate."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from partrep import UserError
from partrep.models import bottlenecks
from partrep.models.bottlenecks import Binary

LOGITS = np.linspace(-2.5, 2.5, 11)


def test_straight_through_sign_has_the_identity_as_gradient():
    weights = jnp.arange(11.0)
    gradient = jax.grad(lambda u: jnp.sum(weights * bottlenecks.straight_through_sign(u)))(jnp.array(LOGITS))
    np.testing.assert_array_equal(gradient, weights)


def test_bernoulli_mean_and_gradient():
    logits = jnp.array(LOGITS, jnp.float32)
    keys = jax.random.split(jax.random.key(1), 4000)
    bits = jax.jit(jax.vmap(lambda k: bottlenecks.bernoulli_bits(logits, k)))(keys)
    probability = 1 / (1 + np.exp(-LOGITS))
    np.testing.assert_allclose(bits.mean(0), 2 * probability - 1, atol=5 * 1 / np.sqrt(4000))
    gradient = jax.jit(jax.grad(lambda u: bottlenecks.bernoulli_bits(u, keys[0]).sum()))(logits)
    np.testing.assert_allclose(gradient, 2 * probability * (1 - probability), rtol=1e-5)


@pytest.mark.parametrize("temperature", [0.5, 1.0])
def test_gumbel_distribution_and_gradient(temperature):
    logits = jnp.array(LOGITS, jnp.float32)
    keys = jax.random.split(jax.random.key(2), 4000)
    bits = jax.jit(jax.vmap(lambda k: bottlenecks.gumbel_bits(logits, k, temperature)))(keys)
    np.testing.assert_allclose(bits.mean(0), np.tanh(LOGITS / 2), atol=5 / np.sqrt(4000))
    noisy = LOGITS + np.asarray(jax.random.logistic(keys[0], (11,)), np.float64)
    expected = (1 - np.tanh(noisy / (2 * temperature)) ** 2) / (2 * temperature)
    gradient = jax.jit(jax.grad(lambda u: bottlenecks.gumbel_bits(u, keys[0], temperature).sum()))(logits)
    np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("noise", ["none", "bernoulli", "gumbel"])
def test_binary_codes_are_bits_and_evaluation_needs_no_key(noise):
    vectors = jax.random.normal(jax.random.key(3), (2, 3, 8)).astype(jnp.bfloat16)
    model = Binary(bits=16, noise=noise)
    variables = jax.jit(lambda k: model.init(k, vectors, train=False))(jax.random.key(4))
    evaluate = jax.jit(lambda v: model.apply(v, vectors, train=False, mutable="intermediates"))
    codes, state = evaluate(variables)
    assert codes.shape == (2, 3, 16) and codes.dtype == jnp.float32
    np.testing.assert_array_equal(np.abs(codes), 1.0)
    np.testing.assert_array_equal(codes, np.where(state["intermediates"]["bit_logits"][0] >= 0, 1.0, -1.0))

    def loss(params, key):
        drawn = model.apply({"params": params}, vectors, train=True, rngs={"gumbel": key})
        return drawn.mean()

    step = jax.jit(jax.value_and_grad(loss))
    drawn, gradients = step(variables["params"], jax.random.key(5))
    assert np.abs(gradients["projection"]["kernel"]).max() > 0
    again, _ = step(variables["params"], jax.random.key(6))
    assert (float(again) == float(drawn)) == (noise == "none")


def test_binary_codes_do_not_depend_on_the_size_of_the_part():
    vectors = jax.random.normal(jax.random.key(7), (1, 2, 32))
    model = Binary(bits=8)
    code = jax.jit(lambda v: model.init_with_output(jax.random.key(8), v, train=False)[0])
    small, large = code(0.1 * vectors), code(10.0 * vectors)
    np.testing.assert_array_equal(small, large)


def test_an_absent_part_has_finite_gradients():
    model, vectors = Binary(bits=8), jnp.zeros((1, 2, 4))
    code = lambda v: model.init_with_output(jax.random.key(9), v, train=True)[0]  # noqa: E731
    gradient = jax.jit(jax.grad(lambda v: code(v).sum()))(vectors)
    assert np.isfinite(gradient).all()


def test_no_bits_is_a_user_error():
    with pytest.raises(UserError, match="binary: 0 bits"):
        Binary(bits=0).init(jax.random.key(0), jnp.ones((1, 1, 2)), train=True)


def test_unknown_noise_lists_the_known_ones():
    with pytest.raises(UserError, match=r"unknown bit noise 'loud'; known: bernoulli, gumbel, none"):
        Binary(noise="loud").init(jax.random.key(0), jnp.ones((1, 1, 2)), train=True)
