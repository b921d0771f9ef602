"""CA-Stream against a float64 loop over stages."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import softmax

from partrep.explain.ca_stream import CaStream

RANDOM = np.random.default_rng(0)
STAGES = [RANDOM.normal(size=s).astype(np.float32) for s in ((2, 4, 6, 200), (2, 2, 3, 12), (2, 2, 3, 12))]
MODEL = CaStream()
VARIABLES = jax.jit(MODEL.init)(jax.random.key(0), STAGES)
APPLY = jax.jit(MODEL.apply)


def oracle(params, stages):
    query = np.repeat(np.asarray(params["token"], np.float64)[None], 2, axis=0)
    maps = []
    for number, stage in enumerate(np.asarray(s, np.float64) for s in stages):
        scores = np.einsum("bd,bhwd->bhw", query, stage) / np.sqrt(stage.shape[-1])
        weights = softmax(scores.reshape(2, -1), axis=1).reshape(scores.shape)
        layer = params[f"project_{number}"]
        query = np.einsum("bhw,bhwd->bd", weights, stage) @ np.asarray(layer["kernel"]) + np.asarray(layer["bias"])
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


def test_the_widths_follow_the_stages_and_the_last_projection_is_square():
    shapes = jax.tree.map(jnp.shape, VARIABLES["params"])
    assert shapes.pop("token") == (200,)
    assert [shapes[f"project_{n}"]["kernel"] for n in range(3)] == [(200, 12), (12, 12), (12, 12)]


def test_the_token_starts_as_normal_noise_about_one_and_the_projections_within_xavier_bounds():
    token, kernel = (np.asarray(x) for x in (VARIABLES["params"]["token"], VARIABLES["params"]["project_0"]["kernel"]))
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
