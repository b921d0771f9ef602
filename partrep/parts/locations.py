"""Every location, or every cell of a fixed grid, as a part of its own: the dense baseline of part methods."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from partrep import UserError
from partrep.parts import readout
from partrep.parts.structure import Parts


class Locations(nn.Module):
    """K fixed cells of an image, `v_k = sum_n a_kn z_n / sum_n a_kn` with `a_kn` the share of location n in cell k.

    With as many cells on a side as the map has locations, the vectors are the features themselves. What a cell shows
    hangs on how the object lies in the image, so that images are compared by the best match of each cell and not
    cell by cell.

    Honest explanation, with a linear head: level 1 and level 2 exactly. Not level 3. `read_out(features, assignment)`
    is the read-out with the assignment frozen.

    Attributes:
        cells: on a side, 1 <= cells; K = cells^2. A map's location that a cell's edge cuts is shared by area.

    Call:
        features: [B,h,w,D].
        train: unused.

    Returns:
        `Parts` with K = cells^2 in reading order, presence and background as fixed as the cells: all are there, and
        none is left over; no scores.

    Raises:
        UserError: no cell, or more on a side than the map has locations.
        ValueError: features without four axes.

    Example:
        >>> features = jnp.arange(16.0).reshape(1, 4, 4, 1)
        >>> Locations(cells=2).apply({}, features, train=False).vectors[0, :, 0].tolist()
        [2.5, 4.5, 10.5, 12.5]

    Source: local descriptors as sets, such as DN4 (Li et al. 2019) and DeepEMD's fixed grid (Zhang et al. 2020).
    """

    cells: int = 7
    read_out = staticmethod(readout.weighted_mean)

    @nn.compact
    def __call__(self, features: jax.Array, train: bool) -> Parts:
        """The cells of each image."""
        b, h, w, _ = features.shape
        if not 1 <= self.cells <= min(h, w):
            raise UserError(f"locations: {self.cells} cells on a side of a map of {h}x{w}; expected 1 to {min(h, w)}")
        rows, columns = (area_shares(size, self.cells) for size in (h, w))
        one = jnp.einsum("ih,jw->ijhw", rows, columns).reshape(self.cells**2, h, w)
        assignment = jnp.broadcast_to(one, (b, *one.shape))
        return Parts(
            similarity=assignment,
            assignment=assignment,
            background=None,
            vectors=self.read_out(features, assignment),
            scores=None,
            presence=jnp.ones(assignment.shape[:2], jnp.float32),
            centroid=readout.centroid(assignment),
        )


def area_shares(size: int, cells: int) -> jax.Array:
    """[cells,size]: the share of each of `size` equal intervals that lies in each of `cells` equal intervals.

    >>> area_shares(3, 2).tolist()
    [[1.0, 0.5, 0.0], [0.0, 0.5, 1.0]]
    """
    low, edge = jnp.arange(size) * cells, jnp.arange(cells)[:, None] * size
    overlap = jnp.minimum(low + cells, edge + size) - jnp.maximum(low, edge)
    return jnp.maximum(overlap, 0).astype(jnp.float32) / cells
