"""Maps of explanations brought to another resolution or range; leading axes are free."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from partrep.shapes import check_shapes

FLAT = 1e-6
"""Values that differ by less than this part of the greatest count as equal: their differences are rounding."""


def _check_larger(function: str, maps: jax.Array, height: int, width: int) -> None:
    sizes = check_shapes(function, maps=(maps, "... h w"))
    if height < sizes["h"] or width < sizes["w"]:
        raise ValueError(f"{function}: maps of {sizes['h']} x {sizes['w']} to {height} x {width}; expected no smaller")


def upsample(maps: jax.Array, height: int, width: int) -> jax.Array:
    """Bilinear interpolation between the centres of the cells; beyond the outermost the edge is repeated.

    Args:
        maps: [...,h,w].
        height: H >= h.
        width: W >= w.

    Returns:
        f32 [...,H,W].

    Raises:
        ValueError: a smaller size.

    Example:
        >>> upsample(jnp.array([[[0.0, 1.0]]]), 1, 4).tolist()
        [[[0.0, 0.25, 0.75, 1.0]]]

    Source: textbook; half-pixel centres, as in the released code of the CAM family.
    """
    _check_larger("upsample", maps, height, width)
    return jax.image.resize(jnp.asarray(maps, jnp.float32), (*maps.shape[:-2], height, width), "linear")


def _cells(cells: int, pixels: int) -> tuple[np.ndarray, np.ndarray]:
    """Of each pixel of a line: the cell its centre lies in, and one over the number of pixels of that cell."""
    cell = (2 * np.arange(pixels) + 1) * cells // (2 * pixels)
    return cell, (1.0 / np.bincount(cell, minlength=cells))[cell].astype(np.float32)


def spread(maps: jax.Array, height: int, width: int) -> jax.Array:
    """Divides each cell's value evenly over the pixels whose centres lie in it: sums are kept.

    For credit, of which no more may come out than went in; `upsample` is for looking at.

    Args:
        maps: [...,h,w].
        height: H >= h.
        width: W >= w.

    Returns:
        f32 [...,H,W] with the sum of each map.

    Raises:
        ValueError: a smaller size, at which some cells would get no pixel.

    Example:
        >>> spread(jnp.array([[[6.0, 1.0]]]), 1, 3).tolist()
        [[[6.0, 0.5, 0.5]]]

    Source: standard.
    """
    _check_larger("spread", maps, height, width)
    (rows, row_share), (columns, column_share) = _cells(maps.shape[-2], height), _cells(maps.shape[-1], width)
    return jnp.asarray(maps, jnp.float32)[..., rows[:, None], columns] * (row_share[:, None] * column_share)


def is_flat(low: jax.Array, high: jax.Array) -> jax.Array:
    """Whether values from `low` to `high` are equal but for rounding; false for NaN."""
    return high - low <= FLAT * jnp.maximum(jnp.abs(low), jnp.abs(high))


def minmax(maps: jax.Array) -> jax.Array:
    """Each map brought to [0,1], `(s - min s) / (max s - min s)`.

    Args:
        maps: [...,h,w].

    Returns:
        f32 [...,h,w]; zero, with a zero gradient, where a map is flat (its range under 1e-6 of its greatest
        size): a map that prefers nothing shows nothing.

    Raises:
        ValueError: under two axes.

    Example:
        >>> maps = jnp.array([[[-1.0, 1.0], [0.0, 3.0]], [[5.0, 5.0], [5.0, 5.0]]])
        >>> jax.jit(minmax)(maps).tolist()
        [[[0.0, 0.5], [0.25, 1.0]], [[0.0, 0.0], [0.0, 0.0]]]

    Source: Score-CAM (Wang et al. 2020), normalisation of the masks.
    """
    check_shapes("minmax", maps=(maps, "... h w"))
    s = jnp.asarray(maps, jnp.float32)
    low, high = (bound(s, axis=(-2, -1), keepdims=True) for bound in (jnp.min, jnp.max))
    flat = is_flat(low, high)
    return jnp.where(flat, 0.0, (s - low) / jnp.where(flat, 1.0, high - low))
