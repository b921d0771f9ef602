"""Landmarks: a softmax over K parts and a background, read out by area, unsaturated at the start."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import softmax

from partrep import UserError
from partrep.parts.landmarks import Landmarks

FEATURES = jax.nn.relu(jax.random.normal(jax.random.key(0), (2, 4, 5, 16)))
MODEL = Landmarks(parts=3, gumbel=True)
APPLY = jax.jit(lambda v, z: MODEL.apply(v, z, train=False))
VARIABLES = jax.jit(lambda k: MODEL.init(k, FEATURES, train=False))(jax.random.key(1))


def oracle(features, prototypes, temperature):
    z = np.asarray(features, np.float64)
    z = (z - z.mean(-1, keepdims=True)) / np.sqrt(z.var(-1, keepdims=True) + 1e-6) / np.sqrt(z.shape[-1])
    distance = ((z[:, None] - np.asarray(prototypes, np.float64)[None, :, None, None]) ** 2).sum(-1)
    logits = -np.sqrt(z.shape[-1]) / (2 * temperature) * distance
    share = softmax(logits, axis=1)
    vectors = np.einsum("bkhw,bhwd->bkd", share[:, :-1], np.asarray(features, np.float64)) / z[0, ..., 0].size
    return logits[:, :-1], share[:, :-1], share[:, -1], vectors


@pytest.mark.parametrize("temperature", [1.0, 0.3])
def test_against_oracle(temperature):
    params = {**VARIABLES["params"], "sharpness": jnp.float32(-np.log(temperature))}
    parts = APPLY({"params": params}, FEATURES)
    expected = oracle(FEATURES, params["prototypes"], temperature)
    for got, want in zip((parts.similarity, parts.assignment, parts.background, parts.vectors), expected):
        np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(parts.assignment.sum(1) + parts.background, 1.0, rtol=1e-5)
    np.testing.assert_allclose(parts.presence, parts.assignment.max((2, 3)), rtol=1e-6)


@pytest.mark.parametrize("depth", [16, 512])
def test_the_softmax_is_not_saturated_at_the_start_whatever_the_scale(depth):
    features = np.maximum(np.random.default_rng(2).normal(size=(2, 6, 6, depth)), 0).astype(np.float32)
    start = jax.jit(lambda z: Landmarks(parts=8).init_with_output(jax.random.key(3), z, train=False)[0])
    for size in (0.1, 100.0):
        parts = start(size * features)
        share = np.concatenate([parts.assignment, parts.background[:, None]], axis=1)
        entropy = -(share * np.log(share)).sum(1).mean() / np.log(9)
        assert 0.6 < entropy < 0.95


def test_permuting_prototypes_permutes_every_field():
    order = jnp.array([2, 0, 1])
    prototypes = VARIABLES["params"]["prototypes"]
    moved = {**VARIABLES["params"], "prototypes": prototypes[jnp.array([2, 0, 1, 3])]}
    before, after = APPLY(VARIABLES, FEATURES), APPLY({"params": moved}, FEATURES)
    for name in ("similarity", "assignment", "vectors", "presence", "centroid"):
        np.testing.assert_allclose(getattr(after, name), getattr(before, name)[:, order], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(after.background, before.background, rtol=1e-5)


def test_noise_only_in_training_and_only_when_asked():
    rngs = {"gumbel": jax.random.key(4)}
    noisy = jax.jit(lambda v: MODEL.apply(v, FEATURES, train=True, rngs=rngs))(VARIABLES)
    assert float(jnp.abs(noisy.assignment - APPLY(VARIABLES, FEATURES).assignment).max()) > 0.1
    plain = jax.jit(lambda v: Landmarks(parts=3).apply(v, FEATURES, train=True))(VARIABLES)
    np.testing.assert_allclose(plain.assignment, APPLY(VARIABLES, FEATURES).assignment, rtol=1e-5)


def test_a_fixed_temperature_is_no_parameter():
    model = Landmarks(parts=3, learn_temperature=False, temperature=0.3)
    start = jax.jit(lambda k: model.init_with_output(k, FEATURES, train=False))
    parts, variables = start(jax.random.key(1))
    assert set(variables["params"]) == {"prototypes"}
    expected = oracle(FEATURES, variables["params"]["prototypes"], 0.3)[1]
    np.testing.assert_allclose(parts.assignment, expected, rtol=1e-3)


def test_linear_head_is_explained_exactly_by_part_and_by_location():
    head = jax.random.normal(jax.random.key(5), (3, 16))
    parts = APPLY(VARIABLES, FEATURES)
    logit = jnp.einsum("kd,bkd->b", head, parts.vectors)
    by_place = jnp.einsum("bkhw,bhwd,kd->bkhw", parts.assignment, FEATURES, head) / 20
    np.testing.assert_allclose(by_place.sum((1, 2, 3)), logit, atol=1e-4)
    frozen = MODEL.read_out(FEATURES.at[:, 1, 2].set(0.0), parts.assignment)
    change = logit - jnp.einsum("kd,bkd->b", head, frozen)
    np.testing.assert_allclose(change, by_place[:, :, 1, 2].sum(1), atol=1e-5)


def test_bfloat16_features_give_float32_and_finite_gradients_even_for_empty_features():
    low = FEATURES.astype(jnp.bfloat16).at[0].set(0.0)
    parts = APPLY(VARIABLES, low)
    assert {x.dtype for x in jax.tree.leaves(parts)} == {jnp.dtype("float32")}
    grads = jax.jit(jax.grad(lambda v, z: APPLY(v, z).vectors.sum(), argnums=(0, 1)))(VARIABLES, low)
    assert all(np.isfinite(np.asarray(g, np.float32)).all() for g in jax.tree.leaves(grads))


def test_bad_input_is_named():
    with pytest.raises(UserError, match="0 parts, temperature 1"):
        Landmarks(parts=0).init(jax.random.key(0), FEATURES, train=False)
    with pytest.raises(UserError, match=r"temperature 0\.0"):
        Landmarks(temperature=0.0).init(jax.random.key(0), FEATURES, train=False)
    with pytest.raises(ValueError, match="features has shape"):
        MODEL.apply(VARIABLES, jnp.ones((2, 4, 16)), train=False)
