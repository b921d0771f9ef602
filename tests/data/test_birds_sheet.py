"""The contact sheet: tiles where they belong, and a row of values in which every tile is another picture."""

import numpy as np

from partrep.data import birds
from partrep.data.birds import sheet


def test_grid_puts_tiles_row_by_row():
    tiles = np.arange(3, dtype=np.uint8)[:, None, None, None] * np.ones((3, 4, 5, 3), np.uint8)
    out = sheet._grid(tiles, columns=2)
    assert out.shape == (8 + sheet.GAP, 10 + sheet.GAP, 3)
    assert out[0, 0, 0] == 0 and out[0, 5 + sheet.GAP, 0] == 1 and out[4 + sheet.GAP, 0, 0] == 2
    assert tuple(out[-1, -1]) == sheet.PAPER


def test_every_part_has_seven_pictures_of_its_own():
    tile = 24
    picture = sheet._values(birds.World(), tile)
    step = tile + sheet.GAP
    assert picture.shape[0] == 6 * step - sheet.GAP
    tiles = [
        picture[r * step : r * step + tile, c * step : c * step + tile].astype(int) for r in range(6) for c in range(7)
    ]
    apart = [np.abs(a - b).mean() for i, a in enumerate(tiles) for b in tiles[:i]]
    assert min(apart) > 2


def test_truth_shows_each_visible_part_in_its_colour():
    world = birds.World()
    table = world.split("base", "train")
    out = birds.render(world, birds.sample(world, table.keys[:24], table.values[:24]), 64, True)
    picture = sheet._truth(out, 1)
    for owner in np.unique(out.part_mask[1]):
        assert np.mean(np.all(picture == sheet.MASK_COLOURS[owner], -1)) > 0.5 * np.mean(out.part_mask[1] == owner)
