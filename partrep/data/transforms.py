"""Augmentation in the jitted step: one warp moves images, boxes, keypoints and masks of a batch together.

A `Warp` maps each place of the output to the place of the source that is shown there, so images and masks
need no inverse; points and boxes go the other way by the exact inverse of the affine part, and by fixed-point
iterations of the elastic part. Coordinates are (y, x) in [0, 1], so the output may have another size than
the input. Nothing is smoothed before sampling: where the output has far fewer pixels than the input, shrink
first (`resize`, or decode at about twice the output's size) or average `oversample` x `oversample` samples.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct


@struct.dataclass
class Warp:
    """Source place of output place p: 0.5 + matrix (p - 0.5) + offset + field(p).

    Attributes:
        matrix: f32[B,2,2]; offset: f32[B,2], in (y, x) as fractions of the side.
        field: f32[B,k,k,2] or None: displacements at k x k places from corner to corner, cubic in between.
    """

    matrix: jax.Array
    offset: jax.Array
    field: jax.Array | None = None


@dataclasses.dataclass(frozen=True)
class WarpSettings:
    """Ranges of `random_warp`; the defaults leave the image as it is.

    rotation: +- radians. scale: (low, high) magnification, log-uniform. stretch: +- log magnification of each
    axis. shear: +-. shift: +- fraction of the side. flip: probability of a left-right flip. elastic: standard
    deviation of the displacements at knots x knots places, as a fraction of the side (0.025 is strong; above
    about 0.2 / knots the field may fold, and points then have no single image).
    """

    rotation: float = 0.0
    scale: tuple[float, float] = (1.0, 1.0)
    stretch: float = 0.0
    shear: float = 0.0
    shift: float = 0.0
    flip: float = 0.0
    elastic: float = 0.0
    knots: int = 5


@dataclasses.dataclass(frozen=True)
class PhotometricSettings:
    """Each factor is uniform in 1 +- the value; 0 leaves the image as it is."""

    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0


def affine_warp(
    rotation: jax.Array, scale: jax.Array, shear: jax.Array, shift: jax.Array, aspect: float = 1.0
) -> Warp:
    """The warp that scales, shears, rotates (about the centre) and then shifts the content of an image.

    Args:
        rotation: f32[B] radians, counter-clockwise as seen. scale: f32[B,2] magnification of (y, x), negative
            flips. shear: f32[B], x moves by shear times y. shift: f32[B,2], fraction of the side.
        aspect: width / height of the image, so that a rotation turns pixels, not fractions.
    """
    cos, sin = jnp.cos(rotation), jnp.sin(rotation)
    turn = jnp.stack([jnp.stack([cos, -sin], -1), jnp.stack([sin, cos], -1)], -2)
    zero, one = jnp.zeros_like(shear), jnp.ones_like(shear)
    slant = jnp.stack([jnp.stack([one, zero], -1), jnp.stack([shear, one], -1)], -2)
    forward = jnp.matmul(turn, slant, precision="highest") * scale[:, None, :]
    units = jnp.array([1.0, aspect])
    matrix = inverse(forward * units / units[:, None])
    return Warp(matrix, -jnp.einsum("bij,bj->bi", matrix, shift, precision="highest"))


def fixed_warps(count: int, settings: WarpSettings) -> Warp:
    """The same `count` warps for every image, to average over at test time: the identity, then drawn ones.

    >>> fixed_warps(3, WarpSettings(rotation=0.3)).matrix[0].tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    drawn = random_warp(jax.random.key(0), count, settings)
    same = Warp(jnp.eye(2), jnp.zeros(2), None if drawn.field is None else jnp.zeros(drawn.field.shape[1:]))
    return jax.tree.map(lambda moves, first: moves.at[0].set(first), drawn, same)


def random_warp(key: jax.Array, batch: int, settings: WarpSettings, aspect: float = 1.0) -> Warp:
    """One independent warp an example, drawn from the ranges of `settings`; `aspect` is width / height.

    >>> random_warp(jax.random.key(0), 4, WarpSettings(rotation=0.3, elastic=0.02)).field.shape
    (4, 5, 5, 2)
    """
    keys = jax.random.split(key, 7)

    def either_way(key: jax.Array, shape: tuple[int, ...], size: float) -> jax.Array:
        return jax.random.uniform(key, shape, minval=-size, maxval=size)

    low, high = jnp.log(jnp.array(settings.scale))
    zoom = jax.random.uniform(keys[0], (batch, 1), minval=low, maxval=high)
    scale = jnp.exp(zoom + either_way(keys[1], (batch, 2), settings.stretch))
    flip = jnp.where(jax.random.bernoulli(keys[2], settings.flip, (batch,)), -1.0, 1.0)
    warp = affine_warp(
        either_way(keys[3], (batch,), settings.rotation),
        scale * jnp.stack([jnp.ones_like(flip), flip], -1),
        either_way(keys[4], (batch,), settings.shear),
        either_way(keys[5], (batch, 2), settings.shift),
        aspect,
    )
    if not settings.elastic:
        return warp
    shape = (batch, settings.knots, settings.knots, 2)
    return dataclasses.replace(warp, field=settings.elastic * jax.random.normal(keys[6], shape))


def inverse(matrix: jax.Array) -> jax.Array:
    """Inverse of 2x2 matrices [...,2,2]."""
    a, b, c, d = matrix[..., 0, 0], matrix[..., 0, 1], matrix[..., 1, 0], matrix[..., 1, 1]
    adjugate = jnp.stack([jnp.stack([d, -b], -1), jnp.stack([-c, a], -1)], -2)
    return adjugate / (a * d - b * c)[..., None, None]


def knot_weights(place: jax.Array, knots: int) -> jax.Array:
    """Keys' cubic weights [...,k] of k knots from 0 to 1, at `place` [...]; they always sum to one."""
    t = jnp.abs(jnp.clip(place, 0.0, 1.0)[..., None] * (knots - 1) - jnp.arange(knots))
    near = (1.5 * t - 2.5) * t * t + 1.0
    far = ((-0.5 * t + 2.5) * t - 4.0) * t + 2.0
    weight = jnp.where(t < 1, near, jnp.where(t < 2, far, 0.0))
    return weight / weight.sum(-1, keepdims=True)


def source_points(warp: Warp, points: jax.Array) -> jax.Array:
    """Where output points [B,n,2] lie in the source, [B,n,2]; exact."""
    source = (
        0.5
        + jnp.einsum("bij,bnj->bni", warp.matrix, points - 0.5, precision="highest")
        + warp.offset[:, None]
    )
    return source if warp.field is None else source + displacement(warp.field, points)


def displacement(field: jax.Array, points: jax.Array) -> jax.Array:
    """The elastic field [B,k,k,2] at output points [B,n,2]."""
    rows, columns = jnp.moveaxis(knot_weights(points, field.shape[1]), -2, 0)
    return jnp.einsum("bnk,bnl,bklc->bnc", rows, columns, field, precision="highest")


def pixel_centres(size: int) -> jax.Array:
    """(i + 0.5) / size, f32[size]."""
    return (jnp.arange(size, dtype=jnp.float32) + 0.5) / size


def source_grid(warp: Warp, height: int, width: int) -> jax.Array:
    """Where the centres of height x width output pixels lie in the source, f32[B,height,width,2]."""
    y, x = pixel_centres(height), pixel_centres(width)
    basis = [*jnp.meshgrid(y - 0.5, x - 0.5, indexing="ij"), jnp.ones((height, width))]
    terms = [warp.matrix, 0.5 + warp.offset[..., None]]
    if warp.field is not None:
        batch, knots = warp.field.shape[:2]
        rows, columns = knot_weights(y, knots).T, knot_weights(x, knots).T
        basis += list((rows[:, None, :, None] * columns[None, :, None, :]).reshape(-1, height, width))
        terms.append(jnp.moveaxis(warp.field, -1, 1).reshape(batch, 2, -1))
    # One matrix product over (affine, elastic) terms, in full precision: places are float32 everywhere.
    places = jnp.einsum("bct,tyx->bcyx", jnp.concatenate(terms, -1), jnp.stack(basis), precision="highest")
    return jnp.moveaxis(places, 1, -1)


FEW = 256
"""Up to so many pixels, those of grids of features, reading all of them by a matrix product is faster: eight times on
CPUs for 7 x 7 locations of 1280 numbers."""


def _from_all(images: jax.Array, points: jax.Array, fill: float | None) -> jax.Array:
    """`bilinear` as a product with the weight of every pixel for every point."""
    batch, height, width, channels = images.shape

    def weights(at: jax.Array, size: int) -> jax.Array:
        at = at * size - 0.5
        at = jnp.clip(at, 0.0, size - 1.0) if fill is None else at
        return jnp.maximum(0.0, 1.0 - jnp.abs(at[..., None] - jnp.arange(size)))

    flat = points.reshape(batch, -1, 2)
    rows, columns = weights(flat[..., 0], height), weights(flat[..., 1], width)
    every = (rows[..., :, None] * columns[..., None, :]).reshape(batch, -1, height * width)
    found = jnp.matmul(every, images.reshape(batch, -1, channels), precision="highest")
    if fill:
        found = found + fill * (1.0 - every.sum(-1, keepdims=True))
    return found.reshape(*points.shape[:-1], channels)


def bilinear(images: jax.Array, points: jax.Array, fill: float | None = 0.0) -> jax.Array:
    """Images [B,H,W,C] at points [B,...,2] -> [B,...,C]; outside is `fill`, or for None the nearest pixel."""
    batch, height, width, channels = images.shape
    if height * width <= FEW:
        return _from_all(images, points, fill)
    rim = [(0, 0), (1, 1), (1, 1), (0, 0)]
    padded = jnp.pad(images, rim, "edge") if fill is None else jnp.pad(images, rim, constant_values=fill)
    # Pixel i of the image has index i + 1 here, and its centre lies at (i + 0.5) / size.
    y = jnp.clip(points[..., 0] * height + 0.5, 0.0, height + 1.0)
    x = jnp.clip(points[..., 1] * width + 0.5, 0.0, width + 1.0)
    top, left = jnp.minimum(jnp.floor(y), height), jnp.minimum(jnp.floor(x), width)
    down, right = y - top, x - left
    first = jnp.arange(batch).reshape((batch,) + (1,) * (top.ndim - 1)) * (height + 2)
    index = (first + top.astype(jnp.int32)) * (width + 2) + left.astype(jnp.int32)
    flat = padded.reshape(-1, channels)

    def corner(step: int, weight: jax.Array) -> jax.Array:
        return flat.at[index + step].get(mode="clip") * weight[..., None]

    # Four gathers of a pixel each: on CPU several times faster than one gather of a packed 2x2 patch.
    upper = corner(0, (1 - down) * (1 - right)) + corner(1, (1 - down) * right)
    lower = corner(width + 2, down * (1 - right)) + corner(width + 3, down * right)
    return upper + lower


def pair(size: int | tuple[int, int] | None, default: tuple[int, int]) -> tuple[int, int]:
    """(height, width) from one number, two, or None."""
    if size is None:
        return default
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def apply_to_images(
    warp: Warp,
    images: jax.Array,
    size: int | tuple[int, int] | None = None,
    fill: float | None = 0.0,
    oversample: int = 1,
) -> jax.Array:
    """Warps images or feature maps f32[B,H,W,C] to [B,height,width,C], bilinearly.

    Args:
        size: (height, width) of the output, one number for a square, None for the input's.
        fill: value outside the source; None repeats its rim.
        oversample: s x s samples an output pixel are averaged; s about half the input's pixels along an
            output pixel avoids aliasing, at s^2 times the cost.
    """
    height, width = pair(size, (images.shape[1], images.shape[2]))
    samples = bilinear(images, source_grid(warp, height * oversample, width * oversample), fill)
    if oversample == 1:
        return samples
    # A sum of strided slices: XLA's reduction over two short axes takes ten times as long on CPU.
    steps = range(oversample)
    total = sum(samples[:, i::oversample, j::oversample] for i in steps for j in steps)
    return jnp.asarray(total / oversample**2)


def apply_to_masks(
    warp: Warp, masks: jax.Array, size: int | tuple[int, int] | None = None, fill: int = 0
) -> jax.Array:
    """Warps label masks int[B,H,W] to [B,height,width]: the label of the nearest pixel, `fill` outside."""
    batch, height, width = masks.shape
    grid = source_grid(warp, *pair(size, (height, width)))
    row, column = jnp.moveaxis(jnp.floor(grid * jnp.array([height, width])).astype(jnp.int32), -1, 0)
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    index = (jnp.arange(batch)[:, None, None] * height + row) * width + column
    found = jnp.reshape(masks, -1).at[jnp.where(inside, index, 0)].get(mode="clip")
    return jnp.where(inside, found, jnp.asarray(fill, masks.dtype))


def apply_to_points(warp: Warp, points: jax.Array, iterations: int = 12) -> jax.Array:
    """Where source points [B,n,2] come to lie in the output, [B,n,2] (outside [0, 1] where they leave it).

    Exact for the affine part; the elastic part by `iterations` of q <- affine^-1 (p - field(q)), which
    converge where the field is far from folding.
    """
    inverted = inverse(warp.matrix)

    def back(source: jax.Array) -> jax.Array:
        return 0.5 + jnp.einsum(
            "bij,bnj->bni", inverted, source - 0.5 - warp.offset[:, None], precision="highest"
        )

    out = back(points)
    if warp.field is None:
        return out
    field = warp.field
    return jax.lax.fori_loop(0, iterations, lambda _, q: back(points - displacement(field, q)), out)


def visible_inside(points: jax.Array, visible: jax.Array) -> jax.Array:
    """bool[B,n]: visible before, and still inside the output."""
    return visible & ((points >= 0) & (points <= 1)).all(-1)


def apply_to_boxes(warp: Warp, boxes: jax.Array, samples: int = 8) -> jax.Array:
    """The boxes f32[B,4] (y0,x0,y1,x1) around the warped boxes, cut to the output (no area if they leave it).

    The corners decide under an affine warp; `samples` points a side follow an elastic one.
    """
    lower, upper = boxes[:, None, :2], boxes[:, None, 2:]
    t = jnp.linspace(0.0, 1.0, samples)
    ones, zeros = jnp.ones_like(t), jnp.zeros_like(t)
    rim = jnp.stack([jnp.concatenate([t, t, zeros, ones]), jnp.concatenate([zeros, ones, t, t])], -1)
    moved = apply_to_points(warp, lower + rim * (upper - lower))
    return jnp.clip(jnp.concatenate([moved.min(1), moved.max(1)], -1), 0.0, 1.0)


def apply_to_batch(
    warp: Warp,
    batch: dict[str, Any],
    size: int | tuple[int, int] | None = None,
    fill: float | None = 0.0,
    oversample: int = 1,
) -> dict[str, Any]:
    """A copy of `batch` with image, box, keypoints, visible and part_mask (where given) moved together."""
    out = batch | {"image": apply_to_images(warp, batch["image"], size, fill, oversample)}
    if "part_mask" in batch:
        out["part_mask"] = apply_to_masks(warp, batch["part_mask"], size)
    if "box" in batch:
        out["box"] = apply_to_boxes(warp, batch["box"])
    if "keypoints" in batch:
        out["keypoints"] = apply_to_points(warp, batch["keypoints"])
        if "visible" in batch:
            out["visible"] = visible_inside(out["keypoints"], batch["visible"])
    return out


def correspondence(first: Warp, second: Warp, height: int, width: int) -> jax.Array:
    """Two views of one source: where each pixel of a height x width second view lies in the first, [B,h,w,2].

    `bilinear(maps_of_first, correspondence(first, second, h, w))` brings maps into the second view's frame.
    """
    source = source_grid(second, height, width)
    points = apply_to_points(first, source.reshape(source.shape[0], -1, 2))
    return points.reshape(source.shape)


def rotate90(images: jax.Array, turns: jax.Array) -> jax.Array:
    """Square images [B,s,s,...] turned counter-clockwise by `turns` int[B] quarters, without resampling."""
    if images.shape[1] != images.shape[2]:
        raise ValueError(f"images of {images.shape[1]}x{images.shape[2]}; quarter turns expect square ones")
    turns = turns.reshape((-1,) + (1,) * (images.ndim - 1)) % 4
    half = jnp.where(turns >= 2, images[:, ::-1, ::-1], images)
    return jnp.where(turns % 2 == 1, jnp.swapaxes(half, 1, 2)[:, ::-1], half)


def resize(images: jax.Array, size: int | tuple[int, int]) -> jax.Array:
    """Images f32[B,H,W,C] resized linearly, antialiased where they shrink."""
    height, width = pair(size, (images.shape[1], images.shape[2]))
    shape = (images.shape[0], height, width, images.shape[3])
    return jax.image.resize(images, shape, "linear", antialias=True)


def random_photometric(key: jax.Array, images: jax.Array, settings: PhotometricSettings) -> jax.Array:
    """Images f32[B,H,W,C] in [0,1] with brightness, contrast and saturation (C = 3) changed, cut to [0,1]."""
    spread = jnp.array([settings.brightness, settings.contrast, settings.saturation])
    factors = 1.0 + spread * jax.random.uniform(key, (len(images), 3), minval=-1.0, maxval=1.0)
    brightness, contrast, saturation = factors.T[:, :, None, None, None]
    mean = grey(images.mean((1, 2), keepdims=True))
    # Blends with the mean grey (contrast) and each pixel's grey (saturation), in one pass over the pixels.
    coloured = saturation * images + (1.0 - saturation) * grey(images)
    return jnp.clip(brightness * (contrast * coloured + (1.0 - contrast) * mean), 0.0, 1.0)


def grey(images: jax.Array) -> jax.Array:
    """Luma (ITU-R BT.601) [B,H,W,1] of colour images; images of one channel as they are."""
    if images.shape[-1] != 3:
        return images
    return 0.299 * images[..., :1] + 0.587 * images[..., 1:2] + 0.114 * images[..., 2:]
