"""Images and regions against hand-made ones."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from partrep.report import pictures


def decoded(uri: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))))


def test_every_kind_of_image_becomes_rgb():
    grey = np.array([[0.0, 1.0]])
    expected = np.array([[[0, 0, 0], [255, 255, 255]]], np.uint8)
    for image in (
        grey,
        grey[..., None],
        np.repeat(grey[..., None], 3, -1),
        expected,
        np.array([[-1.0, 2.0]]),
    ):
        np.testing.assert_array_equal(pictures.to_rgb(image), expected)
    with pytest.raises(ValueError, match="shape"):
        pictures.to_rgb(np.zeros((4, 4, 2)))


def test_data_uri_scales_the_longer_side():
    image = np.full((10, 20, 3), 0.5)
    found = decoded(pictures.data_uri(image, 100))
    assert found.shape == (50, 100, 3)
    assert abs(found.astype(int) - 128).max() <= 3


def test_tint_has_the_map_as_opacity():
    found = decoded(pictures.tint_uri(np.array([[0.0, 0.5, 2.0]]), "#0072b2"))
    np.testing.assert_array_equal(found[0, :, 3], [0, 128, 255])
    np.testing.assert_array_equal(found[0, 0, :3], [0, 114, 178])


def test_a_layer_is_as_opaque_as_its_share():
    layer = np.array([[[1.0, 0.0, 0.5], [0.0, 1.0, 2.0]]])
    found = decoded(pictures.layer_uri(layer, np.array([[1.0, 0.5]])))
    np.testing.assert_array_equal(found, [[[255, 0, 128, 255], [0, 255, 255, 128]]])


def test_crop_and_square():
    image = np.arange(16).reshape(4, 4)
    np.testing.assert_array_equal(pictures.crop(image, (0.5, 0.0, 1.0, 0.25)), [[8], [12]])
    assert pictures.crop(image, (0.99, 0.99, 1.0, 1.0)).size == 1
    assert pictures.square_around((0.9, 0.9, 1.0, 1.0), grow=1.5, least=0.4) == (0.6, 0.6, 1.0, 1.0)
    assert pictures.square_around((0.0, 0.4, 1.0, 0.6)) == (0.0, 0.0, 1.0, 1.0)


def test_upsampling_keeps_means_and_constants():
    maps = np.random.default_rng(0).random((2, 4, 4))
    np.testing.assert_allclose(pictures.upsample(np.ones((3, 5)), 60), 1)
    np.testing.assert_allclose(pictures.upsample(maps, 40).mean((1, 2)), maps.mean((1, 2)), atol=0.05)


def test_leads_by_hand():
    assignment = np.array([0.5, 0.2])[:, None, None]
    np.testing.assert_allclose(pictures.leads(assignment)[:, 0, 0], [0.2, -0.3])
    mostly_background = np.array([0.1, 0.1])[:, None, None]
    np.testing.assert_allclose(pictures.leads(mostly_background)[:, 0, 0], [-0.7, -0.7])


def test_regions_of_quadrants(quadrants):
    found = pictures.regions(quadrants(1)[0])
    assert [region.part for region in found] == [0, 1, 2]
    for region, (y, x) in zip(found, [(0, 0), (0, 0.5), (0.5, 0)]):
        np.testing.assert_allclose(region.box, (y, x, y + 0.5, x + 0.5), atol=0.03)
        np.testing.assert_allclose(region.anchor, (x + 0.25, y + 0.25), atol=0.05)
        assert region.area == pytest.approx(0.25, abs=0.02)


def test_outlines_lie_on_the_image_and_close(quadrants):
    for region in pictures.regions(quadrants(1)[0]):
        start, steps = re.fullmatch(r"M(\d+ \d+)l([\d -]+)Z", region.outline).groups()
        moves = np.array(re.findall(r"-?\d+", steps), int).reshape(-1, 2)
        points = np.array(start.split(), int) + np.concatenate([[[0, 0]], np.cumsum(moves, 0)])
        assert points.min() >= 0 and points.max() <= 1000
        box = 1000 * np.array(region.box).reshape(2, 2)
        np.testing.assert_allclose([points.min(0)[::-1], points.max(0)[::-1]], box, atol=15)


def test_a_hole_is_a_second_loop():
    ring = np.zeros((1, 9, 9))
    ring[0, 1:8, 1:8] = 0.9
    ring[0, 3:6, 3:6] = 0.1
    (region,) = pictures.regions(ring)
    assert region.outline.count("M") == 2
    inside = max(abs(region.anchor[0] - 0.5), abs(region.anchor[1] - 0.5))
    assert 1.5 / 9 < inside < 3.5 / 9


def test_parts_that_win_nowhere_have_no_region(quadrants):
    assignment = quadrants(1)[0]
    assignment[1] = 0.01
    assert [region.part for region in pictures.regions(assignment)] == [0, 2]
    assert pictures.regions(np.zeros((3, 4, 4))) == []
    assert pictures.regions(np.full((3, 4, 4), np.nan)) == []
    assert [region.part for region in pictures.regions(quadrants(1)[0], parts=(2,))] == [2]


def test_specks_are_not_drawn():
    assignment = np.zeros((1, 16, 16))
    assignment[0, 4, 4] = 0.55
    assert pictures.regions(assignment) == []


def test_one_part_over_everything():
    (region,) = pictures.regions(np.ones((1, 4, 4)))
    np.testing.assert_allclose(region.box, (0, 0, 1, 1), atol=0.01)
