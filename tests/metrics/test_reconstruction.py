"""Decibels by hand, of equal images and of values that cannot be shown."""

from __future__ import annotations

import numpy as np
import pytest

from partrep import UserError
from partrep.metrics import psnr


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
