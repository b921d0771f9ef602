"""Fixed grids, chance, and the part taken for the background."""

from __future__ import annotations

import numpy as np
import pytest

from partrep import UserError
from partrep.discovery import DISCOVERY, maps

FEATURES = np.zeros((3, 8, 8, 2))


@pytest.mark.parametrize("parts", [1, 2, 4, 6, 7, 9, 16])
def test_grid_has_all_cells_of_nearly_equal_area(parts):
    cells = maps.grid_cells(24, 24, parts)
    area = np.bincount(cells.ravel(), minlength=parts)
    assert len(area) == parts and area.min() > 0 and area.max() <= 2 * area.min()
    for part in range(parts):
        y, x = np.nonzero(cells == part)
        assert (cells[y.min() : y.max() + 1, x.min() : x.max() + 1] == part).all()


def test_grid_of_four_is_two_by_two():
    assert maps.grid_cells(2, 2, 4).tolist() == [[0, 1], [2, 3]]


@pytest.mark.parametrize("name", sorted(DISCOVERY))
def test_finders_share_one_interface(name):
    features = np.random.default_rng(0).normal(size=(3, 8, 8, 4))
    found = DISCOVERY[name](features, 5, 0)(features[:2])
    assert found.shape == (2, 5, 8, 8) and found.dtype == np.float32 and (found >= 0).all()
    np.testing.assert_array_equal(found, DISCOVERY[name](features, 5, 0)(features[:2]))


def test_random_is_even_and_differs_between_images():
    found = maps.random(FEATURES, 4, 0)(np.zeros((50, 8, 8, 2))).argmax(axis=1)
    assert np.abs(np.bincount(found.ravel()) / found.size - 0.25).max() < 0.03
    assert (found[0] != found[1]).any()


def test_border_part_is_the_one_around():
    part = np.full((2, 6, 6), 2)
    part[:, 1:5, 1:5] = 0
    assert maps.border_part(maps.one_hot_maps(part, 3)) == 2
    with pytest.raises(UserError, match="no assignment maps"):
        maps.border_part(np.zeros((0, 3, 4, 4)))
