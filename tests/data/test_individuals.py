"""Individual birds: what images of one bird share, what they do not, and what only their class shares."""

import dataclasses

import jax
import numpy as np
import pytest

from partrep import UserError
from partrep.data import birds
from partrep.data.individuals import of_individuals

WORLD = birds.World(0)


@pytest.fixture(scope="module")
def flock():
    return of_individuals(WORLD, "novel", "test", each=2, images=4, size=16)


@pytest.fixture(scope="module")
def scenes(flock, hasty) -> birds.Scene:
    """Of the first two classes: two birds each, four images a bird."""
    batch = flock.load(np.arange(16))
    made = birds.sample(WORLD, batch["keys"], batch["values"], individuals=batch["bird"])
    return jax.tree.map(np.asarray, dataclasses.replace(made, habitat=batch["habitat"]))


def test_labels_are_birds_and_groups_their_classes(flock):
    assert len(flock) == 98 * 2 * 4 and flock.classes == 196
    np.testing.assert_array_equal(flock.labels, np.repeat(np.arange(196), 4))
    np.testing.assert_array_equal(flock.groups, np.repeat(np.arange(98), 8))
    assert flock.names[:2] == ("p001, bird 1", "p001, bird 2") or len(set(flock.names)) == 196


def test_images_of_a_bird_share_its_body_and_nothing_else(scenes):
    tint, marks = scenes.tint.reshape(4, 4, 3), scenes.marks.reshape(4, 4, 6)
    for own in (tint, marks):
        np.testing.assert_array_equal(own, np.broadcast_to(own[:, :1], own.shape))
        assert len(np.unique(own[:, 0], axis=0)) == 4  # no two birds alike, of one class or not
    for other in (scenes.scale, scenes.angle, scenes.light[:, 0], scenes.ground[:, 0]):
        assert len(np.unique(other)) == 16
    values = scenes.values.reshape(2, 8, 6)
    np.testing.assert_array_equal(values, np.broadcast_to(values[:, :1], values.shape))  # birds of a class look alike


def test_a_bird_is_in_no_habitat_twice(flock):
    habitats = np.asarray(flock.load(np.arange(len(flock)))["habitat"]).reshape(-1, 4)
    assert all(len(set(row)) == 4 for row in habitats.tolist())
    share = np.bincount(habitats.ravel(), minlength=7) / habitats.size
    assert np.abs(share - 1 / 7).max() < 0.03


def test_birds_and_images_of_sets_are_different():
    sets = [of_individuals(WORLD, *which, 2, 3, 16) for which in (("base", "train"), ("base", "validation"), ("novel", "test"))]
    keys = [{tuple(k) for k in s.load(np.arange(len(s)))[name].tolist()} for s in sets for name in ("keys", "bird")]
    assert sum(map(len, keys)) == len(set().union(*keys))
    assert len({s.fingerprint for s in sets}) == 3


def test_sets_of_a_world_share_their_renderer(flock):
    assert of_individuals(WORLD, "base", "train", 3, 2, 16).decode is flock.decode


def test_as_many_images_as_there_are_habitats():
    assert len(of_individuals(WORLD, "validation", "test", 1, 7, 16)) == 49 * 7
    for each, images in ((0, 2), (1, 8), (1, 0)):
        with pytest.raises(UserError, match="expected at least one bird, and 1 to 7 images"):
            of_individuals(WORLD, "novel", "test", each, images, 16)
