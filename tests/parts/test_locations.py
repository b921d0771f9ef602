"""Cells of a fixed grid: means by area, whatever the map's size."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from partrep import UserError
from partrep.parts.locations import Locations, area_shares

FEATURES = np.random.default_rng(0).normal(size=(2, 5, 4, 3))


def loop(features, cells):
    """Means over cells, each location spread over a fine grid of points."""
    fine = features.repeat(12, 1).repeat(12, 2)  # a location is 12 x 12 points
    rows, columns = np.array_split(fine, cells, 1), None
    out = []
    for row in rows:
        columns = np.array_split(row, cells, 2)
        out += [column.mean((1, 2)) for column in columns]
    return np.stack(out, 1)


@pytest.mark.parametrize("cells", [1, 3, 4])
def test_cells_are_means_by_area(cells):
    parts = jax.jit(lambda z: Locations(cells=cells).apply({}, z, train=False))(jnp.float32(FEATURES))
    np.testing.assert_allclose(parts.vectors, loop(FEATURES, cells), atol=1e-5)
    np.testing.assert_allclose(parts.assignment.sum(1), 1.0, atol=1e-6)
    centres = (np.arange(cells) + 0.5) / cells
    wanted = np.stack(np.meshgrid(centres, centres, indexing="ij"), -1).reshape(-1, 2)
    np.testing.assert_allclose(parts.centroid[0], wanted, atol=0.04)  # of whole locations, which edges may cut
    assert parts.background is None and (np.asarray(parts.presence) == 1).all()


def test_as_many_cells_as_locations_are_the_features():
    square = jnp.float32(FEATURES[:, :4])
    parts = Locations(cells=4).apply({}, square, train=True)
    np.testing.assert_allclose(parts.vectors, square.reshape(2, 16, 3), atol=1e-6)
    np.testing.assert_array_equal(area_shares(4, 4), np.eye(4))


@pytest.mark.parametrize("cells", [0, 5])
def test_too_many_cells_are_named(cells):
    with pytest.raises(UserError, match=f"{cells} cells on a side of a map of 5x4; expected 1 to 4"):
        Locations(cells=cells).apply({}, jnp.float32(FEATURES), train=False)
