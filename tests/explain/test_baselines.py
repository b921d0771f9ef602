"""Baselines of every kind, and the blur against its definition."""

import jax
import numpy as np
import pytest

from partrep import UserError
from partrep.explain.baselines import baseline_images, blur

IMAGES = np.random.default_rng(0).uniform(size=(2, 5, 4, 3)).astype(np.float32)


@pytest.mark.parametrize(
    "baseline, expected",
    [
        (0.5, np.full(IMAGES.shape, 0.5)),
        ([0.1, 0.2, 0.3], np.broadcast_to([0.1, 0.2, 0.3], IMAGES.shape)),
        (IMAGES[:1], np.broadcast_to(IMAGES[:1], IMAGES.shape)),
        (None, np.broadcast_to(IMAGES.mean((1, 2), keepdims=True), IMAGES.shape)),
    ],
)
def test_a_number_a_colour_images_or_the_mean_colour(baseline, expected):
    np.testing.assert_allclose(baseline_images(IMAGES, baseline), expected, rtol=1e-5)


def test_a_baseline_of_another_shape_is_refused():
    with pytest.raises(UserError, match=r"a baseline of shape \(4,\); expected a number, a colour or images"):
        baseline_images(IMAGES, np.zeros(4))
    with pytest.raises(UserError, match=r"a baseline of shape \(3, 2, 5, 4, 3\)"):
        baseline_images(IMAGES, np.zeros((3, *IMAGES.shape)))


def test_blur_is_the_gauss_weighted_mean_of_the_pixels_inside():
    got = jax.jit(blur, static_argnums=1)(IMAGES, 1.3)
    y, x = np.meshgrid(np.arange(5), np.arange(4), indexing="ij")
    for p, q in [(0, 0), (2, 1), (4, 3)]:
        weight = np.exp(-((y - p) ** 2 + (x - q) ** 2) / (2 * 1.3**2))
        want = np.einsum("yx,byxc->bc", weight / weight.sum(), IMAGES)
        np.testing.assert_allclose(got[:, p, q], want, rtol=1e-4)
    with pytest.raises(UserError, match="deviation of 0 pixels"):
        blur(IMAGES, 0)
