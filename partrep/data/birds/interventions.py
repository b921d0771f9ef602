"""Changes to a scene that leave every other number alone, to measure what a prediction depends on.

Each takes and returns scenes with the batch axis first, [B, ...]; `part` is a number or a name of `PARTS`.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from partrep import UserError
from partrep.data.birds.scene import Scene, cover, place, pose_of
from partrep.data.birds.world import PARTS

BARK = np.array([0.45, 0.32, 0.20], np.float32)


def _number(part) -> int | jax.Array:
    if isinstance(part, str):
        if part not in PARTS:
            raise UserError(f"unknown part of a bird {part!r}; known: {', '.join(PARTS)}")
        return PARTS.index(part)
    return part


def swap(scene: Scene, part, value) -> Scene:
    """Gives a part another value (an i32, or one per image [B])."""
    return dataclasses.replace(scene, values=jnp.asarray(scene.values).at[:, _number(part)].set(value))


def remove(scene: Scene, part) -> Scene:
    """Takes a part away; what lies behind it shows."""
    return dataclasses.replace(scene, present=jnp.asarray(scene.present).at[:, _number(part)].set(0.0))


def keep(scene: Scene, subset) -> Scene:
    """Takes away every part that is not in `subset`, bool [6] or [B, 6]."""
    return dataclasses.replace(scene, present=scene.present * jnp.asarray(subset, jnp.float32))


def subsets() -> np.ndarray:
    """All 64 subsets of the parts, bool [64, 6]; row r has part i where bit i of r is set."""
    return (np.arange(1 << len(PARTS))[:, None] >> np.arange(len(PARTS))) % 2 == 1


def hide(scene: Scene, part) -> Scene:
    """Puts a branch in front of a part, as the branches that hide whole parts in ordinary images."""
    branch = jax.vmap(lambda s: cover(_number(part), place(pose_of(s), s.limbs), jnp.asarray(BARK)))(scene)
    return dataclasses.replace(scene, branches=jnp.concatenate([scene.branches, branch[:, None]], axis=1))


def recolour(scene: Scene, part, colour) -> Scene:
    """Gives a part another colour of the palette (0 to 6), whatever its value says."""
    return dataclasses.replace(scene, colour=jnp.asarray(scene.colour).at[:, _number(part)].set(colour))


def set_background(scene: Scene, habitat) -> Scene:
    """Puts the bird into another habitat (0 to 6, or one per image [B])."""
    return dataclasses.replace(scene, habitat=jnp.broadcast_to(jnp.asarray(habitat, jnp.int32), scene.habitat.shape))


def set_ring(scene: Scene, on) -> Scene:
    """Puts the ring on the leg, or takes it off."""
    return dataclasses.replace(scene, ring_on=jnp.broadcast_to(jnp.asarray(on, jnp.float32), scene.ring_on.shape))
