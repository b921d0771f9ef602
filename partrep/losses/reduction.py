"""Reductions over the real examples of a padded batch."""

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
    if where is None:
        return jnp.mean(values)
    return jnp.sum(jnp.where(where, values, 0.0)) / jnp.maximum(jnp.sum(where), 1)
