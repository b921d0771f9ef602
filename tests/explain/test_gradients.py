"""Gradients on models that are linear, quadratic and curved in their pixels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from partrep import UserError
from partrep.explain.gradients import input_gradient, integrated_gradients, saliency, smooth_grad
from partrep.explain.model import Explained

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.uniform(size=(2, 3, 4, 3)).astype(np.float32)
WEIGHTS = RANDOM.normal(size=(3, 4, 3, 5)).astype(np.float32)
TARGET = np.array([4, 1])
CHOSEN = np.moveaxis(WEIGHTS[..., TARGET], -1, 0).astype(np.float64)
LINEAR = Explained(lambda x: x, lambda z: jnp.einsum("bhwc,hwck->bk", z, WEIGHTS) + 3.0)
SQUARE = Explained(lambda x: x, lambda z: jnp.einsum("bhwc,hwck->bk", z**2, WEIGHTS))
CURVED = Explained(lambda x: x, lambda z: jnp.tanh(jnp.einsum("bhwc,hwck->bk", z, WEIGHTS)))


def run(method, model, **settings):
    return np.asarray(jax.jit(lambda x, c: method(model, x, c, **settings))(jnp.asarray(IMAGES), jnp.asarray(TARGET)))


def logit(model, images):
    return np.asarray(model.logits(jnp.asarray(images)))[[0, 1], TARGET]


def test_saliency_and_input_gradient_in_closed_form():
    np.testing.assert_allclose(run(saliency, LINEAR), np.abs(CHOSEN).sum(-1), rtol=1e-5)
    np.testing.assert_allclose(run(saliency, SQUARE), np.abs(2 * IMAGES * CHOSEN).sum(-1), rtol=1e-5)
    np.testing.assert_allclose(run(input_gradient, LINEAR), (IMAGES * CHOSEN).sum(-1), atol=1e-5)
    np.testing.assert_allclose(run(input_gradient, SQUARE), (2 * IMAGES**2 * CHOSEN).sum(-1), atol=1e-5)


@pytest.mark.parametrize("baseline", [0.0, [0.2, 0.5, 0.9], IMAGES[::-1]], ids=["black", "colour", "images"])
def test_integrated_gradients_are_exact_on_linear_and_quadratic_models(baseline):
    start = np.broadcast_to(baseline, IMAGES.shape).astype(np.float64)
    got = run(integrated_gradients, LINEAR, steps=1, baseline=baseline)
    np.testing.assert_allclose(got, ((IMAGES - start) * CHOSEN).sum(-1), atol=1e-5)
    got = run(integrated_gradients, SQUARE, steps=2, baseline=baseline)
    np.testing.assert_allclose(got, ((IMAGES**2 - start**2) * CHOSEN).sum(-1), atol=1e-5)


def test_integrated_gradients_are_complete_and_the_error_falls_with_the_square_of_the_steps():
    mean = np.broadcast_to(IMAGES.mean((1, 2), keepdims=True), IMAGES.shape)
    total = logit(CURVED, IMAGES) - logit(CURVED, mean)
    coarse, fine = (run(integrated_gradients, CURVED, steps=n, baseline=None).sum((1, 2)) - total for n in (4, 16))
    assert np.abs(coarse).max() > 1e-3 and np.abs(fine).max() < np.abs(coarse).max() / 8
    with pytest.raises(UserError, match="found 0 steps; expected at least 1"):
        integrated_gradients(CURVED, IMAGES, TARGET, steps=0)


SMOOTH = jax.jit(lambda seed: smooth_grad(SQUARE, IMAGES, TARGET, samples=400, noise=0.5, seed=seed))
DEVIATION = 0.5 * (IMAGES.max((1, 2, 3)) - IMAGES.min((1, 2, 3)))[:, None, None]


def test_smooth_grad_of_a_square_is_the_gradient_but_for_the_mean_of_the_noise():
    first, again, other = (np.asarray(SMOOTH(seed)) for seed in (0, 0, 1))
    # The mean of the noise has deviation noise / sqrt(samples); in each of the three colours it counts 2 |w|.
    unit = DEVIATION / 20 * 2 * np.abs(CHOSEN).sum(-1)
    scaled = (first - np.abs(2 * IMAGES * CHOSEN).sum(-1)) / unit
    assert 0.4 < np.std(scaled) < 0.9
    assert (first == again).all() and 0.5 < np.std((first - other) / unit) < 1.3
    with pytest.raises(UserError, match=r"0 samples of noise 0\.15"):
        smooth_grad(LINEAR, IMAGES, TARGET, samples=0)
