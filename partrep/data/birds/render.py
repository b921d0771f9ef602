"""From scenes to images, with exact masks, keypoints, visibility and boxes."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from partrep.data.birds import hashing, layers, shapes
from partrep.data.birds.scene import Scene, place, pose_of, sample
from partrep.data.birds.shapes import Layer
from partrep.data.birds.world import PARTS, World

DARK = 0.35  # brightness of outlines
OUTLINE = 0.028  # their width in the image

# Scenery: colours above and below the horizon, then a texture as in shapes.TEXTURES, in image coordinates.
HABITATS = np.array(
    [
        # above             below               x    y    r  ph   x    y    ph  w0    w1   w2   w12
        (0.62, 0.78, 0.92, 0.45, 0.62, 0.30, 2.5, 0.6, 0, 0, -0.8, 3.0, 0, -0.4, 0.8, 0.8, 0.0),  # meadow
        (0.24, 0.36, 0.28, 0.30, 0.24, 0.16, 1.8, 0.1, 0, 0, 0.0, 0.3, 0, 0.10, 0.9, 0.2, 0.0),  # forest
        (0.55, 0.74, 0.86, 0.20, 0.42, 0.62, 0.2, 2.4, 0, 0, 1.1, 0.2, 0, 0.00, 0.7, 0.3, 0.0),  # sea
        (0.93, 0.82, 0.62, 0.84, 0.62, 0.36, 0.5, 1.6, 0, 0, 0.7, 0.5, 0, 0.00, 0.6, 0.5, 0.0),  # desert
        (0.74, 0.80, 0.88, 0.90, 0.93, 0.97, 1.6, 1.6, 0, 0, 1.6, -1.6, 0, -0.6, 0.8, 0.8, 0.0),  # snow
        (0.86, 0.55, 0.45, 0.36, 0.30, 0.42, 1.2, 0.0, 0, 0, 0.0, 1.2, 0, 0.20, 0.0, 0.0, 0.9),  # town
        (0.70, 0.72, 0.58, 0.38, 0.42, 0.24, 3.0, 0.3, 0, 0, 1.3, 0.1, 0, -0.1, 0.7, 0.6, 0.0),  # marsh
    ],
    np.float32,
)
HABITAT_NAMES = ("meadow", "forest", "sea", "desert", "snow", "town", "marsh")


@struct.dataclass
class Rendered:
    """A batch of images with the truth about them; the last three are None unless masks were asked for.

    A flock, rendered from scenes [B, N], has [B, N, ...] in place of [B, ...] in all but image and part_mask.
    """

    image: jax.Array  # f32 [B, H, W, 3] in [0, 1]
    keypoints: jax.Array  # f32 [B, 6, 2] centres of the parts, (y, x) in [0, 1]
    attributes: jax.Array  # i32 [B, 6] part values
    present: jax.Array  # f32 [B, 6] 0: the part was removed, or there is no bird
    habitat: jax.Array  # i32 [B]
    part_mask: jax.Array | None = None  # i32 [B, H, W] 0: no bird, 1: body, 2 + i: part i; bird n: 8 n more
    visible: jax.Array | None = None  # f32 [B, 6] share of the part's pixels that is seen
    box: jax.Array | None = None  # f32 [B, 4] (y0, x0, y1, x1) of the visible bird; zeros where none is seen


def _axes(size: int) -> tuple[jax.Array, jax.Array]:
    ticks = (jnp.arange(size, dtype=jnp.float32) + 0.5) * (2 / size) - 1
    return ticks[None, :], ticks[:, None]


def _column(v: jax.Array) -> jax.Array:
    return v[:, None, None]


def _background(scene: Scene, x, y) -> jax.Array:
    """Scenery f32 [B, 3, H, W]."""
    look = jnp.asarray(HABITATS)[scene.habitat]
    g = scene.ground - 0.5
    t = [_column(look[:, 6 + k]) for k in range(11)]
    first = shapes.triangle_wave(t[0] * x + t[1] * y + _column(g[:, 2]))
    second = shapes.triangle_wave(t[4] * x + t[5] * y + _column(g[:, 3]))
    ink = jnp.clip(t[7] + t[8] * first + t[9] * second + t[10] * first * second, -0.5, 1.0)
    below = jnp.clip(3 * (y - _column(0.7 * g[:, 0]) - _column(0.5 * g[:, 1]) * x) + 0.5, 0.0, 1.0)
    change = 1 + 0.25 * g[:, 4:7]
    high, low = (look[:, :3] * change)[..., None, None], (look[:, 3:6] * change)[..., None, None]
    return (high + below[:, None] * (low - high)) * (1 - 0.3 * ink[:, None])


def _paint(canvas, layer: Layer, x, y, edge):
    """Draws one layer [B] over the canvas [B, 3, H, W]; returns the signed distance too."""
    u, v, length, inverse = shapes.local(layer, x, y)
    d = shapes.distance(layer, u, v, length, inverse)
    alpha = jnp.clip(0.5 - d / edge, 0.0, 1.0) * layer.show[:, None, None]
    rim = jnp.clip(0.5 - (d + OUTLINE) / edge, 0.0, 1.0)
    bright = DARK + rim * (1 - DARK + layer.light[:, 0, None, None] * u + layer.light[:, 1, None, None] * v)
    mixed = shapes.ink(layer, u, v, length)
    colour = (layer.colour[..., None, None] + layer.ink[..., None, None] * mixed[:, None]) * bright[:, None]
    return canvas + alpha[:, None] * (colour - canvas), d


def _grain(scene: Scene, size: int) -> jax.Array:
    """Pixel noise f32 [B, 3, H, W], uniform with the scene's amplitude: three 10-bit fields of one hash."""
    index = jnp.arange(size * size, dtype=jnp.uint32).reshape(size, size)
    seed = hashing.mix(hashing.mix(scene.key[:, :1]) + scene.key[:, 1:])[..., None]
    bits = hashing.mix(hashing.mix(index ^ np.uint32(1 << 20)) + seed)
    fields = jnp.stack([bits >> shift & np.uint32(1023) for shift in (0, 10, 20)], axis=1)
    return scene.noise[:, None, None, None] * (fields.astype(jnp.float32) * (2 / 1023) - 1)


@functools.partial(jax.jit, static_argnames=("world", "size", "masks"))
def render(world: World, scene: Scene, size: int = 64, masks: bool = False) -> Rendered:
    """Images of size x size of scenes [B], or flocks [B, N]; with masks also part_mask, visible and box."""
    flock = scene.scale.ndim == 2
    scenes = scene if flock else jax.tree.map(lambda a: a[:, None], scene)
    first = jax.tree.map(lambda a: a[:, 0], scenes)
    stack = jax.vmap(functools.partial(layers.flock_layers, world))(scenes)
    canvas, seen, total = _paint_all(first, stack, layers.owners(scenes), size, masks)
    image = jnp.clip(canvas * first.light[..., None, None] + _grain(first, size), 0.0, 1.0)
    centre = jax.vmap(jax.vmap(lambda s: place(pose_of(s), s.limbs)[0]))(scenes)
    truth = {
        "keypoints": (centre[..., ::-1] + 1) / 2,
        "attributes": scenes.values,
        "present": scenes.present * scenes.bird[..., None],
        "habitat": scenes.habitat,
    }
    if masks:
        truth |= _seen(seen, total, layers.owners(scenes))
    if not flock:
        truth = jax.tree.map(lambda a: a[:, 0], truth)
    return Rendered(image=jnp.moveaxis(image, 1, -1), part_mask=seen, **truth)


def _paint_all(first: Scene, stack: Layer, owners: np.ndarray, size: int, masks: bool):
    """Canvas [B, 3, H, W]; with masks also the pixels' owners [B, H, W] and each layer's pixels [L, B]."""
    x, y = _axes(size)
    edge = jnp.maximum(first.blur, 2 / size)[:, None, None]

    def paint(carry, item):
        (canvas, seen), (layer, owner) = carry, item
        canvas, d = _paint(canvas, layer, x, y, edge)
        if not masks:
            return (canvas, seen), None
        inside = (d <= 0) & (layer.show[:, None, None] > 0.5)
        return (canvas, jnp.where(inside, owner, seen)), inside.sum((1, 2))

    canvas = _background(first, x, y)
    seen = jnp.zeros(canvas[:, 0].shape, jnp.int32) if masks else None
    stack = jax.tree.map(lambda a: jnp.moveaxis(a, 1, 0), stack)
    (canvas, seen), total = jax.lax.scan(paint, (canvas, seen), (stack, jnp.asarray(owners)))
    return canvas, seen, total


def _seen(seen: jax.Array, total: jax.Array, owners: np.ndarray) -> dict[str, jax.Array]:
    """What can be seen of each bird [B, N] and of its parts."""
    birds = int(owners.max()) // layers.OWNERS_OF_A_BIRD + 1
    visible, box = [], []
    for start in layers.OWNERS_OF_A_BIRD * np.arange(birds):
        parts = start + 2 + np.arange(len(PARTS))
        own = jnp.stack([total[int(np.argmax(owners == k))] for k in parts], -1)
        shown = jnp.stack([jnp.sum(seen == k, (1, 2)) for k in parts], -1)
        visible.append(shown / jnp.maximum(own, 1))
        box.append(box_of((seen > start) & (seen < start + layers.OWNERS_OF_A_BIRD)))
    return {"visible": jnp.stack(visible, 1), "box": jnp.stack(box, 1)}


def box_of(mask: jax.Array) -> jax.Array:
    """Boxes f32 [B, 4] (y0, x0, y1, x1) of masks [B, H, W]; zeros where a mask is empty."""
    sides = []
    for other in (2, 1):
        hit = jnp.any(mask, other)
        n = hit.shape[1]
        sides.append((jnp.argmax(hit, 1) / n, 1 - jnp.argmax(hit[:, ::-1], 1) / n))
    (y0, y1), (x0, x1) = sides
    return jnp.where(jnp.any(mask, (1, 2))[:, None], jnp.stack([y0, x0, y1, x1], -1), 0.0)


def fingerprint(world: World, count: int = 3) -> str:
    """Hex digits of a few images: 64 pixels wide, averaged to 8x8 cells, four bits a channel.

    Two machines may differ by one in a few digits, from rounding; more means that the pictures changed.
    """
    table = world.split("all", "train")
    index = np.arange(count) * (len(table) // count)
    image = np.asarray(render(world, sample(world, table.keys[index], table.values[index])).image, np.float64)
    cells = image.reshape(count, 8, 8, 8, 8, 3).mean((2, 4))
    return "".join(f"{int(v):x}" for v in np.floor(cells * 15 + 0.5).ravel())
