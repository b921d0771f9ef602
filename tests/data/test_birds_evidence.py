"""The class posterior of an image, against Bayes' rule written out in float64, class by class."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from partrep.data import birds
from partrep.data.birds.world import PARTS

WORLD = birds.World(3, dimension=2, parts=4, shortcut=0.5, ring=0.5, absence=6, images=(4, 1, 1))
LABELS = WORLD.split("novel", "train").labels


@pytest.fixture(scope="module")
def scene():
    """Training birds, of which half lack parts."""
    return draw(WORLD, np.arange(len(LABELS)))


def draw(world, rows):
    table = world.split("novel", "train")
    return jax.device_get(birds.sample(world, table.keys[rows], table.values[rows]))


def posterior(world, group, scene):
    return np.asarray(_posterior(world, group, scene))


_posterior = jax.jit(birds.class_posterior, static_argnums=(0, 1))


def chances(seen, own, strength):
    """P(seen | own symbol): the class's own symbol with the strength, else one of seven at random."""
    return strength * (seen == own) + (1 - strength) / 7


def bayes(world, group, scene):
    """Counts over classes, one image and one class at a time: [n,C] f64, rows of zeros where nothing is possible."""
    codes, symbols = world.classes(group), world.symbols(group)
    joint = np.zeros((len(scene.habitat), len(codes)))
    for i, c in np.ndindex(joint.shape):
        likelihood = 1.0
        for part in range(len(PARTS)):
            if scene.present[i, part] and scene.bird[i]:
                value = scene.values[i, part]
                likelihood *= 1 / 7 if codes[c, part] < 0 else float(value == codes[c, part])
        likelihood *= chances(list(world.habitats).index(scene.habitat[i]), symbols[c], world.shortcut)
        if scene.ring_on[i] and scene.bird[i]:
            likelihood *= chances(scene.ring[i], symbols[c], world.ring)
        joint[i, c] = likelihood
    return joint / np.maximum(joint.sum(1, keepdims=True), 1e-300)


@pytest.mark.parametrize("strength", [(0.5, 0.5), (0.9, 0.0), (0.0, 0.9)])
def test_bayes(scene, strength):
    world = dataclasses.replace(WORLD, shortcut=strength[0], ring=strength[1])
    bird = np.where(np.arange(len(LABELS)) % 5, scene.bird, 0)  # every fifth image shows none
    seen = dataclasses.replace(scene, bird=np.float32(bird))
    found, expected = posterior(world, "novel", seen), bayes(world, "novel", seen)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-5)
    assert (found[np.arange(len(LABELS)), LABELS] > 0).all()
    assert 0.1 < (found.max(1) < 0.99).mean() < 0.9  # some images leave it open


def test_the_posterior_is_calibrated():
    """Whoever guesses by it is right as often as it says; and those guesses are of images of this very world."""
    world = dataclasses.replace(WORLD, images=(200, 1, 1))
    labels = world.split("novel", "train").labels
    found = posterior(world, "novel", draw(world, np.arange(len(labels))))
    truth, right = found[np.arange(len(labels)), labels], found.argmax(1) == labels
    assert truth.mean() == pytest.approx((found**2).sum(1).mean(), abs=0.015)
    assert right.mean() == pytest.approx(found.max(1).mean(), abs=0.015)
    for low, high in ((0.1, 0.4), (0.4, 0.9)):
        unsure = (found.max(1) > low) & (found.max(1) < high)
        assert unsure.sum() > 100
        assert right[unsure].mean() == pytest.approx(found.max(1)[unsure].mean(), abs=0.1)


def test_without_shortcut_and_ring_the_parts_alone_tell(scene):
    world = dataclasses.replace(WORLD, shortcut=0.0, ring=0.0)
    expected = birds.posterior(jnp.asarray(world.classes("novel")), scene.values, scene.present > 0)
    np.testing.assert_allclose(posterior(world, "novel", scene), expected, atol=1e-6)


def test_a_certain_habitat_that_contradicts_the_parts_is_outvoted_by_them(scene):
    world = dataclasses.replace(WORLD, shortcut=1.0, ring=0.0)
    own = world.habitats[world.symbols("novel")[LABELS]]
    for habitat in (own, (own + 3) % 7):
        whole = dataclasses.replace(scene, habitat=habitat, present=np.ones_like(scene.present))
        np.testing.assert_array_equal(posterior(world, "novel", whole), np.eye(14)[LABELS])


def test_without_parts_a_certain_habitat_leaves_the_classes_of_its_symbol(scene):
    world = dataclasses.replace(WORLD, shortcut=1.0, ring=0.0)
    symbols = world.symbols("novel")
    bare = dataclasses.replace(scene, present=np.zeros_like(scene.present), habitat=world.habitats[symbols[LABELS]])
    same = symbols[LABELS][:, None] == symbols
    np.testing.assert_allclose(posterior(world, "novel", bare), same / same.sum(1, keepdims=True), atol=1e-6)


def test_a_bird_of_no_class_has_a_row_of_zeros(scene):
    part = int(np.flatnonzero(WORLD.informative)[0])
    values = scene.values.copy()
    values[:, part] = (values[:, part] + 1) % 7
    swapped = dataclasses.replace(scene, values=values)
    found, expected = posterior(WORLD, "novel", swapped), bayes(WORLD, "novel", swapped)
    assert 0.1 < expected.any(1).mean() < 0.9 and not found[~expected.any(1)].any()
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_what_the_ring_says_counts_only_where_it_is_seen(scene):
    world = dataclasses.replace(WORLD, shortcut=0.0, ring=0.9)
    ones, none = np.ones_like(scene.bird), np.zeros_like(scene.bird)
    bare = dataclasses.replace(scene, present=np.zeros_like(scene.present))
    cases = {"off": {"ring_on": none}, "on": {"ring_on": ones}, "no bird": {"ring_on": ones, "bird": none}}
    found = {name: posterior(world, "novel", dataclasses.replace(bare, **case)) for name, case in cases.items()}
    np.testing.assert_allclose([found["off"], found["no bird"]], 1 / 14, atol=1e-6)
    own = scene.ring[:, None] == world.symbols("novel")
    assert (np.where(own, found["on"], 0).sum(1) > 0.9).all()
