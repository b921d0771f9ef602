"""What a removed pixel shows instead: fills of photos, in which nothing can be rendered away.

Every fill of `FILLS` is `fill(images, removed, others) -> f32 [n,H,W,c]` on NumPy arrays: the pixels that are not
removed are those of the image, bit for bit. `others` are other images of the set, one for each (`donors`); only
`patches` looks at them. None is right: black and the mean colour make edges that no photo has, blur leaves colours
where they were, imputation leaves nothing but the shape of what was removed, and a patch brings something of its own.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping

import jax.numpy as jnp
import numpy as np
from scipy import sparse
from scipy.sparse import linalg

from partrep.explain.baselines import blur
from partrep.shapes import check_shapes

Fill = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""`(images f32 [n,H,W,c] in [0,1], removed bool [n,H,W], others f32 [n,H,W,c]) -> f32 [n,H,W,c]`."""

DEVIATION = 5.0
"""Of the blur, in pixels."""
NOISE = 0.01
"""Deviation of the noise on imputed pixels; without it a model could learn to see where they are."""
NEIGHBOURS = ((0, 1, 1 / 6), (1, 0, 1 / 6), (1, 1, 1 / 12), (1, -1, 1 / 12))
"""Steps to four of the eight neighbours of a pixel with their weights; the other four lie opposite."""


def black(images: np.ndarray, removed: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Removed pixels are 0, the deletion of RISE and the masks of the CAM family.

    >>> black(np.ones((1, 1, 2, 1)), np.array([[[True, False]]]), np.ones((1, 1, 2, 1))).ravel().tolist()
    [0.0, 1.0]
    """
    return _replaced(images, removed, np.zeros_like(images))


def mean_colour(images: np.ndarray, removed: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Removed pixels have the mean colour of the whole image.

    >>> images = np.array([0.0, 1.0]).reshape(1, 1, 2, 1)
    >>> mean_colour(images, np.array([[[True, False]]]), images).ravel().tolist()
    [0.5, 1.0]
    """
    return _replaced(images, removed, images.mean((1, 2), keepdims=True))


def blurred(images: np.ndarray, removed: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Removed pixels are those of the image blurred by a Gaussian, the start of the insertion of RISE.

    Departure: the Gaussian of 5 pixels is whole; the source cuts it to 11 x 11 pixels, which blurs less.

    >>> images = np.array([0.25, 0.25]).reshape(1, 1, 2, 1)
    >>> blurred(images, np.array([[[True, False]]]), images).ravel().tolist()
    [0.25, 0.25]
    """
    return _replaced(images, removed, np.asarray(blur(jnp.asarray(images), DEVIATION)))


def patches(images: np.ndarray, removed: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Removed pixels show what the other image has at the same place: every pixel is one of a photo.

    The other image is of another class where there is one (`donors`): one of the same class would put back the
    evidence that was taken away. It brings evidence for its own class, as a swap of a part does.

    >>> images, others = np.zeros((1, 1, 2, 1)), np.ones((1, 1, 2, 1))
    >>> patches(images, np.array([[[True, False]]]), others).ravel().tolist()
    [1.0, 0.0]
    """
    return _replaced(images, removed, others)


def imputed(images: np.ndarray, removed: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Noisy linear imputation: every removed pixel is the weighted mean of its neighbours, and a little noise.

    `x_u = sum_v w_uv x_v / sum_v w_uv` over the up to eight neighbours v, 1/6 for the four that share a side and 1/12
    for the four at the corners; all removed pixels are solved for together. Then noise of deviation `NOISE` is added.

    Args:
        images: f32 [n,H,W,c] in [0,1].
        removed: bool [n,H,W].
        others: not looked at.

    Returns:
        f32 [n,H,W,c] in [0,1]; the mean colour, with noise, where all pixels of an image are removed.

    Raises:
        ValueError: shapes that do not agree.

    Example:
        >>> ramp = np.linspace(0.2, 0.8, 4, dtype=np.float32).reshape(1, 1, 4, 1)
        >>> filled = imputed(ramp, np.array([[[False, True, True, False]]]), ramp)
        >>> bool(np.abs(filled - ramp).max() < 4 * NOISE)
        True

    Source: Rong et al., A consistent and efficient evaluation strategy for attribution methods, ICML 2022 (ROAD),
    noisy linear imputation.
    Departures: the same noise on every image, so that an image does not depend on its place in the set; values are
    cut to [0,1]; an image without a pixel left, which the source does not ask for, has the mean colour.
    """
    sizes = check_shapes("imputed", images=(images, "n H W c"), removed=(removed, "n H W"))
    smooth = np.stack([_harmonic(image, gone) for image, gone in zip(images, removed)])
    noise = np.random.default_rng(0).normal(0.0, NOISE, [sizes[axis] for axis in "HWc"])
    return _replaced(images, removed, np.clip(smooth + noise, 0.0, 1.0))


FILLS: Mapping[str, Fill] = {
    "black": black,
    "blur": blurred,
    "imputation": imputed,
    "mean": mean_colour,
    "patches": patches,
}


def donors(target: np.ndarray) -> np.ndarray:
    """For each image, the place of the next of another class in the set (after the last comes the first): i32 [n].

    Where all are of one class the next image, so that of a single image it is itself.

    >>> donors(np.array([5, 5, 7])).tolist()
    [2, 2, 0]
    """
    n = len(target)
    ahead = (np.arange(n)[:, None] + np.arange(1, n + 1)) % n
    differs = target[ahead] != target[:, None]
    first = differs.argmax(1)  # 0, the next image, where none differs
    return ahead[np.arange(n), first].astype(np.int32)


def _replaced(images: np.ndarray, removed: np.ndarray, fill: np.ndarray) -> np.ndarray:
    check_shapes("a fill of pixels", images=(images, "n H W c"), removed=(removed, "n H W"))
    return np.where(np.asarray(removed, bool)[..., None], fill, images).astype(np.float32)


@functools.lru_cache(maxsize=8)
def _laplacian(height: int, width: int) -> sparse.csr_matrix:
    """Of each pixel: the sum of the weights of its neighbours, less the weight of each of them; [HW,HW]."""
    cell = np.arange(height * width).reshape(height, width)
    rows, columns, weights = [], [], []
    for down, right, weight in NEIGHBOURS:
        left = max(-right, 0)
        one = cell[: height - down, left : width - max(right, 0)].ravel()
        two = one + down * width + right
        rows += [one, two]
        columns += [two, one]
        weights += [np.full(2 * len(one), weight)]
    triple = np.concatenate(weights), (np.concatenate(rows), np.concatenate(columns))
    near = sparse.csr_matrix(triple, shape=(height * width, height * width))
    return sparse.csr_matrix(sparse.diags(np.asarray(near.sum(1)).ravel()) - near)


def _harmonic(image: np.ndarray, removed: np.ndarray) -> np.ndarray:
    """f64 [H,W,c]: the image, each removed pixel of which is the weighted mean of its neighbours."""
    pixels = np.asarray(image, np.float64).reshape(-1, image.shape[-1]).copy()
    gone = np.flatnonzero(removed)
    if len(gone) == len(pixels):
        return np.broadcast_to(pixels.mean(0), image.shape)
    if len(gone):
        known = np.flatnonzero(~np.asarray(removed, bool))
        rows = _laplacian(*removed.shape)[gone]
        system = sparse.csc_matrix(rows[:, gone])
        # The system is symmetric and diagonally dominant: an order made for that keeps the factors sparse.
        factors = linalg.splu(system, permc_spec="MMD_AT_PLUS_A", options={"SymmetricMode": True})
        pixels[gone] = factors.solve(-(rows[:, known] @ pixels[known]))
    return pixels.reshape(image.shape)
