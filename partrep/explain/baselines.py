"""What stands for "not there" where an explanation takes pixels away: a colour, or other images."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from partrep import UserError
from partrep.shapes import check_shapes

Baseline = jax.Array | np.ndarray | Sequence[float] | float | None


def baseline_images(images: jax.Array, baseline: Baseline) -> jax.Array:
    """The baseline as images of the given shape.

    Args:
        images: [B,H,W,3].
        baseline: one number (grey; 0 is black), a colour [3], images that broadcast to `images` (as from
            `blur`), or None for the mean colour of each image.

    Returns:
        f32 [B,H,W,3].

    Raises:
        UserError: a baseline that does not broadcast.

    Example:
        >>> baseline_images(jnp.array([[[[0.0], [1.0]]]]), None).tolist()
        [[[[0.5], [0.5]]]]

    Source: standard.
    """
    images = jnp.asarray(images, jnp.float32)
    if baseline is None:
        baseline = jnp.mean(images, axis=(1, 2), keepdims=True)
    values = jnp.asarray(baseline, jnp.float32)
    try:
        return jnp.broadcast_to(values, images.shape)
    except ValueError:
        found = f"a baseline of shape {values.shape}"
        raise UserError(f"found {found}; expected a number, a colour or images of shape {images.shape}") from None


def _gauss_rows(size: int, deviation: float) -> jax.Array:
    distance = np.arange(size)[:, None] - np.arange(size)
    weights = np.exp(-0.5 * (distance / deviation) ** 2)
    return jnp.asarray(weights / weights.sum(axis=1, keepdims=True), jnp.float32)


def blur(images: jax.Array, deviation: float) -> jax.Array:
    """Images blurred by a Gaussian, a baseline without edges of its own.

    Args:
        images: [B,H,W,3].
        deviation: > 0, in pixels.

    Returns:
        f32 [B,H,W,3]; at the border the weights inside the image are scaled up to sum to one.

    Raises:
        UserError: a deviation that is not positive.
        ValueError: images without four axes.

    Example:
        >>> [round(v, 3) for v in blur(jnp.array([[[[1.0], [0.0], [0.0]]]]), 1.0)[0, 0, :, 0].tolist()]
        [0.574, 0.274, 0.078]

    Source: textbook; as the start of the insertion game of RISE (Petsiuk et al. 2018).
    """
    sizes = check_shapes("blur", images=(images, "B H W c"))
    if not deviation > 0:
        raise UserError(f"blur: found a deviation of {deviation} pixels; expected a positive one")
    rows, columns = (_gauss_rows(sizes[axis], deviation) for axis in "HW")
    x = jnp.asarray(images, jnp.float32)
    return jnp.einsum("bhwc,yh,xw->byxc", x, rows, columns, precision="highest")
