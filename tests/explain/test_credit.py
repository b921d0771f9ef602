"""Credit of regions and baselines, by hand."""

import numpy as np
import pytest

from partrep import UserError
from partrep.explain.credit import PARTS, REGIONS, baselines, region_credit, spread_over_parts

RNG = np.random.default_rng(0)
MASKS = RNG.integers(0, REGIONS, (3, 8, 12))


def test_regions_share_out_the_map_pixel_by_pixel():
    maps = RNG.normal(size=MASKS.shape)
    signed, size = region_credit(maps, MASKS)
    for image, region in np.ndindex(3, REGIONS):
        inside = maps[image][MASKS[image] == region]
        np.testing.assert_allclose(signed[image, region], inside.sum())
        np.testing.assert_allclose(size[image, region], np.abs(inside).sum())


@pytest.mark.parametrize("shape", [(4, 6), (1, 1), (8, 3), (2, 12)])
def test_coarse_cells_are_spread_evenly_and_their_sum_is_kept(shape):
    maps = RNG.normal(size=(3, *shape))
    signed, size = region_credit(maps, MASKS)
    np.testing.assert_allclose(signed.sum(1), maps.sum((1, 2)))
    np.testing.assert_allclose(size.sum(1), np.abs(maps).sum((1, 2)))
    cell = (8 // shape[0], 12 // shape[1])
    fine = np.kron(maps, np.ones((1, *cell))) / (cell[0] * cell[1])
    np.testing.assert_allclose(signed, region_credit(fine, MASKS)[0])


def test_a_cell_across_a_border_gives_to_both_sides():
    masks = np.array([[[0, 1], [7, 7]]])
    signed, size = region_credit(np.array([[[-8.0]]]), masks)
    assert signed.tolist() == [[-2, -2, 0, 0, 0, 0, 0, -4]] and size.tolist() == (-signed).tolist()


@pytest.mark.parametrize(
    "maps, message",
    [
        (np.zeros((3, 3, 12)), r"has shape \(3, 3, 12\); expected \[3, h, w\], h and w dividing 8x12"),
        (np.zeros((2, 8, 12)), r"has shape \(2, 8, 12\)"),
        (np.zeros((3, 16, 24)), r"has shape \(3, 16, 24\)"),
        (np.zeros((3, 0, 12)), r"has shape \(3, 0, 12\)"),
        (np.zeros((3, 8, 12, 1)), "has shape"),
        (np.where(MASKS == 3, np.inf, 0.0), "not finite"),
    ],
)
def test_maps_that_do_not_fit_are_refused(maps, message):
    with pytest.raises(UserError, match=message):
        region_credit(maps, MASKS)


def test_spreading_gives_each_part_its_credit_and_the_rest_nothing():
    credit = RNG.normal(size=(3, PARTS))
    maps = spread_over_parts(credit, MASKS)
    assert maps.shape == MASKS.shape
    signed, _ = region_credit(maps, MASKS)
    np.testing.assert_allclose(signed[:, 2:], credit)
    assert not signed[:, :2].any()
    for part in range(PARTS):
        assert np.ptp(maps[0][MASKS[0] == 2 + part]) == 0


def test_a_part_that_is_not_seen_gets_no_credit():
    masks = np.array([[[0, 2], [2, 4]]])
    maps = spread_over_parts(np.array([[6.0, 5.0, 7.0, 0.0, 0.0, 9.0]]), masks)
    assert maps.tolist() == [[[0, 3], [3, 7]]]


def test_baselines_by_hand():
    masks = np.zeros((1, 4, 8), int)
    masks[0, 0, :4], masks[0, 1, 0], masks[0, 3] = 2, 7, 1
    images = np.zeros((1, 4, 8, 3))
    images[0, :, 4:] = 0.5  # one vertical edge
    found = baselines(images, masks)
    assert list(found) == ["random", "centre", "edges", "whole image", "visible area", "equal parts"]
    credit = {name: region_credit(maps, masks)[0][0] for name, maps in found.items()}
    assert credit["whole image"].tolist() == [19, 8, 4, 0, 0, 0, 0, 1]
    assert credit["visible area"].tolist() == [0, 0, 4, 0, 0, 0, 0, 1]
    assert credit["equal parts"].tolist() == [0, 0, 1, 0, 0, 0, 0, 1]
    np.testing.assert_allclose(found["edges"][0], np.tile([0, 0, 0, 0.25, 0.25, 0, 0, 0], (4, 1)))
    y, x = (np.arange(4) - 1.5) / 4, (np.arange(8) - 3.5) / 8
    np.testing.assert_allclose(found["centre"][0], np.exp(-8 * (y[:, None] ** 2 + x**2)))
    assert found["random"].shape[0] == 1 and found["random"].min() < 0 < found["random"].max()


def test_random_credit_is_the_seeds_and_differs_between_images():
    masks, images = np.repeat(MASKS, 4, 2), np.zeros((3, 8, 48, 3))
    first, again, other = (baselines(images, masks, seed)["random"] for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.isclose(first, other).any() and not np.isclose(first[0], first[1]).any()


@pytest.mark.parametrize("side", [5, 11, 16])
def test_every_baseline_fits_images_of_any_size(side):
    masks = RNG.integers(0, REGIONS, (2, side, side))
    for maps in baselines(RNG.uniform(size=(2, side, side, 3)), masks).values():
        region_credit(maps, masks)
