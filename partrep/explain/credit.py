"""From maps of credit to credit of the true parts; and credit that knows nothing of the model, to compare with."""

from __future__ import annotations

import numpy as np

from partrep import UserError
from partrep.data import birds

PARTS = len(birds.PARTS)
REGIONS = PARTS + 2  # surroundings, body, then the parts: the values of a mask


BASELINES = ("random", "centre", "edges", "whole image", "visible area", "equal parts")


def region_credit(maps: np.ndarray, masks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The credit of each region, signed and in size: sums over its pixels of the map, each cell spread evenly.

    Args:
        maps: [n,h,w] finite, credit of each cell; h and w divide the sides of the masks.
        masks: i32 [n,H,W], the region of each pixel: 0 surroundings, 1 body, 2 + i part i.

    Returns:
        f64 [n,8], sums; they add up to the map's sum.
        f64 [n,8], sums of the sizes of the credit.

    Raises:
        UserError: maps that do not fit the masks, or that are not finite.

    Example:
        >>> masks = np.array([[[0, 2], [2, 2]]])
        >>> signed, size = region_credit(np.array([[[4.0]]]), masks)
        >>> signed[0].tolist()
        [1.0, 0.0, 3.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    """
    maps, (n, height, width) = np.asarray(maps, np.float64), masks.shape
    fits = maps.ndim == 3 and len(maps) == n and min(maps.shape) > 0
    if not fits or height % maps.shape[1] or width % maps.shape[2]:
        expected = f"[{n}, h, w], h and w dividing {height}x{width}"
        raise UserError(f"an explanation has shape {maps.shape}; expected {expected}")
    if not np.isfinite(maps).all():
        raise UserError("an explanation is not finite; expected finite credit")
    cell = (height // maps.shape[1], width // maps.shape[2])
    pixels = np.repeat(np.repeat(maps, cell[0], 1), cell[1], 2) / (cell[0] * cell[1])
    index = masks + REGIONS * np.arange(n)[:, None, None]

    def total(values: np.ndarray) -> np.ndarray:
        return np.bincount(index.ravel(), values.ravel(), n * REGIONS).reshape(n, REGIONS)

    return total(pixels), total(np.abs(pixels))


def part_areas(masks: np.ndarray) -> np.ndarray:
    """Visible pixels of each part, [...,H,W] -> [...,6]."""
    return np.stack([(masks == 2 + part).sum((-2, -1)) for part in range(PARTS)], -1)


def spread_over_parts(credit: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Maps f64 [n,H,W] that give each part [n,6] its credit, spread evenly over its visible pixels."""
    each = np.concatenate([np.zeros((len(masks), 2)), credit / np.maximum(part_areas(masks), 1)], 1)
    return np.take_along_axis(each[:, None], masks.reshape(len(masks), 1, -1), 2)[:, 0].reshape(masks.shape)


def baselines(images: np.ndarray, masks: np.ndarray, seed: int = 0) -> dict[str, np.ndarray]:
    """Maps [n,H,W] of credit that knows nothing of the model, by name: what any explanation has to beat.

    `random`: independent normal cells of 4x4 pixels, whose sums have no sign to expect. `centre`: a Gaussian around
    the image's centre. `edges`: the size of the image's gradient. `whole image`: the same everywhere. `visible area`:
    the same on every part, so that a part counts by its area. `equal parts`: the same to every part that is seen.
    """
    n, height, width = masks.shape
    ticks = [(np.arange(size) + 0.5) / size - 0.5 for size in (height, width)]
    distance = ticks[0][:, None] ** 2 + ticks[1] ** 2
    grey = np.asarray(images, np.float64).mean(-1)
    dy, dx = np.gradient(grey, axis=(1, 2))
    cells = np.random.default_rng(seed).normal(size=(n, -(-height // 4), -(-width // 4)))
    return {
        "random": np.repeat(np.repeat(cells, 4, 1), 4, 2)[:, :height, :width],
        "centre": np.broadcast_to(np.exp(-distance / (2 * 0.25**2)), masks.shape),
        "edges": np.hypot(dy, dx),
        "whole image": np.ones(masks.shape),
        "visible area": (masks >= 2).astype(np.float64),
        "equal parts": spread_over_parts((part_areas(masks) > 0).astype(np.float64), masks),
    }
