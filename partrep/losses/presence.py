"""Parts that occur: each part somewhere in the batch, the background near the border of each image."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from partrep.shapes import check_shapes

SMALLEST_EVIDENCE = 1e-6


def neighbour_mean(maps: jax.Array) -> jax.Array:
    """The mean over each cell's 3x3 neighbourhood, as far as the image goes: [...,h,w] -> f32 [...,h,w].

    >>> neighbour_mean(jnp.array([[4.0, 0.0], [0.0, 0.0]])).tolist()
    [[1.0, 1.0], [1.0, 1.0]]
    """
    window = (1,) * (maps.ndim - 2) + (3, 3)

    def total(x: jax.Array) -> jax.Array:
        return jax.lax.reduce_window(x, 0.0, jax.lax.add, window, (1,) * x.ndim, "SAME")

    return total(maps.astype(jnp.float32)) / total(jnp.ones(maps.shape, jnp.float32))


def presence(assignment: jax.Array, where: jax.Array | None = None) -> jax.Array:
    """Every part lies somewhere in the batch, `l = 1 - mean_k max_b max_n m(a_bk)_n`, `m` the 3x3 mean.

    The largest share is over the whole (global) batch, so a part may be missing from most images; the value
    falls with the batch size.

    Args:
        assignment: [B,K,h,w] in [0,1], of the parts without the background.
        where: bool [B]; false examples are ignored.

    Returns:
        f32 scalar in [0,1] (per batch).

    Raises:
        ValueError: shapes that do not agree.

    Example:
        >>> half = jnp.zeros((2, 2, 4, 4)).at[1, 0].set(1.0)
        >>> float(presence(half))
        0.5

    Source: PDiscoNet (2023), presence loss; foreground only as in PDiscoFormer (2024), weight 1.
    Departures: means at the border are over the cells that exist, where the source leaves the border out.
    """
    check_shapes("presence", assignment=(assignment, "B K h w"), where=(where, "B"))
    peak = jnp.max(neighbour_mean(assignment), axis=(2, 3))
    if where is not None:
        peak = jnp.where(where[:, None], peak, 0.0)
    return 1.0 - jnp.mean(jnp.max(peak, axis=0))


def background_presence(background: jax.Array) -> jax.Array:
    """Each image has background near its border, `l_b = -log(max_n r_n^2 m(g_b)_n + 1e-6)`.

    `r_n^2 = (u^2 + v^2) / max(u^2 + v^2)` with `u, v` the distance from the centre, `m` the 3x3 mean.

    Args:
        background: [B,h,w] in [0,1], `g`, on a grid of at least two cells.

    Returns:
        f32 [B] >= 0, to 1e-6 (per example).

    Raises:
        ValueError: not three axes, or a single cell.

    Example:
        >>> abs(round(float(background_presence(jnp.ones((1, 4, 4)))[0]), 4))
        0.0

    Source: PDiscoFormer (Aniraj et al. 2024), background presence loss, weight 2.
    Departures: 1e-6 inside the logarithm keeps the gradient alive at 0.
    """
    sizes = check_shapes("background_presence", background=(background, "B h w"))
    if sizes["h"] * sizes["w"] < 2:
        raise ValueError("background_presence: a grid of 1 cell has no border; expected at least 2")
    v, u = (2.0 * (jnp.arange(n) + 0.5) / n - 1.0 for n in (sizes["h"], sizes["w"]))
    radius = v[:, None] ** 2 + u**2
    everywhere = (radius / jnp.max(radius) * neighbour_mean(background)).reshape(len(background), -1)
    # Read where it is largest: the gradient of a maximum looks for the places equal to it, and where a compiler
    # computes the products twice, none may be equal to the last bit, which makes the gradient infinite.
    evidence = jnp.take_along_axis(everywhere, jnp.argmax(everywhere, axis=1)[:, None], axis=1)[:, 0]
    return -jnp.log(evidence + SMALLEST_EVIDENCE)
