"""Decibels by hand, of equal images and of values that cannot be shown; ridge regression against its equations."""

from __future__ import annotations

import numpy as np
import pytest

from partrep import UserError
from partrep.metrics import linear_reconstruction, psnr


def test_by_hand_and_each_image_on_its_own():
    image = np.random.default_rng(0).uniform(0.3, 0.7, (3, 4, 5, 3))
    noise = np.where(np.random.default_rng(1).uniform(size=image.shape) < 0.5, -1, 1)
    painted = image + noise * np.array([0.1, 0.01, 0.001])[:, None, None, None]
    np.testing.assert_allclose(psnr(image, painted), [20, 40, 60], rtol=1e-9)


def test_equal_images_are_infinitely_near_and_colours_are_clipped_as_on_a_screen():
    image = np.array([[0.0, 1.0]], np.float32)
    assert psnr(image, image).tolist() == [np.inf]
    assert psnr(image, [[-3.0, 1.5]]).tolist() == [np.inf]


def test_refusals():
    with pytest.raises(UserError, match=r"images \(2, 3\), reconstructions \(2, 4\)"):
        psnr(np.ones((2, 3)), np.ones((2, 4)))
    with pytest.raises(UserError, match="expected"):
        psnr(np.ones(3), np.ones(3))


def ridge(z, x, new, penalty):
    """By the normal equations of standardised codes."""
    centre, scale = z.mean(0), z.std(0)
    design = (z - centre) / scale
    weights = np.linalg.solve(design.T @ design + penalty * np.eye(z.shape[1]), design.T @ (x - x.mean(0)))
    return x.mean(0) + (new - centre) / scale @ weights


def test_images_painted_by_ridge_regression():
    """Of all penalties the one of least generalised cross-validation error, which is computed here from the hat."""
    rng = np.random.default_rng(0)
    z, new = rng.normal(size=(30, 4)) * [1, 5, 0.1, 1], rng.normal(size=(7, 4))
    x = 0.2 * z @ rng.normal(size=(4, 6)) + 0.5 + rng.normal(size=(30, 6))

    def error(penalty):
        hat = np.stack([ridge(z, unit, z, penalty) for unit in np.eye(30)[..., None]])[..., 0].T
        return ((x - hat @ x) ** 2).sum() / (30 - np.trace(hat)) ** 2

    best = min([10.0**k for k in range(-2, 6)], key=error)
    assert 0.01 < best < 1e5
    codes = np.concatenate([z, np.full((30, 1), 3.0)], 1).reshape(30, 5, 1)  # an entry that says nothing
    unseen = np.concatenate([new, np.full((7, 1), 9.0)], 1).reshape(7, 5, 1)
    painted = linear_reconstruction(codes, x.reshape(30, 2, 3), unseen)
    np.testing.assert_allclose(painted.reshape(7, 6), ridge(z, x, new, best), rtol=1e-8)


def test_codes_that_say_nothing_paint_the_mean():
    images = np.random.default_rng(0).uniform(size=(5, 2, 2))
    painted = linear_reconstruction(np.ones((5, 3)), images, np.ones((2, 3)))
    np.testing.assert_allclose(painted, np.broadcast_to(images.mean(0), (2, 2, 2)), rtol=1e-12)
    for codes, new in ((np.ones((4, 3)), np.ones((2, 3))), (np.ones((5, 3)), np.ones((2, 4)))):
        with pytest.raises(UserError, match="linear_reconstruction: codes"):
            linear_reconstruction(codes, images, new)
