"""Splits: disjoint, covering, deterministic, each class in each part, copies on one side."""

import numpy as np
import pytest

from partrep import UserError
from partrep.data.photo_splits import per_class, split, stratified, validation_from
from partrep.data.photos import PhotoSet, from_folder, joined


def random_labels(rng):
    """Labels of up to six classes of 5 to 40 photos, with gaps in the numbering."""
    names = rng.choice(20, rng.integers(1, 7), replace=False)
    return rng.permutation(np.repeat(names, rng.integers(5, 41, len(names)))).astype(np.int32)


def random_copies(rng, n):
    """Some photos have a copy or two, in other classes too."""
    copies = np.arange(n)
    for _ in range(n // 8):
        a, b = rng.integers(n, size=2)
        copies[b] = copies[a]
    return rng.permutation(1000)[copies]


def assert_parts(labels, whole, *parts):
    assert np.array_equal(np.sort(np.concatenate(parts)), np.sort(whole))
    for part in parts:
        assert set(labels[part]) == set(labels[whole]) and (np.diff(part) > 0).all()


@pytest.mark.parametrize("trial", range(40))
def test_parts_are_disjoint_covering_and_hold_every_class(trial):
    rng = np.random.default_rng(trial)
    labels = random_labels(rng)
    whole, fraction, seed = np.arange(len(labels)), rng.uniform(0.05, 0.6), int(rng.integers(1000))
    classes, sizes = np.unique(labels, return_counts=True)
    draws = {
        "stratified": lambda seed, copies=None: stratified(labels, fraction, seed, copies),
        "per_class": lambda seed, copies=None: per_class(labels, 3, seed, copies),
    }
    for name, draw in draws.items():
        train, test = draw(seed)
        assert_parts(labels, whole, train, test)
        assert all(np.array_equal(a, b) for a, b in zip((train, test), draw(seed)))
        counts = [(labels[test] == c).sum() for c in classes]
        expected = sizes - 3 if name == "per_class" else np.clip(np.rint(fraction * sizes), 1, sizes - 1)
        assert counts == expected.tolist()
        kept, validation = validation_from(labels, train, fraction, seed)
        assert_parts(labels, train, kept, validation)


@pytest.mark.parametrize("trial", range(20))
def test_copies_stay_on_one_side(trial):
    rng = np.random.default_rng(100 + trial)
    labels = np.repeat(np.arange(4), rng.integers(15, 30, 4))
    copies = random_copies(rng, len(labels))
    for train, test in (stratified(labels, 0.3, trial, copies), per_class(labels, 8, trial, copies)):
        assert_parts(labels, np.arange(len(labels)), train, test)
        assert not set(copies[train]) & set(copies[test])
        kept, validation = validation_from(labels, train, 0.3, trial, copies)
        assert_parts(labels, train, kept, validation)
        assert not set(copies[kept]) & set(copies[validation])
    assert np.bincount(labels[per_class(labels, 8, trial, copies)[0]]).max() <= 8


def test_photos_that_are_all_copies():
    labels, pairs = np.zeros(4, int), np.array([0, 0, 1, 1])
    train, test = stratified(labels, 0.25, 0, pairs)
    assert len(train) == len(test) == 2 and not set(pairs[train]) & set(pairs[test])
    with pytest.raises(UserError, match="class 0 has 4 photos, copies among them; expected two different ones"):
        stratified(labels, 0.25, 0, np.zeros(4, int))


def test_seeds_and_purposes_draw_independently():
    labels = np.repeat(np.arange(3), 50)
    tests = {tuple(stratified(labels, 0.2, seed)[1]) for seed in range(20)}
    assert len(tests) == 20
    often = np.bincount(np.concatenate([stratified(labels, 0.2, seed)[1] for seed in range(300)]), minlength=150)
    assert abs(often.mean() - 60) < 1e-9 and often.min() > 30 and often.max() < 95
    assert not np.array_equal(stratified(labels, 0.2, 7)[1], validation_from(labels, np.arange(150), 0.2, 7)[1])


def test_bad_requests_are_named():
    labels = np.array([0, 0, 0, 1])
    with pytest.raises(UserError, match="class 1 has 1 photos"):
        stratified(labels, 0.5, 0)
    with pytest.raises(UserError, match="a fraction of 1.0 of the photos"):
        stratified(labels, 1.0, 0)
    with pytest.raises(UserError, match="1 photos of each class to train on, but class 1 has 1 photos"):
        per_class(labels, 1, 0)
    with pytest.raises(UserError, match="0 photos of each class to train on"):
        per_class(labels, 0, 0)


@pytest.fixture
def folder(tmp_path, write_archive, encode):
    """A zip with the letters and photos per class given."""

    def write(name, classes, count, start):
        files = {
            f"{c}/{i}.png": encode(np.full((2, 2), start + 20 * k + i, np.uint8))
            for k, c in enumerate(classes)
            for i in range(count)
        }
        return write_archive(tmp_path / name, files)

    return write


def test_splits_of_a_set(folder):
    photos = joined(folder("train.zip", "ab", 12, 0), folder("test.zip", "ab", 3, 100))
    given = split(photos, "given")
    assert given.test.tolist() == list(range(24, 30)) and len(given.validation) == 2
    for name in ("stratified", "per_class"):
        supplied = split(photos, name, 0, count=10)
        assert all(np.array_equal(getattr(supplied, k), getattr(given, k)) for k in ("train", "validation", "test"))
        parts = [split(photos, name, r, count=10) for r in (1, 2)]
        assert not np.array_equal(parts[0].test, parts[1].test)
        for part in parts:
            assert_parts(photos.labels, np.arange(30), part.train, part.validation, part.test)
        assert len(parts[0].test) == (6 if name == "stratified" else 10)
    alone = from_folder(folder("alone.zip", "ab", 12, 0))
    assert len(split(alone, "stratified", 0, test_fraction=0.25).test) == 6
    with pytest.raises(UserError, match=r"alone\.zip has no split of its own"):
        split(alone, "given")
    with pytest.raises(UserError, match="resplit 1 of 'given'; expected 0$"):
        split(photos, "given", 1)
    with pytest.raises(UserError, match="resplit -1 of 'per_class'; expected 0 or more"):
        split(photos, "per_class", -1)
    with pytest.raises(UserError, match="unknown split of the photos 'random'; known: given, per_class, stratified"):
        split(photos, "random")


def test_labels_of_a_part_need_not_be_all_classes(folder):
    photos = from_folder(folder("x.zip", "abc", 6, 0))
    part = photos.take(np.flatnonzero(photos.labels != 1))
    made = split(part, "stratified", 1)
    assert isinstance(part, PhotoSet) and set(part.labels[made.test]) == {0, 2}


def test_the_resplits_of_the_real_sets(shared):
    flowers = joined(shared / "data/flowers17/train.zip", shared / "data/flowers17/test.zip")
    assert len(split(flowers, "stratified", 0).test) == len(split(flowers, "stratified", 9).test) == 272
    scenes = shared / "data/scene15"
    with pytest.raises(UserError, match="11 of the training photos are test photos too"):
        joined(scenes / "train.zip", scenes / "test.zip")
    photos = joined(scenes / "train.zip", scenes / "test.zip", drop_copies=True)
    assert len(photos) == 4485 - 11
    made = split(photos, "per_class", 3)
    assert len(made.test) == 4485 - 11 - 1500 and len(made.train) + len(made.validation) == 1500
    sides = [set(photos.copies[part]) for part in (made.train, made.validation, made.test)]
    assert not (sides[0] & sides[1] or sides[0] & sides[2] or sides[1] & sides[2])
