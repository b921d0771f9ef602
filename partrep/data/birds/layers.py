"""From a scene to the layers that are drawn, back to front, and whom each of them belongs to."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from partrep.data.birds import shapes
from partrep.data.birds.scene import FEET, FEET_APART, Scene, place, pose_of, rotation, spots
from partrep.data.birds.shapes import Layer
from partrep.data.birds.world import PARTS, World

BODY = 1  # owners: 0 is no bird, 1 the body, 2 + i part i; of bird n of a flock 8 n more
OWNERS_OF_A_BIRD = 2 + len(PARTS)

# The plain body of a bird of scale 1 that looks right: x, y, axis, size along and across, stretch.
TORSO = np.array(
    [
        (-0.05, 0.62, 90.0, 0.045, 0.045, 3.5),  # legs
        (-0.05, 0.60, 0.0, 0.11, 0.065, 0.0),  # ring
        (-0.17, 0.15, -25.0, 0.56, 0.39, 0.0),  # body
        (0.30, -0.32, 0.0, 0.42, 0.42, 0.0),  # head
    ],
    np.float32,
)
# Back to front: numbers of parts (0 to 5) and of pieces of the body (6 to 9).
_DRAWN = np.array([3, 6, 4, 8, 7, 9, 2, 1, 0, 5])


@struct.dataclass
class _Look:
    """How layers look, apart from where they are; fields as in `Layer`."""

    outline: jax.Array
    colour: jax.Array
    ink: jax.Array
    texture: jax.Array


def _layers(frame, look: _Look, sun: jax.Array, show: jax.Array, fold=0.0) -> Layer:
    """Layers [L] from their centres [L, 2], own axes [L, 2, 2] and sizes [L, 2]."""
    centre, own, size = frame
    return Layer(
        centre=centre,
        matrix=own / size[..., None],
        scale=size,
        outline=look.outline,
        fold=fold * jnp.ones_like(show),
        texture=look.texture,
        colour=look.colour,
        ink=look.ink,
        light=own @ sun,
        show=show,
    )


def _looks(world: World, colour: jax.Array, shape: jax.Array, texture: jax.Array) -> _Look:
    """Looks from their numbers in the tables, as far apart as the level has them."""
    level = world.settings
    rgb = jnp.asarray(shapes.palette(level["colour_gain"]))[colour]
    outline = jnp.asarray(shapes.outline_table(level["shape_gain"]))[shape]
    return _Look(outline, rgb, -0.75 * level["texture_gain"] * rgb, jnp.asarray(shapes.TEXTURES)[texture])


def _part_layers(world: World, scene: Scene) -> Layer:
    look = jnp.asarray(world.appearance)[jnp.arange(len(PARTS)), scene.values]
    colour = jnp.where(scene.colour < 0, look[:, 0], scene.colour)
    fold = FEET_APART * (np.arange(len(PARTS)) == FEET).astype(np.float32)
    looks = _looks(world, colour, look[:, 1], look[:, 2])
    return _layers(place(pose_of(scene), scene.limbs), looks, scene.sun, scene.present * scene.bird, fold)


def _torso_layers(scene: Scene) -> Layer:
    """Legs, ring, body and head."""
    m, zero, one = scene.marks, jnp.zeros(()), jnp.ones(())
    waves = [1 + m[0], m[1] - 0.5, zero, m[2], m[3] - 0.5, 1 + m[4], m[5]]
    freckles = jnp.stack([*waves, -0.9 * one, 0.9 * one, 0.9 * one, zero])
    colour = jnp.stack([0.55 * scene.tint, jnp.asarray(shapes.PALETTE)[scene.ring], scene.tint, scene.tint])
    ink = -0.35 * colour * np.array([[0], [0], [1], [1]], np.float32)
    look = _Look(_capsules(TORSO[:, 5]), colour, ink, jnp.broadcast_to(freckles, (4, 11)))
    show = scene.bird * jnp.stack([one, scene.ring_on, one, one])
    return _layers(spots(pose_of(scene), TORSO), look, scene.sun, show)


def _capsules(stretch) -> jax.Array:
    """Outlines [L, 8] of discs stretched by [L]."""
    discs = jnp.zeros((len(stretch), 8)).at[:, 0].set(1.0)
    return discs.at[:, 6].set(stretch)


def bird_layers(world: World, scene: Scene) -> Layer:
    """The layers [10] of one bird, back to front; OWNERS says whose they are."""
    return jax.tree.map(lambda a: a[_DRAWN], join(_part_layers(world, scene), _torso_layers(scene)))


OWNERS = np.where(_DRAWN < len(PARTS), _DRAWN + 2, BODY)


def clutter_layers(world: World, scene: Scene) -> Layer:
    """Things behind the bird that look like parts."""
    row = scene.clutter
    size = row[:, 3:4] * jnp.exp(row[:, 4:5] * np.array([0.5, -0.5], np.float32))
    look = _looks(world, *(row[:, k].astype(jnp.int32) for k in (5, 6, 7)))
    return _layers((row[:, :2], rotation(-row[:, 2]), size), look, scene.sun, jnp.ones(len(row)))


def branch_layers(scene: Scene) -> Layer:
    """Branches in front of the bird."""
    row = scene.branches
    bark = jnp.broadcast_to(shapes.TEXTURES[2], (len(row), 11))
    look = _Look(_capsules(row[:, 3] / row[:, 4]), row[:, 5:], -0.3 * row[:, 5:], bark)
    size = jnp.broadcast_to(row[:, 4:5], (len(row), 2))
    return _layers((row[:, :2], rotation(-row[:, 2]), size), look, scene.sun, jnp.ones(len(row)))


def join(*stacks: Layer) -> Layer:
    """Layers one over another, the last stack on top."""
    return jax.tree.map(lambda *rows: jnp.concatenate(rows), *stacks)


def flock_layers(world: World, scenes: Scene) -> Layer:
    """All layers of one image from the scenes [N] of its birds; the first has the surroundings."""
    first = jax.tree.map(lambda a: a[0], scenes)
    scenes = dataclasses.replace(scenes, sun=jnp.broadcast_to(first.sun, scenes.sun.shape))
    birds = jax.vmap(functools.partial(bird_layers, world))(scenes)
    birds = jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), birds)
    return join(clutter_layers(world, first), birds, branch_layers(first))


def owners(scenes: Scene) -> np.ndarray:
    """i32 [L]: whom each layer of `flock_layers` belongs to, for scenes [B, N]."""
    birds = scenes.scale.shape[1]
    flock = (OWNERS + OWNERS_OF_A_BIRD * np.arange(birds)[:, None]).ravel()
    sides = [np.zeros(rows.shape[2]) for rows in (scenes.clutter, scenes.branches)]
    return np.concatenate([sides[0], flock, sides[1]]).astype(np.int32)
