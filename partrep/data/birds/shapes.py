"""One family of signed-distance shapes with two-colour textures: all that is drawn in a picture of birds."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from numpy.polynomial import chebyshev

PALETTE = np.array(
    [
        (0.86, 0.16, 0.15),  # red
        (0.98, 0.80, 0.18),  # yellow
        (0.17, 0.62, 0.26),  # green
        (0.16, 0.36, 0.86),  # blue
        (0.94, 0.45, 0.74),  # pink
        (0.95, 0.95, 0.92),  # white
        (0.24, 0.80, 0.85),  # cyan
    ],
    np.float32,
)

# Radius as a cosine series in the angle from the part's own axis (a1..a5), stretch along the axis, bend.
SHAPES = np.array(
    [
        # a1     a2     a3     a4     a5   stretch bend
        (0.00, 0.00, 0.00, 0.00, 0.00, 0.00, 0.00),  # disc
        (0.00, 0.00, 0.00, -0.18, 0.00, 0.00, 0.00),  # square
        (0.05, 0.02, 0.25, 0.04, 0.02, 0.00, 0.00),  # triangle
        (0.00, 0.00, 0.00, 0.00, 0.30, 0.00, 0.00),  # star
        (0.32, 0.20, 0.13, 0.06, 0.02, 0.00, 0.00),  # drop
        (0.00, 0.42, 0.00, 0.00, 0.00, 0.00, 0.00),  # bow
        (0.00, 0.00, 0.00, 0.00, 0.00, 0.65, 0.70),  # crescent
    ],
    np.float32,
)
SHAPE_NAMES = ("disc", "square", "triangle", "star", "drop", "bow", "crescent")

# Ink = clip(w0 + w1 T1 + w2 T2 + w12 T1 T2), triangle waves T1 of (x, y, radius; phase), T2 of (x, y; phase).
TEXTURES = np.array(
    [
        # x     y    radius phase  x     y   phase  w0    w1    w2   w12
        (0.00, 0.00, 0.00, 0.00, 0.00, 0.00, 0.00, 0.00, 0.00, 0.00, 0.00),  # plain
        (0.90, 0.00, 0.00, 0.00, 0.00, 0.00, 0.00, 0.50, 1.50, 0.00, 0.00),  # bars
        (0.00, 0.90, 0.00, 0.00, 0.00, 0.00, 0.00, 0.50, 1.50, 0.00, 0.00),  # stripes
        (0.00, 0.00, 1.00, 0.00, 0.00, 0.00, 0.00, 0.50, -1.8, 0.00, 0.00),  # rings
        (0.50, 0.00, 0.00, 0.25, 0.00, 0.50, 0.25, 0.50, 0.00, 0.00, 3.00),  # checks
        (0.85, 0.85, 0.00, 0.00, 0.85, -0.85, 0.00, -0.9, 1.50, 1.50, 0.00),  # spots
        (0.25, 0.00, 0.00, 0.25, 0.00, 0.00, 0.00, 0.50, 3.00, 0.00, 0.00),  # half
    ],
    np.float32,
)


def _powers(cosines: np.ndarray) -> np.ndarray:
    """Coefficients of powers of cos t, from those of cos k t (last axis, from k = 0)."""
    out = np.zeros_like(cosines)
    for row in np.ndindex(cosines.shape[:-1]):
        power = chebyshev.cheb2poly(cosines[row])
        out[row][: len(power)] = power
    return out


def palette(gain: float) -> np.ndarray:
    """f32 [7, 3]: the palette's colours, drawn towards their mean by a gain below 1."""
    mean = PALETTE.mean(0)
    return (mean + gain * (PALETTE - mean)).astype(np.float32)


def outline_table(gain: float) -> np.ndarray:
    """f32 [7, 8]: radius as a polynomial in cos t (6 numbers), stretch, bend of each shape; gain 0: discs."""
    cosines = np.concatenate([np.ones((len(SHAPES), 1), np.float32), gain * SHAPES[:, :5]], axis=1)
    tail = gain * SHAPES[:, 5:]
    radius = _size(cosines, tail[:, 0])[:, None] * _powers(cosines)
    return np.concatenate([radius, tail], axis=1).astype(np.float32)


def _size(cosines: np.ndarray, stretch: np.ndarray) -> np.ndarray:
    """Factors [n] with which every shape covers as much as a disc of radius 1."""
    area = np.pi * (1 + 0.5 * np.sum(cosines[:, 1:] ** 2, axis=1))
    swept = 4 * stretch * (1 - cosines[:, 2] + cosines[:, 4])
    return (np.sqrt(swept**2 + 4 * area * np.pi) - swept) / (2 * area)


@struct.dataclass
class Layer:
    """Things drawn one over another, the last on top: f32 arrays whose first axes are [.., L]."""

    centre: jax.Array  # [2] (x, y) in the image, which spans -1 to 1
    matrix: jax.Array  # [2, 2] from the image to the layer's own coordinates
    scale: jax.Array  # [2] size of one own unit in the image, along the own axes
    outline: jax.Array  # [8] radius polynomial, stretch, bend
    fold: jax.Array  # [] above 0: two copies, this far to each side
    texture: jax.Array  # [11]
    colour: jax.Array  # [3]
    ink: jax.Array  # [3] what the texture adds to the colour
    light: jax.Array  # [2] change of brightness along the own axes
    show: jax.Array  # [] 1 drawn, 0 not there


def triangle_wave(x: jax.Array) -> jax.Array:
    """Period 1, 1 at halves, -1 at whole numbers."""
    return 4 * jnp.abs(x - jnp.floor(x + 0.5)) - 1


def _grid(value: jax.Array, index=None) -> jax.Array:
    value = value if index is None else value[..., index]
    return value[..., None, None]


def local(layer: Layer, x: jax.Array, y: jax.Array) -> tuple[jax.Array, ...]:
    """Own coordinates (x, y) of image positions, their length and its inverse."""
    dx, dy = x - _grid(layer.centre, 0), y - _grid(layer.centre, 1)
    matrix = layer.matrix[..., None, None]
    u = matrix[..., 0, 0, :, :] * dx + matrix[..., 0, 1, :, :] * dy
    v = matrix[..., 1, 0, :, :] * dx + matrix[..., 1, 1, :, :] * dy
    fold = _grid(layer.fold)
    u = jnp.where(fold > 0, jnp.abs(u) - fold, u)
    v = v + _grid(layer.outline, 7) * (u * u - 0.4)
    stretch = _grid(layer.outline, 6)
    u = u - jnp.clip(u, -stretch, stretch)
    square = u * u + v * v + 1e-8
    inverse = jax.lax.rsqrt(square)
    return u, v, square * inverse, inverse


def distance(layer: Layer, u: jax.Array, v: jax.Array, length: jax.Array, inverse: jax.Array) -> jax.Array:
    """Signed distance to the outline in image units, to first order; negative inside."""
    c, s = u * inverse, v * inverse
    radius = _grid(layer.outline, 5)
    for k in range(4, -1, -1):
        radius = radius * c + _grid(layer.outline, k)
    slope_u, slope_v = c / _grid(layer.scale, 0), s / _grid(layer.scale, 1)
    return (length - radius) * jax.lax.rsqrt(slope_u * slope_u + slope_v * slope_v + 1e-6)


def ink(layer: Layer, u: jax.Array, v: jax.Array, length: jax.Array) -> jax.Array:
    """How much of the second colour shows, 0 to 1."""
    t = [_grid(layer.texture, k) for k in range(11)]
    first = triangle_wave(t[0] * u + t[1] * v + t[2] * length + t[3])
    second = triangle_wave(t[4] * u + t[5] * v + t[6])
    return jnp.clip(t[7] + t[8] * first + t[9] * second + t[10] * first * second, 0.0, 1.0)
