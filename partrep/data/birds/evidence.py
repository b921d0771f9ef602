"""What an image of a world says about the class: the exact posterior, given all that is shown."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from partrep.data.birds.code import posterior
from partrep.data.birds.scene import Scene
from partrep.data.birds.world import VALUES, World


def class_posterior(world: World, group: str, scene: Scene) -> jax.Array:
    """The exact posterior over the classes of a group, f32 [B,C], given the parts, the habitat and the ring shown.

    `P(c | seen) = P(parts | c) P(habitat | c) P(ring | c) / Z`: uniform over the classes that agree with every part
    that is there, weighted by what the shortcut and the ring of the world make of the surroundings. At no shortcut
    that weight is the same for all classes. A row is zero where no class agrees (a swapped part). What a branch
    hides, and in which pixels, is not part of it: a part counts as seen where it is present.

    >>> from partrep.data.birds.scene import sample
    >>> world = World(dimension=2)
    >>> table = world.split("all", "test")
    >>> found = class_posterior(world, "all", sample(world, table.keys[:2], table.values[:2]))
    >>> found.shape, found[0, table.labels[0]].item()
    ((2, 49), 1.0)
    """
    by_parts = posterior(jnp.asarray(world.classes(group)), scene.values, scene.present * scene.bird[..., None] > 0)
    own = jnp.asarray(world.symbols(group))
    habitat = _agreement(scene.habitat, jnp.asarray(world.habitats)[own], world.shortcut)
    shown = (scene.ring_on * scene.bird > 0)[..., None]
    ring = jnp.where(shown, _agreement(scene.ring, own, world.ring), 1.0)
    weighted = by_parts * habitat * ring
    total = weighted.sum(-1, keepdims=True)
    # Parts and surroundings may contradict each other where the shortcut is certain (s = 1): then the parts decide.
    return jnp.where(total > 0, weighted / jnp.maximum(total, 1e-30), by_parts)


def habitat_matches(world: World, group: str, scene: Scene, labels: jax.Array) -> jax.Array:
    """Whether the habitat is that of the class, bool [B]; `labels` i32 [B] are classes of the group."""
    own = jnp.asarray(world.symbols(group))[labels]
    return scene.habitat == jnp.asarray(world.habitats)[own]


def _agreement(seen: jax.Array, own: jax.Array, strength: float) -> jax.Array:
    """P(seen | class) from the symbols seen [B] and the classes' own [C], f32 [B,C]."""
    return strength * (seen[..., None] == own) + (1 - strength) / VALUES
