"""The attention head: float64 loops, exact sums, one classifier for all parts whatever their order."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from partrep import UserError
from partrep.models.heads.attention import Attention

CODES = np.random.default_rng(0).normal(size=(3, 4, 5)).astype(np.float32)
PRESENCE = np.ones((3, 4), np.float32)
HEAD = Attention(classes=2, width=6)
SHAPES = jax.eval_shape(lambda: HEAD.init(jax.random.key(0), CODES, PRESENCE, False))
VARIABLES = jax.tree.map(lambda s: np.random.default_rng(s.size).normal(0.2, 0.6, s.shape).astype(np.float32), SHAPES)
APPLY = jax.jit(lambda c: HEAD.apply(VARIABLES, c, PRESENCE, False))
SHARE = jax.jit(lambda c: HEAD.apply(VARIABLES, c, PRESENCE, method="contributions"))


def oracle(codes):
    """Attention [B,K] and contributions [B,K,C] by loops in float64."""
    p = jax.tree.map(lambda a: np.asarray(a, np.float64), VARIABLES["params"])
    scores, post = np.zeros((3, 4)), np.zeros((3, 4, 5))
    for b, k in np.ndindex(3, 4):
        r = codes[b, k].astype(np.float64)
        r = (r - r.mean()) / np.sqrt(r.var() + 1e-6)
        scores[b, k] = np.maximum(r @ p["score_hidden"]["kernel"] + p["score_hidden"]["bias"], 0) @ p["score"]["kernel"][:, 0]
        hidden = np.maximum(r @ p["post_hidden"]["kernel"] + p["post_hidden"]["bias"], 0)
        post[b, k] = r + hidden @ p["post"]["kernel"] + p["post"]["bias"]
    attention = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    return attention, attention[..., None] * (post @ p["kernel"])


def test_against_loops_and_the_attention_is_kept_for_figures():
    attention, share = oracle(CODES)
    logits, kept = HEAD.apply(VARIABLES, CODES, PRESENCE, False, mutable=["intermediates"])
    np.testing.assert_allclose(kept["intermediates"]["attention"][0], attention, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(SHARE(CODES), share, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(logits, share.sum(1) + VARIABLES["params"]["bias"], rtol=1e-4, atol=1e-5)


def test_contributions_sum_to_the_logits_less_the_bias():
    np.testing.assert_allclose(SHARE(CODES).sum(1), APPLY(CODES) - VARIABLES["params"]["bias"], atol=1e-5)


def test_permuting_parts_permutes_the_contributions_and_keeps_the_logits():
    order = np.array([2, 0, 3, 1])
    np.testing.assert_allclose(APPLY(CODES[:, order]), APPLY(CODES), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(SHARE(CODES[:, order]), SHARE(CODES)[:, order], rtol=1e-4, atol=1e-5)


def test_an_image_does_not_depend_on_the_others():
    np.testing.assert_allclose(APPLY(np.stack([CODES[1]] * 3))[0], APPLY(CODES)[1], rtol=1e-5, atol=1e-6)


def test_parts_compete_from_the_start_without_saturating():
    codes = np.random.default_rng(1).normal(size=(3, 4, 512)).astype(np.float32)
    codes /= np.linalg.norm(codes, axis=-1, keepdims=True)  # as residuals are
    run = jax.jit(lambda k: Attention(classes=2).init_with_output(k, codes, PRESENCE, False, mutable=True)[1])
    attention = run(jax.random.key(2))["intermediates"]["attention"][0]
    assert float(attention.std()) > 0.02 and float(attention.max()) < 0.9


def test_absent_parts_and_low_precision():
    low = jnp.asarray(CODES, jnp.bfloat16).at[:, 1].set(0.0)
    value, gradient = jax.jit(jax.value_and_grad(lambda c: APPLY(c).sum()))(low)
    assert value.dtype == jnp.float32 and np.isfinite(np.asarray(gradient, np.float32)).all()


def test_a_bad_width_is_named():
    with pytest.raises(UserError, match="attention: width 0; expected at least 1"):
        Attention(classes=2, width=0).init(jax.random.key(0), CODES, PRESENCE, False)
