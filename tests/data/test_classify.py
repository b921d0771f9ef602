"""The three sets of a classification run: the same classes, other images, other surroundings."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest

from partrep import UserError
from partrep.data import birds, classify

SETTINGS = dict(
    name="birds", world=5, level="easy", size=16, images=(3, 2, 2), parts=4, dimension=2, shortcut=0.0, ring=0.0, absence=6
)


def load(**changes):
    return classify.load(SETTINGS | changes)


def sets(data):
    return {"train": data.train, "validation": data.validation, "test": data.test}


def test_the_sets_show_all_classes_in_different_images():
    data = load()
    assert data.group == "all" and data.channels == 3
    keys = {}
    for name, images in sets(data).items():
        count = SETTINGS["images"][("train", "validation", "test").index(name)]
        np.testing.assert_array_equal(np.bincount(images.labels), [count] * 49)
        keys[name] = {tuple(key) for key in images.load(np.arange(len(images)))["keys"]}
        assert len(keys[name]) == len(images)
        np.testing.assert_array_equal(images.class_parts, data.world.classes("all"))
    assert not keys["train"] & keys["test"] | keys["train"] & keys["validation"] | keys["validation"] & keys["test"]
    assert len({images.fingerprint for images in sets(data).values()}) == 3


def test_of_343_classes_the_base_classes_are_taken():
    data = load(dimension=3)
    assert data.group == "base" and data.train.classes == data.test.classes == 196


def test_fingerprints_are_those_of_the_settings():
    prints = {name: images.fingerprint for name, images in sets(load()).items()}
    assert {name: images.fingerprint for name, images in sets(load()).items()} == prints
    for change in ({"world": 6}, {"level": "hard"}, {"size": 32}, {"absence": 0}, {"shortcut": 0.5}, {"ring": 0.5}):
        other = {images.fingerprint for images in sets(load(**change)).values()}
        assert not other & set(prints.values()), change


@pytest.mark.parametrize("twice", ["train", "validation"])
def test_a_set_that_is_there_twice_is_refused(twice):
    data = load()
    with pytest.raises(UserError, match="share images; expected three disjoint sets"):
        dataclasses.replace(data, test=sets(data)[twice])


def test_other_surroundings_only_where_there_is_a_shortcut_to_test():
    assert not load().shifted and not load(ring=0.5).shifted
    data = load(shortcut=0.5)
    assert list(data.shifted) == ["matched", "random", "conflicting"]
    everything = [images.fingerprint for images in (*sets(data).values(), *data.shifted.values())]
    assert len(set(everything)) == 6
    index = np.arange(10) * 9
    for name, images in data.shifted.items():
        np.testing.assert_array_equal(images.labels, data.test.labels)
        batch = images.load(index)  # the same birds
        np.testing.assert_array_equal(batch["keys"], data.test.load(index)["keys"])
        assert images.target is None, name


def test_shifted_images_show_the_same_birds_before_another_habitat():
    data = load(shortcut=0.9)
    batch = data.test.load(np.arange(98))
    names = ("habitat", "attributes", "keypoints")  # nothing is painted for these

    def facts(images):
        return jax.device_get(jax.jit(lambda b: {name: getattr(images.truth(b), name) for name in names})(batch))

    seen = {name: facts(images) for name, images in data.shifted.items()}
    for name in names[1:]:
        np.testing.assert_array_equal(seen["matched"][name], seen["conflicting"][name])
        np.testing.assert_array_equal(seen["matched"][name], seen["random"][name])
    own = data.world.habitats[data.world.symbols("all")[batch["label"]]]
    np.testing.assert_array_equal(seen["matched"]["habitat"], own)
    assert not (seen["conflicting"]["habitat"] == own).any()
    assert 5 < (seen["random"]["habitat"] == own).sum() < 25  # a seventh of 98


def test_training_birds_are_told_by_whether_their_habitat_is_their_classs():
    data = load(shortcut=0.5, images=(8, 2, 2))
    batch = data.train.load(np.arange(len(data.train)))
    habitat = np.asarray(birds.sample(data.world, batch["keys"], batch["values"]).habitat)
    matched = np.asarray(data.train.matched(batch))
    own = data.world.habitats[data.world.symbols("all")[batch["label"]]]
    np.testing.assert_array_equal(matched, habitat == own)
    assert matched.dtype == bool and abs(matched.mean() - (0.5 + 0.5 / 7)) < 0.08
    conflicting = data.shifted["conflicting"]
    assert not np.asarray(conflicting.matched(conflicting.load(np.arange(98)))).any()
    assert load().train.matched is None


def test_targets_only_where_training_birds_lack_parts():
    data = load()
    assert data.train.target is not None and data.validation.target is None and data.test.target is None
    batch = data.train.load(np.arange(0, 147, 2))
    target = np.asarray(jax.jit(data.train.target)(batch))
    np.testing.assert_allclose(target.sum(1), 1, atol=1e-6)
    assert (target[np.arange(len(target)), batch["label"]] > 0).all()
    whole = target.max(1) > 0.999
    assert 0.3 < whole.mean() < 1 and (target[whole].argmax(1) == batch["label"][whole]).all()
    assert all(images.target is None for images in sets(load(absence=0)).values())


def test_unknown_data_is_refused():
    with pytest.raises(UserError, match="unknown data to classify 'cars'; known: birds"):
        load(name="cars")
