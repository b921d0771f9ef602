"""Regions: a softmax over K centres with a learned reach, read out as residuals, unsaturated at the start."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit, softmax

from partrep import UserError
from partrep.parts.landmarks import Landmarks
from partrep.parts.regions import Regions

FEATURES = jax.nn.relu(jax.random.normal(jax.random.key(0), (2, 4, 5, 16)))
MODEL = Regions(parts=3)
APPLY = jax.jit(lambda v, z: MODEL.apply(v, z, train=False))
CENTRES = jax.random.normal(jax.random.key(1), (3, 16)) / 4
VARIABLES = {"params": {"centres": CENTRES, "reach": jnp.array([0.3, -0.2, 0.1])}}


def oracle(features, centres, reach):
    z = np.asarray(features, np.float64)
    u = (z - z.mean(-1, keepdims=True)) / np.sqrt(z.var(-1, keepdims=True) + 1e-6) / 4
    c = np.asarray(centres, np.float64)
    difference = u[:, None] - c[None, :, None, None]
    scale = 1 / expit(np.asarray(reach, np.float64))[:, None, None]
    logits = -scale * (difference**2).sum(-1)  # sqrt(16) / 4 = 1
    share = softmax(logits, axis=1)
    total = (share[..., None] * difference).sum((2, 3)) / share.sum((2, 3))[..., None]
    return logits, share, total / np.linalg.norm(total, axis=-1, keepdims=True)


def test_against_oracle():
    parts = APPLY(VARIABLES, FEATURES)
    expected = oracle(FEATURES, **VARIABLES["params"])
    for got, want in zip((parts.similarity, parts.assignment, parts.vectors), expected):
        np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-5)
    assert parts.background is None and parts.scores is None
    np.testing.assert_allclose(parts.assignment.sum(1), 1.0, rtol=1e-5)
    np.testing.assert_allclose(jnp.linalg.norm(parts.vectors, axis=-1), 1.0, rtol=1e-5)


def test_at_the_start_it_is_landmarks_without_a_background():
    params = {"centres": CENTRES, "reach": jnp.zeros(3)}
    prototypes = jnp.concatenate([CENTRES, jnp.full((1, 16), 9.0)])  # a background far from everything
    landmarks = jax.jit(lambda v: Landmarks(parts=3).apply(v, FEATURES, train=False))(
        {"params": {"prototypes": prototypes, "sharpness": jnp.zeros(())}}
    )
    parts = APPLY({"params": params}, FEATURES)
    np.testing.assert_allclose(parts.assignment, landmarks.assignment, rtol=1e-4)


@pytest.mark.parametrize("depth", [16, 1024])
def test_the_softmax_is_not_saturated_at_the_start_whatever_the_scale(depth):
    features = np.maximum(np.random.default_rng(2).normal(size=(2, 6, 6, depth)), 0).astype(np.float32)
    start = jax.jit(lambda z: Regions(parts=8).init_with_output(jax.random.key(3), z, train=False)[0])
    for size in (0.1, 100.0):
        share = np.asarray(start(size * features).assignment, np.float64)
        entropy = -(share * np.log(share)).sum(1).mean() / np.log(8)
        assert 0.6 < entropy < 0.95
    # The published form on the same features: one part has everything from the first step.
    centres = np.random.default_rng(3).normal(size=(8, depth)) * np.sqrt(2 / depth)
    raw = softmax(-((features[:, None] - centres[:, None, None]) ** 2).sum(-1) / 0.5, axis=1)
    raw_entropy = -(raw * np.log(np.maximum(raw, 1e-300))).sum(1).mean() / np.log(8)
    assert raw_entropy < 0.5


def test_a_greater_reach_takes_more_locations():
    wider = {"params": {**VARIABLES["params"], "reach": jnp.array([0.3, 0.5, 0.1])}}
    before, after = APPLY(VARIABLES, FEATURES).assignment, APPLY(wider, FEATURES).assignment
    assert (after[:, 1] > before[:, 1]).all()
    assert (after[:, [0, 2]] < before[:, [0, 2]]).all()


def test_permuting_centres_permutes_every_field():
    order = jnp.array([2, 0, 1])
    moved = {"params": jax.tree.map(lambda x: x[order], VARIABLES["params"])}
    before, after = APPLY(VARIABLES, FEATURES), APPLY(moved, FEATURES)
    for name in ("similarity", "assignment", "vectors", "presence", "centroid"):
        np.testing.assert_allclose(getattr(after, name), getattr(before, name)[:, order], rtol=1e-4, atol=1e-5)


def test_bfloat16_features_give_float32_and_finite_gradients_even_for_empty_features():
    low = FEATURES.astype(jnp.bfloat16).at[0].set(0.0)

    def total(variables, features):
        parts = MODEL.apply(variables, features, train=False)
        return (parts.vectors * CENTRES).sum(), parts

    grads, parts = jax.jit(jax.grad(total, argnums=(0, 1), has_aux=True))(VARIABLES, low)
    assert {x.dtype for x in jax.tree.leaves(parts)} == {jnp.dtype("float32")}
    assert all(np.isfinite(np.asarray(g, np.float32)).all() for g in jax.tree.leaves(grads))
    assert all(float(jnp.abs(g).max()) > 1e-4 for g in jax.tree.leaves(grads[0]))


def test_bad_input_is_named():
    with pytest.raises(UserError, match="regions: 0 parts; expected at least 1"):
        Regions(parts=0).init(jax.random.key(0), FEATURES, train=False)
    with pytest.raises(ValueError, match="features has shape"):
        MODEL.apply(VARIABLES, jnp.ones((2, 4, 16)), train=False)
