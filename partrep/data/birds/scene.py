"""A scene: every number that an image of a bird depends on, drawn from a key."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from partrep import UserError
from partrep.data.birds import hashing
from partrep.data.birds.world import PARTS, SPLIT_BIT, SPLITS, VALUES, World

HABITAT_MODES = ("world", "matched", "random", "conflicting")

# Where the parts sit on a bird of scale 1 that looks right (the image spans -1 to 1, y down).
#                 x      y    axis   size along and across the axis
PLACES = np.array(
    [
        (0.81, -0.28, 5.0, 0.25, 0.22),  # beak
        (0.20, -0.79, -100.0, 0.25, 0.25),  # crown
        (-0.28, 0.19, 160.0, 0.31, 0.25),  # wing
        (-0.82, 0.08, 195.0, 0.27, 0.24),  # tail
        (-0.05, 0.86, 0.0, 0.175, 0.175),  # feet: one of two, side by side along the axis
        (0.36, -0.30, 0.0, 0.245, 0.245),  # eye
    ],
    np.float32,
)
FEET = PARTS.index("feet")
FEET_APART = 1.12  # half the distance between the feet, in their own size
EXTENT = np.where(np.arange(len(PARTS))[:, None] == FEET, (1 + FEET_APART, 1.0), 1.0).astype(np.float32)


@struct.dataclass
class Scene:
    """One image's worth of numbers, after any batch axes. Interventions are functions from Scene to Scene."""

    values: jax.Array  # i32 [6] part values, 7: the reserved one
    present: jax.Array  # f32 [6] 1 drawn, 0 removed
    colour: jax.Array  # i32 [6] palette entry that replaces the colour of the part's value; -1: none
    bird: jax.Array  # f32 [] 0: no bird at all
    habitat: jax.Array  # i32 []
    ring: jax.Array  # i32 [] colour of the ring on the leg
    ring_on: jax.Array  # f32 []
    mirror: jax.Array  # f32 [] 1 looks right, -1 left
    angle: jax.Array  # f32 [] radians
    scale: jax.Array  # f32 [] 0.5 to 1
    shift: jax.Array  # f32 [2] (x, y)
    limbs: jax.Array  # f32 [6, 5] articulation: shift along x and y, turn (degrees), log size, log aspect
    light: jax.Array  # f32 [3] colour of the light
    sun: jax.Array  # f32 [2] direction and strength of the light
    tint: jax.Array  # f32 [3] colour of the body
    marks: jax.Array  # f32 [6] freckles of the body, which tell individuals apart
    ground: jax.Array  # f32 [8] horizon, slope, phases, colour change
    clutter: jax.Array  # f32 [n, 8] x, y, turn, size, aspect, colour, shape, texture
    branches: jax.Array  # f32 [n, 8] x, y, turn, half length, radius, colour (3)
    blur: jax.Array  # f32 [] width of edges in the image
    noise: jax.Array  # f32 [] amplitude
    key: jax.Array  # uint32 [2] of the pixel noise


def _spread(u, low, high):
    return low + (high - low) * u


def spots(pose, places) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Puts pieces of a bird into the image.

    From rows [n, 5+] as in PLACES: centre [n, 2] in the image (x, y), rotation [n, 2, 2] from image to own
    axes, and size [n, 2].
    """
    mirror, angle, scale, shift = pose
    places = jnp.asarray(places)
    flip = jnp.stack([mirror, jnp.ones_like(mirror)])
    whole = rotation(angle)
    centre = shift + scale * (places[:, :2] * flip) @ whole.T
    own = rotation(-jnp.deg2rad(places[:, 2])) * flip @ whole.T
    return centre, own, scale * places[:, 3:5]


def place(pose, limbs: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The six parts put into the image, each with its own articulation; as `spots`."""
    size = jnp.exp(limbs[:, 3:4] + limbs[:, 4:] * np.array([0.5, -0.5], np.float32)) * PLACES[:, 3:]
    return spots(pose, jnp.concatenate([PLACES[:, :3] + limbs[:, :3], size], -1))


def rotation(angle: jax.Array) -> jax.Array:
    """Matrices [..., 2, 2] that turn (x, y) by an angle in radians."""
    c, s = jnp.cos(angle), jnp.sin(angle)
    return jnp.stack([jnp.stack([c, -s], -1), jnp.stack([s, c], -1)], -2)


def pose_of(scene: Scene) -> tuple[jax.Array, ...]:
    """Mirror, angle, scale and shift."""
    return scene.mirror, scene.angle, scene.scale, scene.shift


def cover(part, placed, colour: jax.Array) -> jax.Array:
    """A branch [8] that hides a part whole, in front of a bird whose parts are placed so."""
    centre, own, size = (a[part] for a in placed)
    size = size * jnp.asarray(EXTENT)[part]
    radius = 1.3 * jnp.min(size)
    long = jnp.maximum(1.35 * jnp.max(size) - radius, 0.0) + 0.3 * radius
    turn = jnp.arctan2(own[0, 1], own[0, 0])
    return jnp.concatenate([centre, jnp.stack([turn, long, radius]), colour])


def _branches(rows: jax.Array, parts, chance: float) -> jax.Array:
    """Branches [n, 8] from uniforms [n, 11]: either one that hides a part whole, or a long twig near one."""
    centre, own, size = parts

    def one(u):
        target = _integer(u[0], len(PARTS))
        brown = np.array([0.45, 0.32, 0.2], np.float32) * _spread(u[1], 0.7, 1.3) + 0.12 * (u[2:5] - 0.5)
        near = centre[target] + 0.3 * (u[5:7] - 0.5)
        twig = jnp.stack([u[7] * np.float32(np.pi), _spread(u[8], 0.5, 1.0), _spread(u[9], 0.04, 0.08)])
        hiding = cover(target, (centre, own, size), brown)
        return jnp.where(u[10] < chance, hiding, jnp.concatenate([near, twig, brown]))

    return jax.vmap(one)(rows)


def _clutter(u: jax.Array) -> jax.Array:
    """Things [n, 8] that look like parts, in random places, from uniforms [n, 8]."""
    low, high = np.array([(-1, -1, -np.pi, 0.1, -0.3), (1, 1, np.pi, 0.24, 0.3)], np.float32)
    return jnp.concatenate([_spread(u[:, :5], low, high), jnp.floor(u[:, 5:] * VALUES)], -1)


def _integer(u: jax.Array, count: int) -> jax.Array:
    return jnp.minimum((u * count).astype(jnp.int32), count - 1)


def _symbol(u: jax.Array, own: jax.Array, strength) -> jax.Array:
    """The class's own symbol with probability s + (1 - s) / 7, else one of the others, from two uniforms."""
    return jnp.where(u[0] < strength, own, _integer(u[1], VALUES))


def _habitat(u: jax.Array, symbol: jax.Array, world: World, mode: str) -> jax.Array:
    if mode == "conflicting":
        symbol = symbol + 1 + _integer(u[1], VALUES - 1)
    else:
        strength = {"world": world.shortcut, "matched": 1.0, "random": 0.0}[mode]
        symbol = _symbol(u, symbol, strength)
    return jnp.asarray(world.habitats)[symbol % VALUES]


def _present(u: jax.Array, most: int, key: jax.Array) -> jax.Array:
    """Half the time all six parts, else without 1 to `most` of them, from uniforms [8]; all outside of training."""
    lacking = 1 + _integer(u[1], most)
    rank = jnp.argsort(jnp.argsort(u[2:]))
    training = key[1] >> SPLIT_BIT == SPLITS.index("train")
    return jnp.where(~training | (u[0] < 0.5) | (rank >= lacking), 1.0, 0.0)


def _draws(world: World) -> dict[str, tuple[int, ...]]:
    """What a scene draws, each from a stream of its own, so that one more number leaves the others alone."""
    level = world.settings
    return {
        "pose": (5,),
        "light": (6,),
        "camera": (2,),
        "values": (6,),
        "limbs": (6, 5),
        "habitat": (2,),
        "ring": (3,),
        "ground": (8,),
        "clutter": (level["clutter"], 8),
        "branches": (level["branches"], 11),
        "empty": (),
        "absence": (8,),
    }


def _pose(u: jax.Array) -> tuple[jax.Array, ...]:
    """Mirror, angle, scale and shift from uniforms [5]."""
    scale = _spread(u[2], 0.5, 1.0)
    room = 0.03 + 0.9 * (1 - scale)
    turn = np.float32(np.pi / 6)
    return jnp.where(u[0] < 0.5, 1.0, -1.0), _spread(u[1], -turn, turn), scale, room * (2 * u[3:] - 1)


def _light(u: jax.Array, amplitude: float) -> tuple[jax.Array, jax.Array]:
    """Colour [3], and direction with strength [2], from uniforms [6]."""
    colour = (1 + amplitude * (2 * u[:3] - 1)) * (1 + 0.5 * amplitude * (2 * u[3] - 1))
    angle = np.float32(2 * np.pi) * u[4]
    return colour, _spread(u[5], 0.08, 0.22) * jnp.stack([jnp.cos(angle), jnp.sin(angle)])


def _sample_one(world: World, mode: str, key: jax.Array, values: jax.Array, individual: jax.Array) -> Scene:
    level = world.settings
    u = hashing.streams(key, _draws(world), jnp)
    own = hashing.streams(individual, {"unused": (), "tint": (3,), "marks": (6,)}, jnp)
    parts, weights = world.extension
    symbol = jnp.sum(values[parts] * weights) % VALUES
    limbs = (2 * u["limbs"] - 1) * np.array([0.05, 0.05, 20.0, 0.12, 0.15], np.float32) * level["wobble"]
    pose = _pose(u["pose"])
    light, sun = _light(u["light"], level["light"])
    return Scene(
        values=jnp.where(values < 0, _integer(u["values"], VALUES), values),
        present=_present(u["absence"], world.absence, key) if world.absence else jnp.ones(len(PARTS)),
        colour=jnp.full(len(PARTS), -1),
        bird=(u["empty"] >= world.empty).astype(jnp.float32),
        habitat=_habitat(u["habitat"], symbol, world, mode),
        ring=_symbol(u["ring"], symbol, world.ring),
        ring_on=(u["ring"][2] < (1 + world.ring) / 2).astype(jnp.float32),
        mirror=pose[0],
        angle=pose[1],
        scale=pose[2],
        shift=pose[3],
        limbs=limbs,
        light=light,
        sun=sun,
        tint=_spread(own["tint"], 0.35, 0.85),
        marks=own["marks"],
        ground=u["ground"],
        clutter=_clutter(u["clutter"]),
        branches=_branches(u["branches"], place(pose, limbs), level["cover"]),
        blur=level["blur"] * u["camera"][0],
        noise=level["noise"] * u["camera"][1],
        key=key,
    )


def sample(world: World, keys, values, habitat: str = "world", individuals=None) -> Scene:
    """Scenes of a batch: keys uint32 [B, 2], part values i32 [B, 6] (-1: random with the key).

    habitat: "world" follows the world's shortcut; "matched", "random" and "conflicting" are the test sets.
    With `absence`, birds of keys of training images alone lack parts: `World.split` gives them top bits 0.
    individuals: keys uint32 [B, 2] of the birds, whose body marks they alone decide; None: a new bird each.
    """
    if habitat not in HABITAT_MODES:
        raise UserError(f"unknown habitat mode {habitat!r}; known: {', '.join(HABITAT_MODES)}")
    keys = jnp.asarray(keys, jnp.uint32)
    individuals = keys if individuals is None else jnp.asarray(individuals, jnp.uint32)
    return _sample(world, habitat, keys, jnp.asarray(values, jnp.int32), individuals)


@functools.partial(jax.jit, static_argnames=("world", "mode"))
def _sample(world, mode, keys, values, individuals):
    return jax.vmap(functools.partial(_sample_one, world, mode))(keys, values, individuals)


def flock(scenes: Scene, count=None) -> Scene:
    """Arranges the birds of scenes [B, N], N up to 4, to share an image, each in its own quarter.

    count: i32 [B], how many of the N birds an image shows; None: all. The surroundings are the first bird's.
    """
    batch, birds = scenes.scale.shape
    if birds > 4:
        raise UserError(f"a flock has {birds} birds; expected at most 4")
    order = jax.vmap(lambda key: jnp.argsort(hashing.uniforms(key, 4000, 4, jnp)))(scenes.key[:, 0])[:, :birds]
    quarter = jnp.stack([order % 2, order // 2], -1) - 0.5
    there = jnp.arange(birds) < (jnp.full(batch, birds) if count is None else jnp.asarray(count))[:, None]
    bird = scenes.bird * there.astype(jnp.float32)
    return dataclasses.replace(scenes, scale=0.55 * scenes.scale, shift=quarter + 0.4 * scenes.shift, bird=bird)
