"""The classes of birds: distances, what the parts say about the class, the habitat's symbol."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest

from partrep.data.birds import World, code


def _least_distance(words: np.ndarray) -> int:
    apart = (words[:, None] != words[None]).sum(-1)
    return int(apart[~np.eye(len(words), dtype=bool)].min())


def test_evaluate_by_hand():
    # 3 + 5x + x^2 at x = 2: 3 + 10 + 4 = 17 = 3 mod 7; at 6 = -1: 3 - 5 + 1 = -1 = 6
    assert code.evaluate(np.array([[3, 5, 1]]), np.array([0, 2, 6])).tolist() == [[3, 3, 6]]


@pytest.mark.parametrize("seed", [0, 1, 100])
def test_classes_differ_in_at_least_four_parts(seed):
    words = World(seed).classes("all")
    assert words.shape == (343, 6)
    assert _least_distance(words) == 4


def test_any_three_parts_identify_the_class():
    words = World().classes("all")
    for parts in itertools.combinations(range(6), 3):
        assert len(np.unique(words[:, parts], axis=0)) == 343
    for parts in itertools.combinations(range(6), 2):  # and any two say nothing more than 49 things
        assert np.unique(words[:, parts], axis=0, return_counts=True)[1].tolist() == [7] * 49


@pytest.mark.parametrize("parts", [2, 3, 4, 6])
def test_worlds_of_49_classes(parts):
    world = World(5, parts=parts, dimension=2)
    words = world.classes("all")[:, world.informative]
    assert words.shape == (49, parts)
    assert _least_distance(words) == parts - 1


@pytest.mark.parametrize("world", [World(), World(4), World(3, parts=4, dimension=2)], ids=str)
def test_extension_gives_the_habitats_symbol(world):
    parts, weights = world.extension
    assert np.array_equal(world.classes("all")[:, parts] @ weights % 7, world.symbols("all"))


def test_posterior_against_counting():
    codes = World().classes("base")
    rng = np.random.default_rng(0)
    label, visible = rng.integers(196, size=40), rng.random((40, 6)) < 0.4
    got = np.asarray(code.posterior(jnp.asarray(codes), jnp.asarray(codes[label]), jnp.asarray(visible)))
    for row, c, seen in zip(got, label, visible):
        agree = [k for k in range(196) if all(codes[k, i] == codes[c, i] for i in range(6) if seen[i])]
        expected = np.zeros(196)
        expected[agree] = 1 / len(agree)
        np.testing.assert_allclose(row, expected, rtol=1e-6)
        if seen.sum() >= 3:
            assert agree == [c]


def test_posterior_ignores_parts_without_information_and_knows_impossible_birds():
    codes = World(parts=3, dimension=2).classes("all")
    silent = np.flatnonzero(codes[0] < 0)
    values = np.where(codes[5] < 0, 6, codes[5])
    everything = np.asarray(code.posterior(codes, values, np.ones(6, bool)))
    assert everything[5] == 1
    nothing = np.asarray(code.posterior(codes, values, np.isin(np.arange(6), silent)))
    np.testing.assert_allclose(nothing, 1 / 49, rtol=1e-6)
    full = World().classes("all")
    chimera = full[0].copy()
    chimera[2] = (chimera[2] + 1) % 7
    assert np.asarray(code.posterior(full, chimera, np.ones(6, bool))).sum() == 0
