"""How well an image was painted again, and how well codes without a decoder would paint it."""

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


PENALTIES = tuple(10.0**k for k in range(-2, 6))


def linear_reconstruction(codes, images, new_codes) -> np.ndarray:
    """Images painted from codes by ridge regression: how much of the pixels any codes hold that a line can read.

    `x = W (z - mean) / s + b` with `W` of least squares and a penalty `l |W|^2`; of 0.01, 0.1, ..., 10^5 the `l` of
    least generalised cross-validation error on `codes` and `images`, one for all pixels. For comparing codes of
    models that have no decoder; a decoder that is trained along paints better.

    Args:
        codes: [n,...], n >= 2, to learn from; entries that are the same in all images are not read.
        images: [n,...] of any shape, of `codes`.
        new_codes: [m,...], shaped like `codes`.

    Returns:
        f64 [m,...], shaped like the images; not clipped.

    Raises:
        UserError: fewer than two images, shapes that do not agree.

    Example:
        >>> painted = linear_reconstruction([[0.0], [1.0], [2.0]], [[0.0], [0.5], [1.0]], [[0.5]])
        >>> painted.round(2).tolist()
        [[0.25]]

    Source: Hoerl and Kennard (1970); Golub, Heath and Wahba (1979), generalised cross-validation, equation 1.4.
    Departures: the mean, which is not penalised, counts as one more degree of freedom.
    """
    z, x, new = (np.asarray(values, np.float64) for values in (codes, images, new_codes))
    if len(z) < 2 or len(z) != len(x) or z.shape[1:] != new.shape[1:]:
        found = f"codes {z.shape}, images {x.shape}, new codes {new.shape}"
        raise UserError(f"linear_reconstruction: {found}; expected [n,...] with n >= 2, [n,...] and [m,...]")
    shape, (z, x, new) = x.shape[1:], (values.reshape(len(values), -1) for values in (z, x, new))
    changes, mean = np.ptp(z, axis=0) > 0, x.mean(0)
    centre, scale = z[:, changes].mean(0), z[:, changes].std(0)
    z, new = ((values[:, changes] - centre) / scale for values in (z, new))
    u, s, v = np.linalg.svd(z, full_matrices=False)
    seen = u.T @ (x - mean)
    weights = s / (s**2 + _penalty(s, seen, np.sum((x - mean) ** 2), len(x)))
    painted = mean + (new @ v.T * weights) @ seen
    return painted.reshape(len(new), *shape)


def _penalty(s: np.ndarray, seen: np.ndarray, total: float, count: int) -> float:
    """The entry of `PENALTIES` of least generalised cross-validation error; `seen` is what each direction explains."""
    power = np.sum(seen**2, axis=1)
    rest = total - power.sum()

    def error(penalty: float) -> float:
        kept = s**2 / (s**2 + penalty)
        return (rest + power @ (1 - kept) ** 2) / max(count - 1 - kept.sum(), 1e-9) ** 2

    return min(PENALTIES, key=error)
