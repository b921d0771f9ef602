"""The head of named parts: log-probabilities of the values of a class, part by part."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from partrep import UserError
from partrep.models.heads import HEADS

RNG = np.random.default_rng(0)
CODES, PRESENCE = RNG.normal(size=(2, 3, 5)), np.ones((2, 3))
KERNEL, BIAS = RNG.normal(size=(3, 5, 4)), RNG.normal(size=(3, 4))
TABLE = ((0, 3, 1), (2, 0, 1))
GIVEN = {"params": {"kernel": np.float32(KERNEL), "bias": np.float32(BIAS)}}
HEAD = HEADS["attributes"](classes=2, table=TABLE)
INPUTS = jnp.float32(CODES), jnp.float32(PRESENCE)


def shares_loop():
    out = np.zeros((2, 3, 2))
    for b, p, c in np.ndindex(out.shape):
        logits = CODES[b, p] @ KERNEL[p] + BIAS[p]
        out[b, p, c] = logits[TABLE[c][p]] - np.log(np.exp(logits).sum())
    return out


def test_each_part_says_how_probable_the_value_of_a_class_is():
    np.testing.assert_allclose(HEAD.apply(GIVEN, *INPUTS, method="contributions"), shares_loop(), rtol=1e-5)
    np.testing.assert_allclose(HEAD.apply(GIVEN, *INPUTS, False), shares_loop().sum(1), rtol=1e-5)
    made = jax.eval_shape(lambda: HEAD.init(jax.random.key(0), *INPUTS, False))["params"]
    assert jax.tree.map(jnp.shape, made) == {"kernel": (3, 5, 4), "bias": (3, 4)}


def test_a_class_with_the_values_that_are_read_is_the_most_probable():
    table = tuple(np.ndindex(4, 4, 4))  # every combination is a class, and their probabilities sum to one
    head = HEADS["attributes"](classes=64, table=table)
    logits = np.asarray(head.apply(GIVEN, *INPUTS, False))
    np.testing.assert_allclose(np.exp(logits).sum(1), 1.0, rtol=1e-5)
    read = np.argmax(np.einsum("bpm,pmv->bpv", CODES, KERNEL) + BIAS, axis=2)
    assert [table[at] for at in logits.argmax(1)] == [tuple(one) for one in read]


def test_parts_change_with_the_columns_of_the_table():
    order = [2, 0, 1]
    params = {"params": {"kernel": np.float32(KERNEL)[order], "bias": np.float32(BIAS)[order]}}
    head = HEADS["attributes"](classes=2, table=tuple(tuple(row[p] for p in order) for row in TABLE))
    found = head.apply(params, INPUTS[0][:, order], INPUTS[1], method="contributions")
    np.testing.assert_allclose(found, shares_loop()[:, order], rtol=1e-5)


@pytest.mark.parametrize("table", [((0, 1, 0),), ((0, 1), (1, 1)), ((0, -1, 0), (1, 0, 0))])
def test_a_table_that_does_not_fit_is_named(table):
    with pytest.raises(UserError, match=r"attributes: a table of shape .*; expected 2 classes, 3 parts and values from 0"):
        HEADS["attributes"](classes=2, table=table).init(jax.random.key(0), *INPUTS, False)
