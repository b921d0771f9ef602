"""Parts that differ: losses on the angles between part vectors, and between part maps."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from partrep.directions import unit
from partrep.shapes import check_shapes


def _cosines(x: jax.Array) -> jax.Array:
    """Cosines between the rows of [...,K,D], with zeros on the diagonal and for rows shorter than 1e-6."""
    rows = unit(x)
    gram = jnp.einsum("...kd,...ld->...kl", rows, rows, precision=jax.lax.Precision.HIGHEST)
    return gram * (1.0 - jnp.eye(x.shape[-2]))


def orthogonality(vectors: jax.Array) -> jax.Array:
    """Squared cosines between part vectors, `l = (1/K^2) sum_{k != l} cos(v_k, v_l)^2`.

    Args:
        vectors: [B,K,D] part vectors (per example), or [K,D] prototypes (per parameter).

    Returns:
        f32 [B], or a scalar for [K,D], in [0,1); 0 for orthogonal vectors. A zero vector counts 0.

    Raises:
        ValueError: neither two nor three axes.

    Example:
        >>> float(orthogonality(jnp.array([[1.0, 0.0], [0.0, 3.0]])))
        0.0
        >>> float(orthogonality(jnp.array([[1.0, 0.0], [2.0, 0.0]])))
        0.5

    Source: PDiscoNet (van der Klis et al. 2023), orthogonality loss, weight 1, background among the K.
    Departures: the diagonal, 0 for any vector but zero, is left out, so absent parts are not charged.
    """
    check_shapes("orthogonality", vectors=(vectors, "K D" if jnp.ndim(vectors) == 2 else "B K D"))
    return jnp.mean(_cosines(vectors) ** 2, axis=(-2, -1))


def map_decorrelation(assignment: jax.Array) -> jax.Array:
    """Parts look at different places, `l_b = mean_{k != l} cos(a_k, a_l)` over flattened maps.

    Args:
        assignment: [B,K,h,w] >= 0.

    Returns:
        f32 [B] in [0,1] (per example); 0 for maps that do not overlap, and for one part.

    Raises:
        ValueError: not four axes.

    Example:
        >>> float(map_decorrelation(jnp.eye(4).reshape(1, 4, 2, 2))[0])
        0.0

    Source: Super-features (Weinzaepfel et al. 2022), attention decorrelation loss, weight 0.1.
    """
    sizes = check_shapes("map_decorrelation", assignment=(assignment, "B K h w"))
    pairs = max(sizes["K"] * (sizes["K"] - 1), 1)
    return jnp.sum(_cosines(assignment.reshape(sizes["B"], sizes["K"], -1)), axis=(-2, -1)) / pairs
