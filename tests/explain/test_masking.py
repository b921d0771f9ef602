"""Fills of removed pixels: the rest is untouched, imputation against its definition, and where donors come from."""

import numpy as np
import pytest

from partrep.explain import masking
from partrep.explain.masking import DEVIATION, FILLS, NOISE, donors, imputed

RNG = np.random.default_rng(0)
IMAGES, OTHERS = RNG.uniform(0.2, 0.8, size=(2, 3, 6, 5, 3)).astype(np.float32)
REMOVED = RNG.uniform(size=(3, 6, 5)) < 0.6


@pytest.mark.parametrize("name", FILLS)
def test_what_is_not_removed_stays_bit_for_bit_and_images_do_not_meet(name):
    filled = FILLS[name](IMAGES, REMOVED, OTHERS)
    assert filled.dtype == np.float32 and filled.min() >= 0 and filled.max() <= 1
    assert np.array_equal(filled[~REMOVED], IMAGES[~REMOVED])
    assert (np.abs(filled - IMAGES).max(-1)[REMOVED] > 0).all()
    order = [2, 0, 1]
    again = FILLS[name](IMAGES[order], REMOVED[order], OTHERS[order])
    np.testing.assert_allclose(again, filled[order], atol=1e-6)
    assert np.array_equal(FILLS[name](IMAGES, np.zeros_like(REMOVED), OTHERS), IMAGES)


def test_black_mean_blur_and_patches_by_definition():
    everything = np.ones_like(REMOVED)
    assert not FILLS["black"](IMAGES, everything, OTHERS).any()
    assert np.array_equal(FILLS["patches"](IMAGES, everything, OTHERS), OTHERS)
    mean = FILLS["mean"](IMAGES, REMOVED, OTHERS)
    for image, filled, removed in zip(IMAGES, mean, REMOVED):
        np.testing.assert_allclose(filled[removed], np.broadcast_to(image.mean((0, 1)), (removed.sum(), 3)), rtol=1e-5)
    y, x = np.meshgrid(np.arange(6), np.arange(5), indexing="ij")
    weight = np.exp(-((y - 1) ** 2 + (x - 4) ** 2) / (2 * DEVIATION**2))
    want = np.einsum("yx,byxc->bc", weight / weight.sum(), IMAGES)
    np.testing.assert_allclose(FILLS["blur"](IMAGES, everything, OTHERS)[:, 1, 4], want, rtol=1e-4)


def test_imputation_continues_a_ramp_exactly(monkeypatch):
    monkeypatch.setattr(masking, "NOISE", 0.0)
    y, x = np.meshgrid(np.arange(9), np.arange(8), indexing="ij")
    ramp = np.stack([0.1 + 0.05 * y + 0.03 * x, 0.9 - 0.1 * x, 0.05 * y], -1)[None].astype(np.float32)
    removed = np.zeros((1, 9, 8), bool)
    removed[:, 1:-1, 1:-1] = True
    np.testing.assert_allclose(imputed(ramp, removed, ramp), ramp, atol=1e-6)


def weight(a, b):
    apart = abs(a[0] - b[0]) + abs(a[1] - b[1])
    near = max(abs(a[0] - b[0]), abs(a[1] - b[1])) == 1
    return near * {1: 1 / 6, 2: 1 / 12}.get(apart, 0.0)


def test_imputed_pixels_are_weighted_means_of_their_neighbours_up_to_the_border(monkeypatch):
    monkeypatch.setattr(masking, "NOISE", 0.0)
    places = [(y, x) for y in range(6) for x in range(5)]
    weights = np.array([[weight(a, b) for b in places] for a in places])
    filled = imputed(IMAGES, REMOVED, OTHERS)
    for image, removed, got in zip(IMAGES, REMOVED, filled):
        gone = removed.ravel()
        assert gone.reshape(6, 5)[[0, -1]].any()
        shares = weights / weights.sum(1, keepdims=True)
        system = np.eye(gone.sum()) - shares[gone][:, gone]
        want = np.linalg.solve(system, shares[gone][:, ~gone] @ image.reshape(-1, 3)[~gone].astype(np.float64))
        np.testing.assert_allclose(got.reshape(-1, 3)[gone], want, atol=1e-6)


def test_imputation_of_everything_is_the_mean_colour_and_a_little_noise():
    image = np.full((1, 40, 40, 3), 0.5, np.float32)
    filled = imputed(image, np.ones((1, 40, 40), bool), image)
    assert abs(filled.mean() - 0.5) < 1e-3 and filled.std() == pytest.approx(NOISE, rel=0.05)
    assert np.array_equal(filled, imputed(image, np.ones((1, 40, 40), bool), image))


def test_donors_are_the_next_of_another_class():
    assert donors(np.array([1, 1, 2, 1])).tolist() == [2, 2, 3, 2]
    assert donors(np.array([4, 4, 4])).tolist() == [1, 2, 0]
    assert donors(np.array([4])).tolist() == [0]


def test_shapes_that_do_not_agree_are_refused():
    for fill in FILLS.values():
        with pytest.raises(ValueError, match="removed has shape"):
            fill(IMAGES, REMOVED[:, :3], OTHERS)
