"""Classifiers over part codes: contributions sum to the logits and are exact where that is claimed."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from partrep import UserError
from partrep.models.heads.linear import HEADS

B, K, M, C = 3, 4, 5, 6


@pytest.fixture(scope="module")
def inputs():
    rng = np.random.default_rng(0)
    codes = rng.normal(size=(B, K, M)).astype(np.float32)
    return codes, rng.uniform(0.1, 1, (B, K)).astype(np.float32)


def head_and_variables(name, codes, presence, **fields):
    head = HEADS[name](classes=C, **fields)
    shapes = jax.eval_shape(lambda: head.init(jax.random.key(0), codes, presence, False))
    rng = np.random.default_rng(1)
    return head, jax.tree.map(lambda s: rng.normal(0.3, 0.5, s.shape).astype(np.float32), shapes)


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def oracle(name, params, codes, presence, **fields):
    """Contributions [B,K,C] and logits [B,C] by loops in float64."""
    p = jax.tree.map(lambda v: np.asarray(v, np.float64), dict(params))
    codes, presence = codes.astype(np.float64), presence.astype(np.float64)
    out = np.zeros((B, K, C))
    for b in range(B):
        share = presence[b] / presence[b].sum()
        embedding = sum(share[k] * codes[b, k] for k in range(K))
        for k in range(K):
            v = codes[b, k]
            if name == "linear":
                out[b, k] = (p["modulation"][k] * v) @ p["kernel"] / K
            elif name == "mlp":
                hidden = np.maximum(v @ p["hidden"]["kernel"] + p["hidden"]["bias"], 0)
                out[b, k] = hidden @ p["out"]["kernel"] / K
            elif name == "concat":
                out[b, k] = v @ (p["kernel"][k] + p.get("shared", 0.0))
            elif name == "cosine":
                out[b, k] = 10 * share[k] * unit(p["kernel"].T) @ v / np.linalg.norm(embedding)
            elif name == "concat_cosine":
                lengths = np.linalg.norm(p["kernel"], axis=(0, 2)) * np.linalg.norm(codes[b])
                out[b, k] = 10 * p["kernel"][k] @ v / lengths
            else:
                templates = p["kernel"][0 if fields.get("shared") else k]
                out[b, k] = 10 * share[k] * unit(templates) @ unit(v)
    return out, out.sum(1) + p.get("bias", 0.0)


ELSEWHERE = ("attention", "attributes", "autoencoders", "class_tied", "nonnegative", "reciprocal")  # tested in files of their own
CASES = [(name, {}) for name in HEADS if name not in ELSEWHERE] + [(name, {"shared": True}) for name in ("parts_cosine", "concat")]


@pytest.mark.parametrize("name, fields", CASES)
def test_against_loops(name, fields, inputs):
    head, variables = head_and_variables(name, *inputs, **fields)
    share, logits = oracle(name, variables["params"], *inputs, **fields)
    np.testing.assert_allclose(head.apply(variables, *inputs, method="contributions"), share, rtol=1e-5, atol=1e-5)
    out = head.apply(variables, *inputs, False)
    assert out.dtype == jnp.float32
    np.testing.assert_allclose(out, logits, rtol=1e-5, atol=1e-5)


def test_a_shared_classifier_of_parts_that_sum_to_the_pooled_vector_starts_as_that_of_pooling(inputs):
    codes, presence = inputs
    head = HEADS["concat"](classes=C, shared=True)
    variables = head.init(jax.random.key(0), codes, presence, False)
    pooled = {"params": {**variables["params"], "kernel": jnp.zeros((1, M, C))}}
    whole = head.apply(pooled, codes.sum(1, keepdims=True), presence[:, :1], False)
    np.testing.assert_allclose(head.apply(variables, codes, presence, False), whole, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["linear", "concat"])
def test_taking_a_part_away_takes_exactly_its_contribution(name, inputs):
    codes, presence = inputs
    head, variables = head_and_variables(name, codes, presence)
    share = np.asarray(head.apply(variables, codes, presence, method="contributions"))
    for k in range(K):
        without = codes.copy()
        without[:, k] = 0
        change = head.apply(variables, codes, presence, False) - head.apply(variables, without, presence, False)
        np.testing.assert_allclose(change, share[:, k], rtol=1e-4, atol=1e-5)


def test_part_dropout_keeps_the_mean_and_only_trains(inputs):
    codes, presence = inputs
    head, variables = head_and_variables("linear", codes, presence, dropout=0.3)
    plain = head.apply(variables, codes, presence, False)
    run = jax.vmap(lambda key: head.apply(variables, codes, presence, True, rngs={"dropout": key}))
    draws = np.asarray(run(jax.random.split(jax.random.key(2), 4000)))
    assert draws.std(0).min() > 0.01
    np.testing.assert_allclose(draws.mean(0), plain, atol=0.06)


def test_an_mlp_needs_a_hidden_layer(inputs):
    with pytest.raises(UserError, match="mlp: width 0; expected at least 1"):
        jax.eval_shape(lambda: HEADS["mlp"](classes=C, width=0).init(jax.random.key(0), *inputs, False))


def test_low_precision_codes_are_read_in_float32(inputs):
    codes, presence = inputs
    head, variables = head_and_variables("parts_cosine", codes, presence)
    low = jnp.asarray(codes, jnp.bfloat16)
    out = head.apply(variables, low, presence, False)
    assert out.dtype == jnp.float32
    np.testing.assert_allclose(out, head.apply(variables, low.astype(jnp.float32), presence, False), rtol=1e-6)
