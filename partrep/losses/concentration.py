"""Parts in one place: losses on the spatial spread of each part's map, per example [B]."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from partrep.shapes import check_shapes

SMALLEST_MASS = 1e-6


def _second_moment(assignment: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Of each map: `sum_n a_n |x_n - c|^2`, with c the mean position, and the mass; both f32 [B,K]."""
    a = assignment.astype(jnp.float32)
    height, width = a.shape[2:]
    mass = jnp.sum(a, axis=(2, 3))
    safe = jnp.maximum(mass, SMALLEST_MASS)
    total = jnp.zeros_like(mass)
    for axis, size in ((2, height), (3, width)):
        x = (jnp.arange(size, dtype=jnp.float32) + 0.5) / size
        profile = jnp.sum(a, axis=5 - axis)
        centre = jnp.sum(profile * x, axis=-1) / safe
        total += jnp.sum(profile * (x - centre[..., None]) ** 2, axis=-1)
    return total, mass


def concentration(assignment: jax.Array) -> jax.Array:
    """Mass far from its part's centre, `l_b = mean_{k,n} a_kn |x_n - c_k|^2`, `c_k` the part's mean position.

    Weighted by area: a small part is charged little, an absent one nothing.

    Args:
        assignment: [B,K,h,w] >= 0, of the parts without the background.

    Returns:
        f32 [B] (per example), at most 0.5, in squared image sides; of order 1e-3, hence weights of order
        1000.

    Raises:
        ValueError: not four axes.

    Example:
        >>> float(concentration(jnp.eye(4).reshape(1, 4, 2, 2))[0])
        0.0
        >>> float(concentration(jnp.array([[[[1.0, 1.0]]]]))[0])
        0.0625

    Source: PDiscoNet (van der Klis et al. 2023), concentration loss, weight 1000.
    The released code stops the gradient at the mass inside `c_k`; as the moment about a mean does not change
    with the mean to first order, values and gradients are the same without.
    """
    check_shapes("concentration", assignment=(assignment, "B K h w"))
    moment, _ = _second_moment(assignment)
    return jnp.mean(moment, axis=1) / (assignment.shape[2] * assignment.shape[3])


def spread(assignment: jax.Array) -> jax.Array:
    """The variance of each part's normalised map, `l_b = mean_k sum_n a_kn |x_n - c_k|^2 / sum_n a_kn`.

    Unlike `concentration` it does not reward small parts.

    Args:
        assignment: [B,K,h,w] >= 0.

    Returns:
        f32 [B] (per example), at most 0.5, in squared image sides; a part without mass counts 0.

    Raises:
        ValueError: not four axes.

    Example:
        >>> float(spread(0.125 * jnp.array([[[[1.0, 1.0]]]]))[0])
        0.0625

    Source: SCOPS (Hung et al. 2019), concentration loss.
    """
    check_shapes("spread", assignment=(assignment, "B K h w"))
    moment, mass = _second_moment(assignment)
    return jnp.mean(moment / jnp.maximum(mass, SMALLEST_MASS), axis=1)
