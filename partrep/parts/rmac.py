"""R-MAC: maxima over a grid of square regions at several scales, the fixed regions that learned parts replace."""

from __future__ import annotations

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from partrep.directions import unit
from partrep.parts import readout
from partrep.parts.structure import Parts
from partrep.shapes import check_shapes

OVERLAP = 0.4
"""Wanted of neighbouring regions of the coarsest scale, as a share of their side."""

STEPS = range(2, 8)
"""How many of them may lie along the longer side of a map that is not square."""

Region = tuple[int, int, int, int]
"""(y0, x0, y1, x1) in cells of the map, y1 and x1 excluded."""


def rmac_regions(height: int, width: int, levels: int = 3) -> tuple[Region, ...]:
    """Square regions at scales l = 1..L of side `floor(2 min(h, w) / (l + 1))`, evenly placed.

    Along the shorter side lie l of them, along the longer one l + m, where m = 0 for a square map and else such that
    1 + m regions of scale 1 overlap by nearly `OVERLAP`.

    Args:
        height: h >= 1, cells of the map.
        width: w >= 1.
        levels: L >= 1. Scales whose regions would have no cell are left out.

    Returns:
        (y0, x0, y1, x1) of each region in cells, the largest first, and row by row within a scale.

    Raises:
        ValueError: a size or a number of levels below 1.

    Example:
        >>> rmac_regions(4, 4, levels=2)
        ((0, 0, 4, 4), (0, 0, 2, 2), (0, 2, 2, 4), (2, 0, 4, 2), (2, 2, 4, 4))
        >>> rmac_regions(4, 6, levels=1)
        ((0, 0, 4, 4), (0, 2, 4, 6))

    Source: Tolias, Sicre and Jegou, Particular object retrieval with integral max-pooling of CNN activations, ICLR
    2016.
    Departures: none. (The code of Radenovic et al. adds the whole map once more, so that it counts twice where the map
    is square.)
    """
    if min(height, width, levels) < 1:
        raise ValueError(f"rmac_regions: a map of {height} x {width} and {levels} levels; expected 1 or more of each")
    short, long = min(height, width), max(height, width)
    overlaps = [abs(1 - (long - short) / (steps - 1) / short - OVERLAP) for steps in STEPS]
    more = 0 if short == long else int(np.argmin(overlaps)) + STEPS[0] - 1
    regions: list[Region] = []
    for level in range(1, levels + 1):
        side = 2 * short // (level + 1)
        if side:
            tops = _places(height, side, level + more * (height > width))
            lefts = _places(width, side, level + more * (width > height))
            regions += [(y, x, y + side, x + side) for y in tops for x in lefts]
    return tuple(regions)


def _places(length: int, side: int, count: int) -> list[int]:
    """Where `count` intervals start that fill a length evenly, rounded down."""
    return [i * (length - side) // max(count - 1, 1) for i in range(count)]


def region_max(features: jax.Array, regions: tuple[Region, ...]) -> jax.Array:
    """The maximum of each channel in each region, at length one, `f_r = unit(max_{n in r} z_n)`.

    Args:
        features: [B,h,w,D], `z`.
        regions: of `rmac_regions`, or any others inside the map.

    Returns:
        f32 [B,R,D]; zero where the maximum is.

    Raises:
        ValueError: features without four axes, no regions, one that is empty or leaves the map.

    Example:
        >>> np.asarray(region_max(jnp.array([[[[3.0, 0.0], [0.0, 4.0]]]]), ((0, 0, 1, 2), (0, 0, 1, 1)))).round(3)
        array([[[0.6, 0.8],
                [1. , 0. ]]], dtype=float32)

    Source: see `rmac_regions`.
    """
    sizes = check_shapes("region_max", features=(features, "B h w D"))
    for y0, x0, y1, x1 in regions:
        if not (0 <= y0 < y1 <= sizes["h"] and 0 <= x0 < x1 <= sizes["w"]):
            raise ValueError(f"region_max: region {(y0, x0, y1, x1)} in a map of {sizes['h']} x {sizes['w']} cells")
    if not regions:
        raise ValueError("region_max: no regions; expected one or more")
    z = features.astype(jnp.float32)
    return unit(jnp.stack([jnp.max(z[:, y0:y1, x0:x1], axis=(1, 2)) for y0, x0, y1, x1 in regions], axis=1))


def rmac(
    features: jax.Array, levels: int = 3, whitening: Callable[[jax.Array], jax.Array] | None = None
) -> jax.Array:
    """Regional maximum activations of convolutions, `v = unit( sum_r unit( M (f_r - m) ) )`.

    Args:
        features: [B,h,w,D], of a ReLU.
        levels: L >= 1, scales of the grid.
        whitening: [B,R,D] -> [B,R,E], such as a shift and a projection that are trained along; it gets `f_r` of length
            one, and what it gives is brought to length one. None leaves it out.

    Returns:
        f32 [B,E] of length one, or [B,D]; zeros for a map of zeros.

    Raises:
        ValueError: features without four axes, levels below 1.

    Example:
        >>> jax.jit(rmac)(jnp.ones((1, 4, 6, 4))).round(3).tolist()
        [[0.5, 0.5, 0.5, 0.5]]

    Source: Tolias, Sicre and Jegou (ICLR 2016); Gordo, Almazan, Revaud and Larlus (ECCV 2016), with the
    whitening inside of the network.
    """
    sizes = check_shapes("rmac", features=(features, "B h w D"))
    vectors = region_max(features, rmac_regions(sizes["h"], sizes["w"], levels))
    return unit(jnp.sum(vectors if whitening is None else unit(whitening(vectors)), axis=1))


class Rmac(nn.Module):
    """The regions of R-MAC as parts that no image chooses: the fixed grid beside learned regions.

    A part is a region, the same of every image; its vector is `region_max`. Regions overlap, so that the shares of a
    location do not sum to one.

    Honest explanation, with a linear head: level 1 (regions, not things). Not level 2, as maxima are not linear in the
    features, and not level 3.

    Attributes:
        levels: L >= 1, scales of the grid.

    Call:
        features: [B,h,w,D], of a ReLU.
        train: unused.

    Returns:
        `Parts` with K regions: assignment and similarity 1 inside of the region, presence 1, no background, no scores.

    Raises:
        ValueError: features without four axes, levels below 1.

    Example:
        >>> parts = jax.jit(lambda z: Rmac(levels=2).apply({}, z, train=False))(jnp.ones((2, 4, 4, 3)))
        >>> parts.vectors.shape, parts.centroid[0, 1].tolist()
        ((2, 5, 3), [0.25, 0.25])

    Source: see `rmac`; its descriptor is the sum of these vectors, brought to length one.
    """

    levels: int = 3

    @nn.compact
    def __call__(self, features: jax.Array, train: bool) -> Parts:
        """Every region of the grid as a part."""
        sizes = check_shapes("Rmac", features=(features, "B h w D"))
        regions = rmac_regions(sizes["h"], sizes["w"], self.levels)
        inside = np.zeros((len(regions), sizes["h"], sizes["w"]), np.float32)
        for mask, (y0, x0, y1, x1) in zip(inside, regions):
            mask[y0:y1, x0:x1] = 1.0
        assignment = jnp.broadcast_to(inside, (sizes["B"], *inside.shape))
        return Parts(
            similarity=assignment,
            assignment=assignment,
            background=None,
            vectors=region_max(features, regions),
            scores=None,
            presence=readout.presence(assignment),
            centroid=readout.centroid(assignment),
        )
