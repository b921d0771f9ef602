"""Lengths of vectors, and vectors of length one, whose gradients are finite at zero."""

from __future__ import annotations

import jax
import jax.numpy as jnp

SMALLEST_NORM = 1e-6


def norm(x: jax.Array) -> jax.Array:
    """f32 [...] lengths of [...,E]; 0, without gradient, where at most 1e-6."""
    x = x.astype(jnp.float32)
    squared = jnp.sum(x * x, axis=-1)
    real = squared > SMALLEST_NORM**2
    return jnp.where(real, jnp.sqrt(jnp.where(real, squared, 1.0)), 0.0)


def unit(x: jax.Array) -> jax.Array:
    """f32 [...,E] of length one; zeros, without gradient, for vectors no longer than 1e-6."""
    x = x.astype(jnp.float32)
    length = norm(x)[..., None]
    return jnp.where(length > 0, x, 0.0) / jnp.where(length > 0, length, 1.0)


def cosine(x: jax.Array, y: jax.Array) -> jax.Array:
    """f32 [b,B] cosines of the rows of [b,E] and [B,E]; 0, without gradient, for a row no longer than 1e-6."""
    return jnp.einsum("ae,be->ab", unit(x), unit(y), precision=jax.lax.Precision.HIGHEST)
