"""Reductions over the real examples of a padded batch, and sums of exponentials."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from partrep.shapes import check_shapes


def mean_where(values: jax.Array, where: jax.Array | None = None) -> jax.Array:
    """The mean over the examples that count, `sum_b w_b x_b / max(1, sum_b w_b)`.

    Args:
        values: [B]; what lies under a false `where` may be NaN and gets no gradient.
        where: bool [B]; None counts every example.

    Returns:
        f32 scalar; 0 where no example counts.

    Raises:
        ValueError: shapes that do not agree.

    Example:
        >>> float(mean_where(jnp.array([1.0, 3.0, jnp.nan]), jnp.array([True, True, False])))
        2.0

    Source: standard.
    """
    check_shapes("mean_where", values=(values, "B"), where=(where, "B"))
    values = values.astype(jnp.float32)
    counts = jnp.ones(values.shape, bool) if where is None else jnp.asarray(where, bool)
    return jnp.sum(jnp.where(counts, values, 0.0)) / jnp.maximum(jnp.sum(counts), 1)


def log_sum_shifted(shifted: jax.Array) -> tuple[jax.Array, jax.Array]:
    """`log sum_j exp(x_ij)` where the largest `x_ij` of each row is 0; also `x`, without what rounding put above 0.

    A compiler may fuse the product that made the values with the subtraction of their maximum, and round once where
    the maximum was rounded twice: at 1e10 the largest is then not 0 but up to some hundreds away from it, either way.

    Args:
        shifted: f32 [b,B], `x`, less than its row's maximum; -inf does not count and gets no gradient.

    Returns:
        f32 [b] >= 0, and f32 [b,B] <= 0.

    Example:
        >>> total, values = log_sum_shifted(jnp.array([[0.0, -jnp.inf], [256.0, 0.0]]))
        >>> [round(float(x), 4) for x in total], values.tolist()
        ([0.0, 0.6931], [[0.0, -inf], [0.0, 0.0]])

    Source: standard.
    """
    shifted = shifted - jax.lax.stop_gradient(jax.nn.relu(shifted))
    total = jnp.sum(jnp.exp(shifted), axis=1)
    return jnp.log(total + jax.lax.stop_gradient(jax.nn.relu(1.0 - total))), shifted
