"""Worlds: splits that do not meet, values equally frequent in each, appearances that differ as the level says."""

import itertools

import numpy as np
import pytest

import partrep
from partrep.data.birds import LEVELS, World
from partrep.data.birds.world import _triples

GROUPS = {"base": 196, "validation": 49, "novel": 98}
SPLITS = {"train": 100, "validation": 20, "test": 30}


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("split", SPLITS)
def test_sizes_and_balance(group, split):
    table = World(2).split(group, split)
    assert table.classes.shape == (GROUPS[group], 6)
    assert np.bincount(table.labels).tolist() == [SPLITS[split]] * GROUPS[group]
    for part in range(6):  # every value equally frequent, and every pair of values of two parts
        assert len(set(np.bincount(table.values[:, part], minlength=7))) == 1
    pairs = table.classes[:, 0] * 7 + table.classes[:, 5]
    assert len(set(np.bincount(pairs, minlength=49))) == 1
    assert len(set(np.bincount(table.symbols, minlength=7))) == 1


def test_groups_share_no_class_and_cover_all():
    world = World(1)
    groups = [world.classes(group) for group in GROUPS]
    together = np.concatenate(groups)
    assert len(np.unique(together, axis=0)) == 343
    assert sorted(map(tuple, together)) == sorted(map(tuple, world.classes("all")))


def test_keys_never_meet():
    keys = [World(seed).split(g, s).keys for seed in (0, 1, 100) for g in GROUPS for s in SPLITS]
    together = np.concatenate(keys)
    assert together.dtype == np.uint32
    assert len(np.unique(together, axis=0)) == len(together) == 3 * 343 * 150


def test_a_key_depends_on_seed_class_and_number_alone():
    few = World(images=(3, 2, 1)).split("all", "train")
    many = World().split("novel", "train")
    names, all_names = World().names("novel"), World().names("all")
    row = {(all_names[c], n): k for c, n, k in zip(few.labels, np.arange(len(few)) % 3, few.keys.tolist())}
    for index in (0, 102, 9701):
        assert row[names[many.labels[index]], index % 100] == many.keys[index].tolist()
    assert len(np.unique(few.ids)) == len(few)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("seed", range(4))
def test_values_differ_in_two_respects_or_more(level, seed):
    world = World(seed, level)
    for triples in world.appearance:
        assert triples.shape == (8, 3)  # the reserved value too
        assert min(np.sum(a != b) for a, b in itertools.combinations(triples, 2)) >= 2
        assert len(np.unique(triples[:, 0])) <= LEVELS[level]["colours"]


def test_too_few_looks_for_eight_values():
    with pytest.raises(ValueError, match=r"\[2, 3, 3\] colours, shapes and textures are too few"):
        _triples(np.random.default_rng(0), dict(colours=2, shapes=3, textures=3))


def test_the_seed_draws_appearances_roles_and_habitats():
    one, two = World(0, parts=3, dimension=2), World(7, parts=3, dimension=2)
    assert not np.array_equal(one.appearance, two.appearance)
    assert not np.array_equal(one.points, two.points)
    assert not np.array_equal(one.habitats, two.habitats)
    assert not np.array_equal(one.informative, two.informative)
    assert np.array_equal(World(7, parts=3, dimension=2).appearance, two.appearance)
    assert sorted(one.points.tolist()) == sorted(one.habitats.tolist()) == list(range(7))


def test_worlds_are_static_arguments():
    assert hash(World(3)) == hash(World(3)) and World(3) == World(3) != World(4)


def test_zipf_keeps_the_number_of_images():
    table = World(zipf=1.0).split("base", "train")
    counts = np.bincount(table.labels)
    assert abs(len(table) - 19600) < 100 and counts.min() >= 1
    ordered = np.sort(counts)[::-1]
    np.testing.assert_allclose(ordered[0] / ordered[9], 10, rtol=0.02)
    assert len(World(zipf=1.0).split("base", "test")) == 196 * 30


@pytest.mark.parametrize(
    "wrong, message",
    [
        (dict(level="simple"), "unknown level of birds 'simple'; known: easy, hard, standard"),
        (dict(seed=-1), "world -1 of birds; expected a number from 0 to 4294967295"),
        (dict(seed=2**32), "world 4294967296 of birds"),
        (dict(dimension=4), "dimension is 4; expected 2"),
        (dict(parts=2), "parts is 2; expected 3 to 6"),
        (dict(parts=7), "parts is 7"),
        (dict(shortcut=1.5), "shortcut is 1.5; expected a number from 0 to 1"),
        (dict(absence=7), "absence is 7; expected 0 to 6"),
    ],
)
def test_wrong_settings_are_refused(wrong, message):
    with pytest.raises(partrep.UserError, match=message):
        World(**wrong)


def test_unknown_group_and_split_are_refused():
    with pytest.raises(partrep.UserError, match="unknown group of classes 'new'; known: all, base"):
        World().split("new", "train")
    with pytest.raises(partrep.UserError, match="unknown split 'dev'; known: train, validation, test"):
        World().split("base", "dev")
