"""Decided locations: per example [B]."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from partrep.shapes import check_shapes

SMALLEST_SHARE = 1e-12


def assignment_entropy(assignment: jax.Array, background: jax.Array | None = None) -> jax.Array:
    """How undecided locations are, `l_b = -mean_n sum_k a_kn log a_kn`, in nats.

    Args:
        assignment: [B,K,h,w] >= 0.
        background: [B,h,w], one more part; None where the parts sum to 1 alone.

    Returns:
        f32 [B] in [0, log K] (per example), or log(K+1) with a background; 0 where each location has one
        part.

    Raises:
        ValueError: shapes that do not agree.

    Example:
        >>> round(float(assignment_entropy(jnp.full((1, 2, 3, 3), 0.5))[0]), 4)
        0.6931

    Source: PDiscoFormer (Aniraj et al. 2024), entropy loss, weight 1.
    Departures: the logarithm stops at 1e-12, so that a share of exactly 0 has a finite gradient.
    """
    check_shapes("assignment_entropy", assignment=(assignment, "B K h w"), background=(background, "B h w"))
    a = assignment.astype(jnp.float32)
    if background is not None:
        a = jnp.concatenate([a, background.astype(jnp.float32)[:, None]], axis=1)
    return -jnp.mean(jnp.sum(a * jnp.log(jnp.maximum(a, SMALLEST_SHARE)), axis=1), axis=(1, 2))
