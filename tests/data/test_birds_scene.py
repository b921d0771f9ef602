"""Scenes: pure functions of a key, nuisance in its ranges and independent of the class, the knobs of a world."""

import jax
import numpy as np
import pytest

import partrep
from partrep.data import birds

COUNT = 1400


def _scene(world=birds.World(), habitat="world", group="base", split="train", **more):  # noqa: B008 (worlds are frozen)
    table = world.split(group, split)
    index = np.random.default_rng(0).permutation(len(table))[:COUNT]
    scene = birds.sample(world, table.keys[index], table.values[index], habitat, **more)
    return jax.tree.map(np.asarray, scene), table.symbols[table.labels[index]], table.values[index]


@pytest.fixture(scope="module")
def plain():
    return _scene()


def test_a_scene_depends_on_its_own_key_alone(plain):
    world = birds.World()
    table = world.split("base", "train")
    index = np.random.default_rng(0).permutation(len(table))[:COUNT][[5, 900]]
    again = birds.sample(world, table.keys[index], table.values[index])
    rows = jax.tree.map(lambda a: a[[5, 900]], plain[0])
    assert all(jax.tree.leaves(jax.tree.map(lambda a, b: np.allclose(a, b, atol=1e-6), rows, again)))


def test_nuisance_lies_in_its_ranges(plain):
    s = plain[0]
    assert 0.5 <= s.scale.min() < 0.51 and 0.99 < s.scale.max() <= 1
    assert np.abs(s.angle).max() <= np.pi / 6 + 1e-6
    assert set(np.unique(s.mirror)) == {-1.0, 1.0} and abs(s.mirror.mean()) < 0.1
    assert np.abs(s.shift).max() < 0.5
    assert s.present.min() == 1 and s.bird.min() == 1 and s.colour.max() == -1
    assert abs(s.ring_on.mean() - 0.5) < 0.05


def test_at_no_shortcut_the_nuisance_says_nothing_about_the_class(plain):
    s, symbol, values = plain
    factors = np.stack([s.scale, s.angle, s.mirror, s.blur, s.shift[:, 0], s.tint[:, 1], s.habitat], 1)
    onehot = np.concatenate([np.eye(7)[values[:, i]] for i in range(6)] + [np.eye(7)[symbol]], 1)
    correlation = np.corrcoef(factors.T, onehot.T)[: factors.shape[1], factors.shape[1] :]
    assert np.abs(correlation).max() < 4.5 / np.sqrt(COUNT)


def _own_habitat(world, habitat="world"):
    scene, symbol, _ = _scene(world, habitat)
    return np.mean(scene.habitat == world.habitats[symbol])


@pytest.mark.parametrize("strength", [0.0, 0.5, 1.0])
def test_shortcut(strength):
    expected = strength + (1 - strength) / 7
    assert abs(_own_habitat(birds.World(shortcut=strength)) - expected) < 0.05


def test_habitats_of_the_test_sets():
    world = birds.World(3, shortcut=0.9)
    assert _own_habitat(world, "matched") == 1
    assert _own_habitat(world, "conflicting") == 0
    assert abs(_own_habitat(world, "random") - 1 / 7) < 0.05
    with pytest.raises(partrep.UserError, match="unknown habitat mode 'own'; known: world, matched"):
        _own_habitat(world, "own")


def test_ring_is_a_cue_of_its_own():
    scene, symbol, _ = _scene(birds.World(ring=1.0))
    assert np.all(scene.ring == symbol) and scene.ring_on.min() == 1
    assert abs(np.mean(scene.habitat == birds.World(ring=1.0).habitats[symbol]) - 1 / 7) < 0.05


def test_parts_without_information_are_random():
    world = birds.World(parts=2, dimension=2)
    scene, _, values = _scene(world, group="all")
    silent = ~world.informative
    assert np.array_equal(scene.values[:, ~silent], values[:, ~silent])
    shares = np.stack([np.bincount(scene.values[:, i], minlength=7) for i in np.flatnonzero(silent)]) / COUNT
    assert np.abs(shares - 1 / 7).max() < 0.05


@pytest.mark.parametrize("most", [2, 6])
def test_absence(most):
    lacking = 6 - _scene(birds.World(absence=most))[0].present.sum(1)
    shares = np.bincount(lacking.astype(int), minlength=7) / COUNT
    expected = np.array([0.5] + [0.5 / most] * most + [0] * (6 - most))
    np.testing.assert_allclose(shares, expected, atol=0.05)


@pytest.mark.parametrize("split", ["validation", "test"])
def test_only_training_images_lack_parts(split):
    assert _scene(birds.World(absence=6), split=split)[0].present.min() == 1


def test_images_without_a_bird():
    assert abs(np.mean(_scene(birds.World(empty=0.2))[0].bird) - 0.8) < 0.04


def test_individuals_keep_their_marks_in_another_pose(plain):
    same = np.tile(np.array([[7, 7]], np.uint32), (COUNT, 1))
    scene = _scene(individuals=same)[0]
    assert np.ptp(scene.marks, axis=0).max() == 0 and np.ptp(scene.tint, axis=0).max() == 0
    assert np.array_equal(scene.scale, plain[0].scale) and np.ptp(plain[0].marks, axis=0).min() > 0.9


def test_flock_puts_each_bird_into_a_quarter(plain):
    four = jax.tree.map(lambda a: a[:40].reshape(10, 4, *a.shape[1:]), plain[0])
    flock = birds.flock(four, np.arange(10) % 4 + 1)
    assert np.array_equal(np.asarray(flock.bird).sum(1), np.arange(10) % 4 + 1)
    quarters = (np.asarray(flock.shift) > 0) @ [1, 2]
    assert all(sorted(row) == [0, 1, 2, 3] for row in quarters)
    with pytest.raises(partrep.UserError, match="a flock has 5 birds; expected at most 4"):
        birds.flock(jax.tree.map(lambda a: a[:10].reshape(2, 5, *a.shape[1:]), plain[0]))
