"""Independence of codes over a batch, against float64 loops, with and without masked examples, on four devices."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from partrep import losses

code_decorrelation, dip_i, dip_ii, gaussian_kl, part_decorrelation, total_correlation = (
    jax.jit(losses.LOSSES[name])
    for name in ("code_decorrelation", "dip_i", "dip_ii", "gaussian_kl", "part_decorrelation", "total_correlation")
)
RNG = np.random.default_rng(7)
B, K, M = 5, 2, 3
MEAN, RAW, NOISE = RNG.normal(size=(B, K, M)), 0.5 * RNG.normal(size=(B, K, M)), RNG.normal(size=(B, K, M))
SAMPLES = MEAN + np.exp(RAW / 2) * NOISE
WHERE = np.array([True, True, False, True, True])


def density(z, mean, raw):
    return np.exp(-0.5 * (z - mean) ** 2 / np.exp(raw)) / np.sqrt(2 * np.pi * np.exp(raw))


def correlation_oracle(samples, mean, raw):
    """By loops and products of densities, without a logarithm of sums."""
    n, total = len(samples), 0.0
    for k in range(samples.shape[1]):
        for j in range(n):
            q = np.array([density(samples[j, k], mean[i, k], raw[i, k]) for i in range(n)])  # [i,M]
            total += np.log(q.prod(1).mean()) - sum(np.log(q[:, m].mean()) for m in range(q.shape[1]))
    return total / n


def dip_oracle(mean, variance, diagonal):
    total = 0.0
    for k in range(mean.shape[1]):
        c = np.cov(mean[:, k].T, bias=True) + np.diag(variance[:, k].mean(0))
        for m, n in np.ndindex(c.shape):
            total += diagonal * (c[m, m] - 1) ** 2 if m == n else c[m, n] ** 2
    return total


def squared_correlations(codes, same_part):
    values = []
    flat = [(k, codes[:, k, m]) for k in range(codes.shape[1]) for m in range(codes.shape[2])]
    for a, (k, x) in enumerate(flat):
        for b, (other, y) in enumerate(flat):
            if a != b and (k == other) == same_part:
                values.append(np.corrcoef(x, y)[0, 1] ** 2)
    return np.mean(values)


LOSSES = {
    "total_correlation": (
        lambda m, w: total_correlation(m + jnp.exp(RAW / 2) * NOISE, m, jnp.float32(RAW), w),
        lambda m, r: correlation_oracle((m + np.exp(RAW / 2) * NOISE)[r], m[r], RAW[r]),
    ),
    "dip_i": (dip_i, lambda m, r: dip_oracle(m[r], np.zeros_like(m[r]), 10)),
    "dip_ii": (
        lambda m, w: dip_ii(m, jnp.float32(RAW), w),
        lambda m, r: dip_oracle(m[r], np.exp(RAW[r]), 1),
    ),
    "code_decorrelation": (code_decorrelation, lambda m, r: squared_correlations(m[r], True)),
    "part_decorrelation": (part_decorrelation, lambda m, r: squared_correlations(m[r], False)),
}


@pytest.mark.parametrize("name", LOSSES)
def test_against_oracle(name, matches):
    loss, oracle = LOSSES[name]
    np.testing.assert_allclose(loss(jnp.float32(MEAN), None), oracle(MEAN, slice(None)), rtol=1e-3)
    mask = jnp.array(WHERE)
    matches(lambda m: loss(m, mask), lambda m: oracle(m, WHERE), MEAN, rtol=2e-3, atol=2e-5)


def test_gradients_of_the_variances(matches):
    matches(
        lambda raw: total_correlation(jnp.float32(SAMPLES), jnp.float32(MEAN), raw),
        lambda raw: correlation_oracle(SAMPLES, MEAN, raw),
        RAW,
    )
    matches(lambda raw: dip_ii(jnp.float32(MEAN), raw), lambda raw: dip_oracle(MEAN, np.exp(raw), 1), RAW)


@pytest.mark.parametrize("name", LOSSES)
def test_masked_examples_may_hold_anything(name):
    loss = jax.jit(jax.value_and_grad(LOSSES[name][0]))
    value, gradient = loss(jnp.float32(MEAN).at[2].set(jnp.nan), jnp.array(WHERE))
    np.testing.assert_allclose(value, loss(jnp.float32(MEAN), jnp.array(WHERE))[0], rtol=1e-6)
    assert np.isfinite(gradient).all()
    np.testing.assert_array_equal(gradient[2], 0.0)
    nothing, gradient = loss(jnp.float32(MEAN), jnp.zeros(B, bool))
    assert np.isfinite(nothing) and np.isfinite(gradient).all()


def test_kl_by_hand_and_against_the_integral(matches):
    np.testing.assert_allclose(gaussian_kl(jnp.array([[3.0]]), jnp.log(jnp.array([[4.0]]))), [6 - np.log(2)], rtol=1e-6)
    x = np.linspace(-12, 12, 200001)
    inside = density(x, MEAN[0, 0, 0], RAW[0, 0, 0])
    integral = np.trapezoid(inside * (np.log(inside) - np.log(density(x, 0.0, 0.0))), x)
    np.testing.assert_allclose(gaussian_kl(jnp.float32(MEAN[:1, 0, :1]), jnp.float32(RAW[:1, 0, :1])), [integral], rtol=1e-5)
    oracle = lambda m, v: 0.5 * (m**2 + np.exp(v) - v - 1).sum((1, 2))  # noqa: E731
    matches(lambda m: gaussian_kl(m, jnp.float32(RAW)), lambda m: oracle(m, RAW), MEAN)
    matches(lambda v: gaussian_kl(jnp.float32(MEAN), v), lambda v: oracle(MEAN, v), RAW)


def test_total_correlation_of_equal_gaussians_is_zero_and_without_constants_minus_log_batch():
    z = jnp.float32(RNG.normal(size=(8, 4)))
    zero = jnp.zeros((8, 4))
    assert abs(float(total_correlation(z, zero, zero))) < 1e-5
    raw = np.log(density(np.asarray(z)[:, None], np.zeros((1, 8, 4)), 0.0))  # what released code computes
    dropped = np.log(np.exp(raw.sum(-1)).sum(1)) - np.log(np.exp(raw).sum(1)).sum(-1)
    np.testing.assert_allclose(dropped.mean(), -3 * np.log(8), rtol=1e-6)


def test_total_correlation_is_largest_where_no_gaussians_overlap_and_nothing_for_one_number():
    apart = jnp.arange(6.0)[:, None] * jnp.full((1, 4), 1000.0)
    np.testing.assert_allclose(total_correlation(apart, apart, jnp.zeros((6, 4))), 3 * np.log(6), rtol=1e-5)
    one = jnp.float32(MEAN[..., :1])
    assert abs(float(total_correlation(one, one, jnp.zeros_like(one)))) < 1e-5


def test_total_correlation_of_a_correlated_gaussian():
    """Of two numbers with correlation r it is -log(1 - r^2) / 2."""
    rng, r, s = np.random.default_rng(0), 0.9, 0.3
    covariance = np.array([[1, r], [r, 1]]) - s**2 * np.eye(2)
    mean = rng.multivariate_normal([0, 0], covariance, size=2000).astype(np.float32)
    samples = mean + s * rng.normal(size=mean.shape).astype(np.float32)
    found = total_correlation(jnp.array(samples), jnp.array(mean), jnp.full(mean.shape, 2 * np.log(s)))
    assert float(found) == pytest.approx(-np.log(1 - r**2) / 2, abs=0.06)


def test_correlated_numbers_cost_more_and_mixing_within_parts_or_between_them_is_told_apart():
    independent = RNG.normal(size=(400, 2, 3))
    within, between = independent.copy(), independent.copy()
    within[:, :, 1] += 2 * within[:, :, 0]
    between[:, 1] += 2 * between[:, 0]
    (own, inside, _), (across, _, shared) = (
        [float(loss(jnp.float32(x))) for x in (independent, within, between)]
        for loss in (code_decorrelation, part_decorrelation)
    )
    assert own < 0.01 and across < 0.01
    assert inside == pytest.approx(0.8 / 3, abs=0.03)  # one pair in three
    assert shared == pytest.approx(0.8 / 3, abs=0.03)  # three pairs in nine
    for x in (within, between):
        assert float(dip_i(jnp.float32(x))) > 2 * float(dip_i(jnp.float32(independent)))


def test_decorrelation_ignores_scale_and_numbers_that_never_vary():
    codes = jnp.float32(MEAN)
    for loss in (code_decorrelation, part_decorrelation):
        np.testing.assert_allclose(loss(codes * jnp.array([1.0, 50.0, -0.02]) + 3), loss(codes), rtol=1e-3)
        value, gradient = jax.jit(jax.value_and_grad(loss))(jnp.ones((5, 2, 3)))
        assert float(value) == 0 and not np.asarray(gradient).any()
    assert float(part_decorrelation(codes[:, :1])) == 0 and float(code_decorrelation(codes[..., :1])) == 0


def test_parts_may_be_permuted():
    order = jnp.array([1, 0])
    for loss, _ in LOSSES.values():
        if loss in (code_decorrelation, part_decorrelation, dip_i):
            np.testing.assert_allclose(loss(jnp.float32(MEAN)[:, order], None), loss(jnp.float32(MEAN), None), rtol=1e-5)


DEVICES = """
import jax, numpy as np
from partrep.losses import code_decorrelation, dip_i, dip_ii, part_decorrelation, total_correlation
from partrep.train import sharding
def losses(z, mean, raw, where):
    return [total_correlation(z, mean, raw, where), dip_i(mean, where), dip_ii(mean, raw, where),
            code_decorrelation(z, where), part_decorrelation(z, where)]
rng = np.random.default_rng(0)
batch = [rng.normal(size=(8, 2, 3)).astype(np.float32) for _ in range(3)] + [np.arange(8) != 6]
both = jax.jit(lambda *x: (losses(*x), jax.grad(lambda *y: sum(losses(*y)), (0, 1, 2))(*x)))
one, four = both(*batch), both(*sharding.put_batch(batch))
assert len(four[1][0].sharding.device_set) == 4 and min(one[0]) > 1e-3
jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), one, four)
print("equal")
"""


def test_four_devices_equal_one():
    environment = os.environ | {"JAX_NUM_CPU_DEVICES": "4", "JAX_PLATFORMS": "cpu"}
    run = subprocess.run([sys.executable, "-c", DEVICES], env=environment, text=True, capture_output=True)
    assert run.stdout == "equal\n", run.stderr


def test_bad_shapes_are_named():
    with pytest.raises(ValueError, match=r"dip_i: mean has shape \(3,\); expected \[B,...,M\]"):
        dip_i(jnp.ones(3))
    with pytest.raises(ValueError, match=r"total_correlation: mean has shape \(2, 4\); expected that of samples, \(2, 3\)"):
        total_correlation(jnp.ones((2, 3)), jnp.ones((2, 4)), jnp.ones((2, 3)))
    with pytest.raises(ValueError, match="where has shape"):
        code_decorrelation(jnp.ones((3, 2)), jnp.ones(2, bool))
    with pytest.raises(ValueError, match="codes has shape"):
        part_decorrelation(jnp.ones((3, 2)))
    with pytest.raises(ValueError, match=r"gaussian_kl: mean has shape \(2, 3\), log_variance \(3, 2\)"):
        gaussian_kl(jnp.ones((2, 3)), jnp.ones((3, 2)))
