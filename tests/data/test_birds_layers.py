"""Layers: who owns them, in what order, and where the parts are put."""

import jax
import numpy as np

from partrep.data import birds
from partrep.data.birds import layers
from partrep.data.birds.scene import place, pose_of

BIRD = jax.jit(layers.bird_layers, static_argnums=0)


def _scenes(count):
    world = birds.World()
    table = world.split("base", "train")
    scenes = birds.sample(world, table.keys[:24], table.values[:24])
    return world, jax.tree.map(lambda a: np.asarray(a)[:count], scenes)


def test_every_part_is_drawn_once_and_over_the_body_it_sits_on():
    order = layers.OWNERS.tolist()
    assert sorted(order) == [1, 1, 1, 1, 2, 3, 4, 5, 6, 7]
    on_top = [2 + birds.PARTS.index(name) for name in ("wing", "crown", "beak", "eye")]
    assert all(order.index(k) > max(i for i, who in enumerate(order) if who == 1) for k in on_top)


def test_owners_of_a_flock():
    scene = jax.tree.map(lambda a: a.reshape(2, 3, *a.shape[1:]), _scenes(6)[1])
    who = layers.owners(scene)
    level = birds.LEVELS["standard"]
    assert len(who) == level["clutter"] + 30 + level["branches"]
    assert who[0] == who[-1] == 0
    assert set(who.tolist()) == {0, *range(1, 8), *range(9, 16), *range(17, 24)}


def test_layers_lie_where_the_parts_are_placed():
    world, scenes = _scenes(2)
    scene = jax.tree.map(lambda a: a[1], scenes)
    stack = BIRD(world, scene)
    centre, own, size = jax.jit(lambda s: place(pose_of(s), s.limbs))(scene)
    for part in range(6):
        row = int(np.argmax(layers.OWNERS == 2 + part))
        np.testing.assert_allclose(stack.centre[row], centre[part], atol=1e-6)
        np.testing.assert_allclose(
            stack.matrix[row] @ stack.matrix[row].T, np.diag(size[part] ** -2.0), rtol=1e-4, atol=1e-3
        )
        np.testing.assert_allclose(own[part] @ own[part].T, np.eye(2), atol=1e-5)


def test_removal_and_an_empty_image_hide_layers():
    world, scenes = _scenes(1)
    scene = jax.tree.map(lambda a: a[0], birds.interventions.remove(scenes, "eye"))
    show = np.asarray(BIRD(world, scene).show)
    assert show[layers.OWNERS == 7] == 0 and show[layers.OWNERS == 2] == 1
    assert np.asarray(BIRD(world, scene.replace(bird=scene.bird * 0)).show).max() == 0
