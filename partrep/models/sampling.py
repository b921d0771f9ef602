"""Bilinear sampling of feature maps at points, zero outside, in two forms that agree."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from partrep import UserError


def tent_weights(places: jax.Array, size: int) -> jax.Array:
    """The weight of each of `size` cells at places in [0,1]: relu(1 - |places * size - 0.5 - i|), [...,size].

    >>> tent_weights(jnp.array([0.25, 0.5]), 2).tolist()
    [[1.0, 0.0], [0.5, 0.5]]
    """
    index = places.astype(jnp.float32)[..., None] * size - 0.5
    return jax.nn.relu(1.0 - jnp.abs(index - jnp.arange(size, dtype=jnp.float32)))


def _by_tents(maps: jax.Array, points: jax.Array) -> jax.Array:
    """One matrix product along each axis, nothing scattered backwards: best for few points."""
    rows, columns = (tent_weights(points[..., i], maps.shape[1 + i]) for i in (0, 1))
    return jnp.einsum("bph,bpw,bhwd->bpd", rows, columns, maps, precision="highest")


def _by_gather(maps: jax.Array, points: jax.Array) -> jax.Array:
    """The four neighbours of each point fetched and weighed: best for many points."""
    b, h, w, d = maps.shape
    padded = jnp.pad(maps, ((0, 0), (1, 1), (1, 1), (0, 0))).reshape(b, (h + 2) * (w + 2), d)
    index = points * jnp.array([h, w], jnp.float32) + 0.5
    # A clipped point lies on the zero border, where its weight no longer matters.
    inside = ((index >= 0) & (index < jnp.array([h + 1, w + 1]))).all(-1)
    corner = jnp.floor(jnp.clip(index, 0, jnp.array([h, w])))
    part = index - corner
    start = corner[..., 0].astype(jnp.int32) * (w + 2) + corner[..., 1].astype(jnp.int32)
    total = jnp.zeros((*points.shape[:-1], d), jnp.float32)
    for dy in (0, 1):
        for dx in (0, 1):
            weight = jnp.abs(1 - dy - part[..., 0]) * jnp.abs(1 - dx - part[..., 1])
            near = jnp.take_along_axis(padded, (start + dy * (w + 2) + dx)[..., None], axis=1)
            total = total + near * jnp.where(inside, weight, 0.0)[..., None]
    return total


def bilinear_points(maps: jax.Array, points: jax.Array, form: str = "auto") -> jax.Array:
    """Reads maps between their cells: x(p) = sum_i relu(1-|p_y-i_y|) relu(1-|p_x-i_x|) x(i), p in cells.

    Zero outside: a point half a cell beyond the border reads zero, one on the border half the outer cell.

    Arguments:
        maps: [B,h,w,D].
        points: [B,P,2], (y, x) in [0,1] over the image; cell i of n has its centre at (i + 0.5) / n.
        form: "tents" (matrix products, cost P*h*w*D, no scatter in the gradient), "gather" (cost 4*P*D), or
            "auto": tents up to 64 points.

    Returns:
        f32 [B,P,D].

    Raises:
        UserError: another form.

    >>> maps = jnp.array([[[[1.0], [3.0]]]])
    >>> bilinear_points(maps, jnp.array([[[0.5, 0.25], [0.5, 0.5], [0.5, 1.0]]]))[0, :, 0].tolist()
    [1.0, 2.0, 1.5]

    Source: Dai et al., Deformable Convolutional Networks (ICCV 2017), equations 3 and 4.
    """
    if form not in ("auto", "tents", "gather"):
        raise UserError(f"form {form!r}; expected 'auto', 'tents' or 'gather'")
    maps, points = maps.astype(jnp.float32), points.astype(jnp.float32)
    tents = form == "tents" or (form == "auto" and points.shape[1] <= 64)
    return _by_tents(maps, points) if tents else _by_gather(maps, points)
