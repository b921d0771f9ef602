"""The heads of open-set recognition: errors of autoencoders by class and part, and reciprocal points."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from partrep import UserError
from partrep.models.heads import HEADS

RNG = np.random.default_rng(0)
CODES, PRESENCE = RNG.normal(size=(2, 3, 5)), RNG.uniform(0.1, 1, (2, 3))
ENCODE, DECODE = RNG.normal(size=(3, 4, 5, 2)), RNG.normal(size=(3, 4, 2, 5))
OFFSET = RNG.normal(size=(3, 4, 5))
GIVEN = {"params": {name: np.float32(x) for name, x in (("encode", ENCODE), ("decode", DECODE), ("offset", OFFSET))}}
HEAD = HEADS["autoencoders"](classes=4, width=2, scale=3.0)


def shares_loop():
    out = np.zeros((2, 3, 4))
    for b, k, c in np.ndindex(out.shape):
        rebuilt = np.tanh(CODES[b, k] @ ENCODE[k, c]) @ DECODE[k, c] + OFFSET[k, c]
        out[b, k, c] = -3.0 * PRESENCE[b, k] / PRESENCE[b].sum() * np.abs(CODES[b, k] - rebuilt).mean()
    return out


def test_logits_are_minus_the_errors_of_the_parts():
    inputs = jnp.float32(CODES), jnp.float32(PRESENCE)
    np.testing.assert_allclose(HEAD.apply(GIVEN, *inputs, method="contributions"), shares_loop(), rtol=1e-5)
    np.testing.assert_allclose(HEAD.apply(GIVEN, *inputs, False), shares_loop().sum(1), rtol=1e-5)
    made = jax.eval_shape(lambda: HEAD.init(jax.random.key(0), *inputs, False))["params"]
    assert jax.tree.map(jnp.shape, made) == {name: x.shape for name, x in GIVEN["params"].items()}


def test_an_absent_part_speaks_against_no_class():
    absent = jnp.float32(PRESENCE).at[:, 1].set(0.0)
    other = jnp.float32(CODES).at[:, 1].set(9.0)
    np.testing.assert_array_equal(*(HEAD.apply(GIVEN, codes, absent, False) for codes in (jnp.float32(CODES), other)))


def test_mistakes():
    with pytest.raises(UserError, match="width 0"):
        jax.eval_shape(lambda: HEADS["autoencoders"](classes=4, width=0).init(jax.random.key(0), CODES, PRESENCE, False))
    with pytest.raises(UserError, match="3 parts; expected one"):
        jax.eval_shape(lambda: HEADS["reciprocal"](classes=4).init(jax.random.key(0), CODES, PRESENCE, False))


def test_reciprocal_points_start_small_with_no_radius():
    head = HEADS["reciprocal"](classes=4)
    params = head.init(jax.random.key(0), jnp.ones((2, 1, 50)), jnp.ones((2, 1)), False)["params"]
    assert params["points"].shape == (4, 50) and float(params["radius"]) == 0
    assert 0.07 < float(params["points"].std()) < 0.13
