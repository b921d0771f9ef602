"""The mean in evaluation, samples of the stated Gaussian in training, exact shares of the logits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from partrep import UserError
from partrep.models.bottlenecks import Disentangled
from partrep.models.heads import HEADS
from partrep.parts import readout

B, K, D, M = 2, 3, 5, 4
MODEL = Disentangled(width=M)
RNG = np.random.default_rng(0)
VECTORS = RNG.normal(size=(B, K, D)).astype(np.float32)
SHAPES = {f"{n}_{p}": (K, D, M) if p == "kernel" else (K, M) for n in ("mean", "log_variance") for p in ("kernel", "bias")}
PARAMS = {name: RNG.normal(size=shape).astype(np.float32) for name, shape in SHAPES.items()}
EVALUATE = jax.jit(lambda p, v: MODEL.apply({"params": p}, v, train=False))


def oracle(name):
    raw = [[PARAMS[f"{name}_kernel"][k].T @ VECTORS[b, k] + PARAMS[f"{name}_bias"][k] for k in range(K)] for b in range(B)]
    return np.array(raw, np.float64)


def test_parameters_start_as_stated():
    found = jax.jit(lambda: MODEL.init(jax.random.key(0), VECTORS, train=False))()["params"]
    assert {name: x.shape for name, x in found.items()} == SHAPES
    assert not np.any(found["log_variance_kernel"]) and (found["log_variance_bias"] == -4).all()
    assert not np.allclose(found["mean_kernel"][0], found["mean_kernel"][1])


def test_mean_and_log_variance_are_each_parts_own_affine_maps():
    posterior = lambda v: MODEL.apply({"params": PARAMS}, v, method="posterior")  # noqa: E731
    both = jax.jit(posterior)(VECTORS)
    np.testing.assert_allclose(both.mean, oracle("mean"), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(both.log_variance, 10 * np.tanh(oracle("log_variance") / 10), rtol=1e-4, atol=1e-5)
    low = jax.eval_shape(posterior, jnp.bfloat16(VECTORS))
    assert low.mean.dtype == low.log_variance.dtype == jnp.float32


def test_evaluation_is_the_mean_and_needs_no_key():
    codes = EVALUATE(PARAMS, VECTORS)
    np.testing.assert_allclose(codes, oracle("mean"), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(codes, EVALUATE(PARAMS, VECTORS))


def test_training_draws_from_the_posterior_and_sows_it():
    train = lambda key: MODEL.apply(  # noqa: E731
        {"params": PARAMS}, VECTORS, train=True, rngs={"gumbel": key}, mutable="intermediates"
    )
    draws, state = jax.jit(jax.vmap(train))(jax.random.split(jax.random.key(1), 4000))
    sown = {name: np.asarray(x[0][0], np.float64) for name, x in state["intermediates"].items()}
    deviation = np.exp(10 * np.tanh(oracle("log_variance") / 10) / 2)
    z = (np.asarray(draws, np.float64) - oracle("mean")) / deviation
    assert (np.abs(z.mean(0)) < 5 / np.sqrt(4000)).all()
    assert (np.abs(z.var(0) - 1) < 5 * np.sqrt(2 / 4000)).all()
    flat = np.corrcoef(z.reshape(4000, -1).T) - np.eye(B * K * M)
    assert np.abs(flat).max() < 5.5 / np.sqrt(4000)  # no two numbers share their noise
    np.testing.assert_allclose(sown["posterior_mean"], oracle("mean"), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(np.exp(sown["posterior_log_variance"] / 2), deviation, rtol=1e-4)


def test_gradients_reach_the_variance_and_never_vanish():
    def loss(raw, v):
        params = PARAMS | {"log_variance_bias": raw}
        return jnp.sum(MODEL.apply({"params": params}, v, method="posterior").log_variance)

    gradient = jax.jit(jax.grad(loss))
    assert (np.asarray(gradient(jnp.full((K, M), 25.0), VECTORS)) > 0).all()
    assert (np.asarray(gradient(jnp.full((K, M), -25.0), 0 * VECTORS)) > 0).all()


def test_with_a_linear_head_zeroing_a_location_changes_the_logit_by_its_contribution():
    """Levels 1 and 2: exact shares of parts, and of locations with the assignment frozen."""
    features = RNG.normal(size=(B, 2, 2, D)).astype(np.float32)
    assignment = jnp.float32(RNG.dirichlet(np.ones(K), size=(B, 2, 2)).transpose(0, 3, 1, 2))
    head = HEADS["concat"](classes=2)
    weights = {"kernel": RNG.normal(size=(K, M, 2)).astype(np.float32), "bias": RNG.normal(size=2).astype(np.float32)}
    presence = jnp.ones((B, K))

    @jax.jit
    def logits(features):
        codes = MODEL.apply({"params": PARAMS}, readout.area_mean(features, assignment), train=False)
        share = head.apply({"params": weights}, codes, presence, method="contributions")
        return head.apply({"params": weights}, codes, presence, False), share

    whole, share = logits(features)
    np.testing.assert_allclose(share.sum(1) + weights["bias"], whole, rtol=1e-4, atol=1e-4)
    for y, x in np.ndindex(2, 2):
        by_parts = np.einsum("bk,bd,kdm,kmc->bc", assignment[:, :, y, x] / 4, features[:, y, x], PARAMS["mean_kernel"], weights["kernel"])
        without = logits(jnp.float32(features).at[:, y, x].set(0.0))[0]
        np.testing.assert_allclose(whole - without, by_parts, rtol=1e-3, atol=1e-4)


def test_mistakes_are_named():
    with pytest.raises(UserError, match="disentangled: width 0"):
        Disentangled(width=0).init(jax.random.key(0), VECTORS, train=False)
    with pytest.raises(ValueError, match=r"vectors has shape \(2, 3\); expected \[B,K,D\]"):
        MODEL.init(jax.random.key(0), VECTORS[..., 0], train=False)
