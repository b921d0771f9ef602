"""Vectors as directions: at length one, without a gradient that divides by nothing."""

from __future__ import annotations

import jax
import jax.numpy as jnp

SMALLEST_NORM = 1e-6


def unit(x: jax.Array) -> jax.Array:
    """Rows of `x` [...,D] at length one, in float32; a row shorter than 1e-6 gives zeros, and no gradient.

    >>> unit(jnp.array([[0.0, 4.0], [0.0, 0.0]])).tolist()
    [[0.0, 1.0], [0.0, 0.0]]
    """
    x = x.astype(jnp.float32)
    squared = jnp.sum(x * x, axis=-1, keepdims=True)
    real = squared > SMALLEST_NORM**2
    return jnp.where(real, x, 0.0) * jax.lax.rsqrt(jnp.where(real, squared, 1.0))
