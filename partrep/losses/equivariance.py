"""Parts that move with the image: per example [B]."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from partrep.shapes import check_shapes

SMALLEST_ENERGY = 1e-12


def equivariance(assignment: jax.Array, returned: jax.Array, valid: jax.Array | None = None) -> jax.Array:
    """The maps of a warped image, warped back, are the maps, `l_b = 1 - mean_k cos(a_k, T^-1 a_k(T x))`.

    Args:
        assignment: [B,K,h,w], maps of the image.
        returned: [B,K,h,w], maps of the warped image, brought back by the inverse warp.
        valid: [B,h,w] bool or weights in [0,1]: cells that lay inside the warped image; None is all.

    Returns:
        f32 [B] in [0,2] (per example); 0 where the maps agree up to a factor. A part empty in either counts
        1.

    Raises:
        ValueError: shapes that do not agree.

    Example:
        >>> a = jnp.arange(48.0).reshape(1, 3, 4, 4)
        >>> abs(round(float(equivariance(a, 2 * a)[0]), 5))
        0.0

    Source: PDiscoNet (van der Klis et al. 2023), equivariance loss, weight 1.
    Departures: cells from outside the warped image do not count, where the source compares its zero padding.
    """
    shapes = {
        "assignment": (assignment, "B K h w"),
        "returned": (returned, "B K h w"),
        "valid": (valid, "B h w"),
    }
    check_shapes("equivariance", **shapes)
    a, b = assignment.astype(jnp.float32), returned.astype(jnp.float32)
    weight = jnp.ones(a[:, :1].shape) if valid is None else valid.astype(jnp.float32)[:, None]
    aa, bb, ab = (jnp.sum(weight * x, axis=(2, 3)) for x in (a * a, b * b, a * b))
    cosine = ab * jax.lax.rsqrt(jnp.maximum(aa, SMALLEST_ENERGY)) * jax.lax.rsqrt(jnp.maximum(bb, SMALLEST_ENERGY))
    return 1.0 - jnp.mean(cosine, axis=1)
