"""From scenes to images, with exact masks, keypoints, visibility and boxes."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from partrep.data.birds import hashing, shapes
from partrep.data.birds.scene import FEET, FEET_APART, Scene, place, pose_of, rotation
from partrep.data.birds.shapes import Layer
from partrep.data.birds.world import PARTS, World

BODY = 1  # part_mask: 0 is not bird, 1 the body, 2 + i part i
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
    """A batch of images with the truth about them; the last three are None unless masks were asked for."""

    image: jax.Array  # f32 [B, H, W, 3] in [0, 1]
    keypoints: jax.Array  # f32 [B, 6, 2] centres of the parts, (y, x) in [0, 1]
    attributes: jax.Array  # i32 [B, 6] part values
    present: jax.Array  # f32 [B, 6] 0: the part was removed
    habitat: jax.Array  # i32 [B]
    part_mask: jax.Array | None = None  # i32 [B, H, W] what is seen: 0 no bird, 1 body, 2 + i part i
    visible: jax.Array | None = None  # f32 [B, 6] share of the part's pixels that is seen
    box: jax.Array | None = None  # f32 [B, 4] (y0, x0, y1, x1) of the visible bird


def _layer(centre, own, size, outline, colour, ink, texture, sun, show, fold=0.0) -> Layer:
    """A layer from its centre [2], own axes [2, 2] and size [2]."""
    light = own @ sun
    return Layer(centre, own / size[:, None], size, outline, jnp.asarray(fold, jnp.float32), texture, colour, ink, light, show)


def _disc(stretch: float = 0.0) -> np.ndarray:
    return np.array([1, 0, 0, 0, 0, 0, stretch, 0], np.float32)


def _part_layers(world: World, scene: Scene) -> list[Layer]:
    level = world.settings
    centre, own, size = place(pose_of(scene), scene.limbs)
    look = jnp.asarray(world.appearance)[jnp.arange(len(PARTS)), scene.values]
    colour = jnp.where(scene.colour < 0, look[:, 0], scene.colour)
    rgb = _palette(level["colour_gain"])[colour]
    outline = jnp.asarray(shapes.outline_table(level["shape_gain"]))[look[:, 1]]
    texture = jnp.asarray(shapes.TEXTURES)[look[:, 2]]
    ink = -0.75 * level["texture_gain"] * rgb
    show = scene.present * scene.bird
    fold = [FEET_APART if i == FEET else 0.0 for i in range(len(PARTS))]
    return [
        _layer(centre[i], own[i], size[i], outline[i], rgb[i], ink[i], texture[i], scene.sun, show[i], fold[i])
        for i in range(len(PARTS))
    ]


def _palette(gain: float) -> jax.Array:
    mean = shapes.PALETTE.mean(0)
    return jnp.asarray(mean + gain * (shapes.PALETTE - mean))


def _body_part(scene: Scene, x, y, turn, along, across, stretch=0.0, fold=0.0, plain=False) -> Layer:
    """A piece of the plain body, given on a bird of scale 1 that looks right."""
    flip = jnp.stack([scene.mirror, jnp.ones_like(scene.mirror)])
    whole = rotation(scene.angle)
    centre = scene.shift + scene.scale * whole @ (np.array([x, y], np.float32) * flip)
    own = rotation(jnp.asarray(-np.deg2rad(turn), jnp.float32)) * flip @ whole.T
    size = scene.scale * np.array([along, across], np.float32)
    m = scene.marks
    freckles = jnp.stack([1 + m[0], m[1] - 0.5, 0 * m[0], m[2], m[3] - 0.5, 1 + m[4], m[5], -0.9 + 0 * m[0], 0.9 + 0 * m[0], 0.9 + 0 * m[0], 0 * m[0]])
    texture = jnp.asarray(shapes.TEXTURES[0]) if plain else freckles
    colour = 0.55 * scene.tint if plain else scene.tint
    return _layer(centre, own, size, jnp.asarray(_disc(stretch)), colour, -0.35 * colour, texture, scene.sun, scene.bird, fold)


def _ring(scene: Scene) -> Layer:
    ring = _body_part(scene, 0.075, 0.68, 90.0, 0.055, 0.055)
    colour = jnp.asarray(shapes.PALETTE)[scene.ring]
    return ring.replace(colour=colour, ink=0 * colour, show=scene.bird * scene.ring_on)


def _clutter_layers(world: World, scene: Scene) -> list[Layer]:
    level, out = world.settings, []
    tables = _palette(level["colour_gain"]), jnp.asarray(shapes.outline_table(level["shape_gain"])), jnp.asarray(shapes.TEXTURES)
    for row in scene.clutter:
        kind = row[5:].astype(jnp.int32)
        colour, outline, texture = (table[k] for table, k in zip(tables, kind))
        size = row[3] * jnp.exp(row[4] * np.array([0.5, -0.5], np.float32))
        ink = -0.75 * level["texture_gain"] * colour
        out.append(_layer(row[:2], rotation(-row[2]), size, outline, colour, ink, texture, scene.sun, jnp.ones(())))
    return out


def _branch_layers(scene: Scene) -> list[Layer]:
    bark, out = jnp.asarray(shapes.TEXTURES[2]), []
    for row in scene.branches:
        outline = jnp.asarray(_disc()).at[6].set(row[3] / row[4])
        colour = row[5:]
        out.append(_layer(row[:2], rotation(-row[2]), row[4] * jnp.ones(2), outline, colour, -0.3 * colour, bark, scene.sun, jnp.ones(())))
    return out


def _layers(world: World, scene: Scene) -> tuple[Layer, tuple[int, ...]]:
    """The layers of one scene, back to front, and whom each belongs to (as in part_mask)."""
    beak, crown, wing, tail, feet, eye = _part_layers(world, scene)
    legs = _body_part(scene, -0.04, 0.64, 90.0, 0.05, 0.05, stretch=3.0, plain=True)
    body = _body_part(scene, -0.17, 0.20, -25.0, 0.56, 0.42)
    head = _body_part(scene, 0.30, -0.32, 0.0, 0.42, 0.42)
    clutter, branches = _clutter_layers(world, scene), _branch_layers(scene)
    drawn = [tail, legs, feet, _ring(scene), body, head, wing, crown, beak, eye]
    owners = [5, BODY, 6, BODY, BODY, BODY, 4, 3, 2, 7]
    stack = clutter + drawn + branches
    return jax.tree.map(lambda *rows: jnp.stack(rows), *stack), (0,) * len(clutter) + tuple(owners) + (0,) * len(branches)


def _axes(size: int) -> tuple[jax.Array, jax.Array]:
    ticks = (jnp.arange(size, dtype=jnp.float32) + 0.5) * (2 / size) - 1
    return ticks[None, :], ticks[:, None]


def _background(scene: Scene, x, y) -> jax.Array:
    """Scenery f32 [B, 3, H, W]."""
    look = jnp.asarray(HABITATS)[scene.habitat]
    g = scene.ground - 0.5
    column = lambda v: v[:, None, None]
    t = [column(look[:, 6 + k]) for k in range(11)]
    first = shapes.triangle_wave(t[0] * x + t[1] * y + column(g[:, 2]))
    second = shapes.triangle_wave(t[4] * x + t[5] * y + column(g[:, 3]))
    ink = jnp.clip(t[7] + t[8] * first + t[9] * second + t[10] * first * second, -0.5, 1.0)
    below = jnp.clip(3 * (y - column(0.7 * g[:, 0]) - column(0.5 * g[:, 1]) * x) + 0.5, 0.0, 1.0)
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
    bits = hashing.mix((index + np.uint32(1 << 20)) ^ hashing.mix(scene.key[:, :1, None] + scene.key[:, 1:, None]))
    fields = jnp.stack([bits >> shift & np.uint32(1023) for shift in (0, 10, 20)], axis=1)
    return scene.noise[:, None, None, None] * (fields.astype(jnp.float32) * (2 / 1023) - 1)


@functools.partial(jax.jit, static_argnames=("world", "size", "masks"))
def render(world: World, scene: Scene, size: int = 64, masks: bool = False) -> Rendered:
    """Images of size x size of a batch of scenes; with masks also part_mask, visible and box."""
    owners = []

    def one(s):
        layers, who = _layers(world, s)
        owners[:] = who
        return layers

    layers = jax.tree.map(lambda a: jnp.moveaxis(a, 1, 0), jax.vmap(one)(scene))
    x, y = _axes(size)
    edge = jnp.maximum(scene.blur, 2 / size)[:, None, None]

    def paint(carry, item):
        layer, owner = item
        canvas, seen = carry
        canvas, d = _paint(canvas, layer, x, y, edge)
        if not masks:
            return (canvas, seen), None
        inside = (d <= 0) & (layer.show[:, None, None] > 0.5)
        return (canvas, jnp.where(inside, owner, seen)), inside.sum((1, 2))

    canvas = _background(scene, x, y)
    seen = jnp.zeros(canvas[:, 0].shape, jnp.int32) if masks else None
    (canvas, seen), total = jax.lax.scan(paint, (canvas, seen), (layers, jnp.array(owners)))
    image = jnp.clip(canvas * scene.light[..., None, None] + _grain(scene, size), 0.0, 1.0)
    centre = jax.vmap(lambda s: place(pose_of(s), s.limbs)[0])(scene)
    out = Rendered(
        image=jnp.moveaxis(image, 1, -1),
        keypoints=(centre[..., ::-1] + 1) / 2,
        attributes=scene.values,
        present=scene.present,
        habitat=scene.habitat,
    )
    return out.replace(**_truth(seen, total, owners)) if masks else out


def _truth(seen: jax.Array, total: jax.Array, owners: list[int]) -> dict[str, jax.Array]:
    parts = range(BODY + 1, BODY + 1 + len(PARTS))
    own = jnp.stack([total[owners.index(k)] for k in parts], -1)
    shown = jnp.stack([jnp.sum(seen == k, (1, 2)) for k in parts], -1)
    return {"part_mask": seen, "visible": shown / jnp.maximum(own, 1), "box": box_of(seen > 0)}


def box_of(mask: jax.Array) -> jax.Array:
    """Boxes f32 [B, 4] (y0, x0, y1, x1) of masks [B, H, W]; zeros where a mask is empty."""
    sides = []
    for axis in (2, 1):
        any_ = jnp.any(mask, axis)
        n = any_.shape[1]
        first, last = jnp.argmax(any_, 1), n - jnp.argmax(any_[:, ::-1], 1)
        sides.append((first / n, last / n))
    (y0, y1), (x0, x1) = sides
    return jnp.where(jnp.any(mask, (1, 2))[:, None], jnp.stack([y0, x0, y1, x1], -1), 0.0)
