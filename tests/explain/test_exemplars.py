"""Patches of parts: which are kept, what they are cut from, and which are the nearest."""

from __future__ import annotations

import numpy as np
import pytest

from partrep import UserError
from partrep.explain.exemplars import PartBank, chosen, cut, patch_box


def bank(seed=0, parts=2, kept=3, width=4, classes=3):
    rng = np.random.default_rng(seed)
    patches = np.repeat(rng.integers(0, 255, (parts, kept, 1, 1, 3)), 72 * 72, axis=2)
    return PartBank(
        codes=rng.normal(size=(parts, kept, width)).astype(np.float16),
        labels=np.array([[0, 1, 2], [2, 0, -1]], np.int32),
        patches=patches.reshape(parts, kept, 72, 72, 3).astype(np.uint8),
        mean_contributions=rng.normal(size=(parts, classes)).astype(np.float32),
    )


def test_each_class_has_its_turn_before_any_has_a_second():
    presence = np.array([[0.9], [0.8], [0.7], [0.1], [0.05]])
    labels = np.array([0, 0, 0, 1, 2])
    assert chosen(presence, labels, 4).tolist() == [[0, 3, 4, 1]]


def test_images_without_the_part_are_never_chosen():
    presence = np.array([[0.0, 0.5], [0.2, 0.0]])
    assert chosen(presence, np.array([0, 1]), 2).tolist() == [[1, -1], [0, -1]]


def test_the_nearest_are_those_of_the_smallest_distance():
    kept = bank()
    code = np.random.default_rng(1).normal(size=4)
    for part, known in ((0, 3), (1, 2)):
        distance = [((kept.codes[part, i].astype(float) - code) ** 2).sum() for i in range(known)]
        assert kept.nearest(part, code, 5) == np.argsort(distance).tolist()


def test_a_bank_comes_back_as_it_was_saved(tmp_path):
    kept = bank()
    kept.save(tmp_path / "parts.npz")
    found = PartBank.load(tmp_path / "parts.npz")
    for name in ("codes", "labels", "mean_contributions"):
        np.testing.assert_array_equal(getattr(found, name), getattr(kept, name))
    assert found.patches.shape == kept.patches.shape
    assert np.abs(found.patches.astype(int) - kept.patches).max() <= 3  # JPEG


def test_a_damaged_bank_is_one_line(tmp_path):
    (tmp_path / "parts.npz").write_bytes(b"PK\x03\x04 cut")
    with pytest.raises(UserError, match="not a readable bank of parts"):
        PartBank.load(tmp_path / "parts.npz")


def test_a_box_lies_around_the_part_and_inside_the_image():
    weights = np.zeros((8, 8))
    weights[0, 6:] = 1.0
    y0, x0, y1, x1 = patch_box(weights, least=0.25)
    assert 0 <= y0 < y1 <= 1 and 0 <= x0 < x1 <= 1
    assert y0 == 0 and x0 <= 6 / 8 and x1 == 1
    assert y1 - y0 == pytest.approx(x1 - x0)
    assert patch_box(np.ones((8, 8))) == (0.0, 0.0, 1.0, 1.0)
    assert patch_box(np.zeros((8, 8))) == (0.0, 0.0, 1.0, 1.0)


def test_a_patch_has_the_pixels_of_its_box():
    image = np.zeros((40, 80, 3), np.uint8)
    image[10:20, 40:60] = (255, 0, 0)
    assert (cut(image, (0.25, 0.5, 0.5, 0.75), 6)[1:-1, 1:-1] == (255, 0, 0)).all()
    assert (cut(image, (0.6, 0.0, 1.0, 0.4), 6) == 0).all()
