"""Parts with short borders: per example [B]."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from partrep.shapes import check_shapes


def total_variation(assignment: jax.Array) -> jax.Array:
    """Change from cell to cell, `l_b = (1/N) sum_k sum_yx |a_k,y+1,x - a_kyx| + |a_k,y,x+1 - a_kyx|`.

    Args:
        assignment: [B,K,h,w]; with the background as one more part in the source.

    Returns:
        f32 [B] >= 0 (per example); 0 for constant maps. A border between two parts counts in both.

    Raises:
        ValueError: not four axes.

    Example:
        >>> float(total_variation(jnp.array([[[[0.0, 1.0], [0.0, 1.0]]]]))[0])
        0.5

    Source: PDiscoFormer (Aniraj et al. 2024), total variation loss, weight 1.
    """
    sizes = check_shapes("total_variation", assignment=(assignment, "B K h w"))
    a = assignment.astype(jnp.float32)
    down, right = (jnp.sum(jnp.abs(jnp.diff(a, axis=axis)), axis=(1, 2, 3)) for axis in (2, 3))
    return (down + right) / (sizes["h"] * sizes["w"])
