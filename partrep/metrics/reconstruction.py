"""How well an image was painted again."""

from __future__ import annotations

import numpy as np

from partrep import UserError


def psnr(image, reconstructed) -> np.ndarray:
    """Peak signal-to-noise ratio of each image, `10 log10(1 / mse)` decibels, for images in [0,1].

    Args:
        image: [n,...] in [0,1].
        reconstructed: the same shape; values out of [0,1] are shown, and so counted, as 0 or 1.

    Returns:
        f64 [n]; infinite where the two are equal. The mean over images is of these decibels, not of the errors.

    Raises:
        UserError: shapes that differ, no axis beside the images.

    Example:
        >>> psnr([[0.0, 1.0]], [[0.1, 0.9]]).round(6).tolist()
        [20.0]

    Source: standard.
    Departures: none.
    """
    truth, painted = np.asarray(image), np.asarray(reconstructed)
    if truth.ndim < 2 or truth.shape != painted.shape:
        raise UserError(f"psnr: images {truth.shape}, reconstructions {painted.shape}; expected [n,...] twice")
    errors = [np.mean((x - np.clip(y, 0, 1, dtype=np.float64)) ** 2) for x, y in zip(truth, painted)]
    with np.errstate(divide="ignore"):
        return -10 * np.log10(errors)
