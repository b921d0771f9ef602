"""CA-Stream against a float64 loop over stages, and as a part method of one stage."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import softmax

from partrep.parts import readout
from partrep.parts.ca_stream import CaStream, CaStreamPooling

RANDOM = np.random.default_rng(0)
STAGES = [RANDOM.normal(size=s).astype(np.float32) for s in ((2, 4, 6, 200), (2, 2, 3, 12), (2, 2, 3, 12))]
MODEL = CaStream()
VARIABLES = jax.jit(MODEL.init)(jax.random.key(0), STAGES)
APPLY = jax.jit(MODEL.apply)


def oracle(params, stages):
    query = np.repeat(np.asarray(params["token"], np.float64)[None], 2, axis=0)
    maps = []
    for number, stage in enumerate(np.asarray(s, np.float64) for s in stages):
        if number:
            layer = params[f"project_{number}"]
            query = query @ np.asarray(layer["kernel"]) + np.asarray(layer["bias"])
        scores = np.einsum("bd,bhwd->bhw", query, stage) / np.sqrt(stage.shape[-1])
        weights = softmax(scores.reshape(2, -1), axis=1).reshape(scores.shape)
        query = np.einsum("bhw,bhwd->bd", weights, stage)
        maps.append(scores)
    return query, maps


def test_against_oracle():
    params = {**VARIABLES["params"]}
    params["project_1"] = {**params["project_1"], "bias": jnp.arange(12.0)}
    got, scores = APPLY({"params": params}, STAGES)
    want, maps = oracle(params, STAGES)
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)
    assert [s.shape for s in scores] == [(2, 4, 6), (2, 2, 3), (2, 2, 3)]
    for score, expected in zip(scores, maps):
        np.testing.assert_allclose(score, expected, rtol=1e-4, atol=1e-5)


def test_the_widths_follow_the_stages_and_what_the_last_pools_is_not_projected():
    shapes = jax.tree.map(jnp.shape, VARIABLES["params"])
    assert shapes.pop("token") == (200,)
    assert {name: layer["kernel"] for name, layer in shapes.items()} == {"project_1": (200, 12), "project_2": (12, 12)}


def test_the_token_starts_as_normal_noise_about_one_and_the_projections_within_xavier_bounds():
    token, kernel = (np.asarray(x) for x in (VARIABLES["params"]["token"], VARIABLES["params"]["project_1"]["kernel"]))
    assert abs(token.mean() - 1) < 0.25 and abs(token.std() - 1) < 0.2
    bound = np.sqrt(6 / 212)
    assert 0.99 * bound < np.abs(kernel).max() <= bound


def test_flat_features_are_pooled_evenly_and_every_weight_is_trained():
    flat = [np.broadcast_to(s[:, :1, :1], s.shape) for s in STAGES]
    _, scores = APPLY(VARIABLES, flat)
    for score in scores:
        np.testing.assert_allclose(np.ptp(score, axis=(1, 2)), 0, atol=1e-5)
    gradient = jax.jit(jax.grad(lambda v: (APPLY(v, STAGES)[0] ** 2).sum()))(VARIABLES)
    assert all(np.abs(g).max() > 1e-4 for g in jax.tree.leaves(gradient))


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="found no stages"):
        MODEL.apply(VARIABLES, [])
    with pytest.raises(ValueError, match=r"stage has shape \(3, 2, 3, 12\); expected .* with B=2"):
        MODEL.apply(VARIABLES, [STAGES[0], jnp.ones((3, 2, 3, 12))])


FEATURES = STAGES[0][..., :20]
POOLING = CaStreamPooling()
LEARNED = jax.jit(lambda key: POOLING.init(key, FEATURES, train=False))(jax.random.key(1))
POOL = jax.jit(lambda variables, features: POOLING.apply(variables, features, train=True))


def test_the_one_part_is_where_the_token_looks():
    parts = POOL(LEARNED, FEATURES)
    pooled, (scores,) = oracle(LEARNED["params"]["stream"], [FEATURES])
    attention = softmax(scores.reshape(2, -1), axis=1).reshape(2, 1, 4, 6)
    np.testing.assert_allclose(parts.assignment, attention, rtol=1e-4)
    np.testing.assert_allclose(parts.similarity[:, 0], scores, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(parts.vectors[:, 0], pooled, rtol=1e-4, atol=1e-5)
    y, x = np.meshgrid((np.arange(4) + 0.5) / 4, (np.arange(6) + 0.5) / 6, indexing="ij")
    centre = np.stack([(attention[:, 0] * axis).sum((1, 2)) for axis in (y, x)], -1)
    np.testing.assert_allclose(parts.centroid[:, 0], centre, rtol=1e-4)
    assert np.ptp(attention) > 0.1 and parts.background is None and parts.scores is None
    np.testing.assert_array_equal(parts.presence, 1.0)


def test_the_read_out_is_linear_in_the_features_with_the_attention_frozen():
    parts = POOL(LEARNED, FEATURES)
    np.testing.assert_allclose(POOLING.read_out(FEATURES, parts.assignment), parts.vectors, rtol=1e-5, atol=1e-6)
    other = STAGES[0][..., 20:40]
    both = POOLING.read_out(2 * FEATURES - other, parts.assignment)
    np.testing.assert_allclose(both, 2 * parts.vectors - POOLING.read_out(other, parts.assignment), rtol=1e-3, atol=1e-5)


def test_even_attention_is_the_mean_and_the_token_is_all_that_is_learned():
    even = jax.tree.map(jnp.zeros_like, LEARNED)
    np.testing.assert_allclose(POOL(even, FEATURES).vectors, readout.area_mean(FEATURES, np.ones((2, 1, 4, 6))), atol=1e-6)
    assert jax.tree.map(jnp.shape, LEARNED["params"]) == {"stream": {"token": (20,)}}


def test_bfloat16_features_are_pooled_in_float32():
    low = jnp.asarray(FEATURES, jnp.bfloat16)
    parts = POOL(LEARNED, low)
    assert {x.dtype for x in jax.tree.leaves(parts)} == {jnp.dtype("float32")}
    np.testing.assert_allclose(parts.vectors[:, 0], oracle(LEARNED["params"]["stream"], [low])[0], rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="CaStream: "):
        POOLING.init(jax.random.key(0), FEATURES[0], train=False)
