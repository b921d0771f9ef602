"""Known and unknown classes: which images go where, and that nothing unknown is ever learned from."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from partrep import UserError
from partrep.data import birds, imageset
from partrep.data.openset import EMPTY, KNOWN, NOVEL, RESERVED, UNKNOWN, load, with_reserved
from partrep.data.source import ArraySource

MNIST = dict(name="mnist", size=28, validation_share=0.25, warp={})


@pytest.fixture
def digits(tmp_path):
    """A file like that of Keras; the first pixel of each digit says its class, the next its number."""
    arrays = {}
    for part, count in (("train", 80), ("test", 30)):
        labels = (np.arange(count) % 10).astype(np.uint8)
        images = np.zeros((count, 28, 28), np.uint8)
        images[:, 0, 0], images[:, 0, 1] = 10 * labels, np.arange(count) + (100 if part == "test" else 0)
        arrays |= {f"x_{part}": images, f"y_{part}": labels}
    np.savez(tmp_path / "mnist.npz", **arrays)
    return tmp_path


def pixels(images):
    found = np.asarray(images.decode(images.load(np.arange(len(images))), None)) * 255
    return np.rint(found[:, 0, :2, 0]).astype(int)


@pytest.mark.parametrize("trial", [0, 3])
def test_mnist_by_class(digits, trial):
    data = load({**MNIST, "dir": str(digits)}, trial)
    known = sorted(KNOWN["mnist"][trial])
    assert (len(data.train), len(data.validation), len(data.known), len(data.unknown[UNKNOWN])) == (36, 12, 18, 12)
    for images in (data.train, data.validation, data.known):
        np.testing.assert_array_equal(pixels(images)[:, 0] // 10, np.array(known)[images.labels])
        assert images.classes == 6 and images.names == tuple(map(str, known))
    others = set(pixels(data.unknown[UNKNOWN])[:, 0] // 10)
    assert others == set(range(10)) - set(known) and data.altered is None
    learned, held_out, tested = (set(pixels(s)[:, 1]) for s in (data.train, data.validation, data.known))
    assert not learned & held_out and max(learned | held_out) < 100 <= min(tested)


def test_trials_are_six_of_ten():
    for lists in KNOWN.values():
        assert [len(set(known)) for known in lists] == [6] * 5 and {c for known in lists for c in known} <= set(range(10))


def test_cifar10_reads_class_folders(tmp_path):
    rng = np.random.default_rng(0)
    for part, count in (("train", 4), ("test", 2)):
        for name in "abcdefghij":
            folder = tmp_path / part / name
            folder.mkdir(parents=True)
            for i in range(count):
                Image.fromarray(rng.integers(0, 255, (32, 32, 3), np.uint8)).save(folder / f"{i}.png")
    data = load(dict(name="cifar10", size=32, validation_share=0.25, warp={}, dir=str(tmp_path)), 0)
    assert (len(data.train), len(data.known), len(data.unknown[UNKNOWN]), data.channels) == (18, 12, 8, 3)
    assert data.train.names == tuple("abcdefghij"[c] for c in sorted(KNOWN["cifar10"][0]))
    with pytest.raises(UserError, match="expected a folder with train"):
        load(dict(name="cifar10", size=32, validation_share=0.25, warp={}, dir=str(tmp_path / "train")), 0)


def test_birds_of_three_unknown_kinds():
    data = load(dict(name="birds", world=2, level="easy", size=16, images=(2, 1, 1), warp={}), 1)
    assert (len(data.train), data.train.classes, len(data.unknown[NOVEL])) == (392, 196, 98)
    known, altered = (s.load(np.arange(196))["values"] for s in (data.known, data.unknown[RESERVED]))
    different = known != altered
    np.testing.assert_array_equal(different.sum(1), 1)
    np.testing.assert_array_equal(different.argmax(1), data.altered)
    np.testing.assert_array_equal(known, data.attributes[data.known.labels[:196]])
    assert set(altered[different]) == {birds.RESERVED} and set(data.altered) == set(range(6))
    empty = data.unknown[EMPTY]
    truth = empty.truth(empty.load(np.arange(4)))
    assert not np.any(truth.present) and np.asarray(truth.image).std() > 0
    novel = {tuple(row) for row in data.unknown[NOVEL].class_parts} & {tuple(row) for row in data.train.class_parts}
    assert not novel


def test_a_reserved_value_changes_only_its_part_of_the_picture():
    images = imageset.of_birds(birds.World(1, "easy", images=(1, 1, 1)), "base", "test", 32)
    altered = np.full(len(images), birds.PARTS.index("tail"))
    batches = [s.load(np.arange(3)) for s in (images, with_reserved(images, altered))]
    before, after = (images.truth(batch) for batch in batches)
    changed = np.abs(np.asarray(before.image) - np.asarray(after.image)).max(-1) > 0.02
    tail = 2 + birds.PARTS.index("tail")
    near = (np.asarray(before.part_mask) == tail) | (np.asarray(after.part_mask) == tail)
    assert changed.sum() > 20 and (changed & near).sum() > 0.6 * changed.sum()


@pytest.mark.parametrize(
    "change, trial, message",
    [
        (dict(dir=""), 0, "config.data.dir is ''"),
        (dict(dir="/nowhere"), 0, "expected mnist.npz"),
        ({}, 5, "trial 5 of mnist; expected 0 to 4"),
        (dict(name="svhn"), 0, "unknown open-set data"),
    ],
)
def test_mistakes(digits, change, trial, message):
    with pytest.raises(UserError, match=message):
        load({**MNIST, "dir": str(digits), **change}, trial)


@pytest.mark.parametrize("change, message", [
    (dict(y=lambda y: y + 1), "labels 0 to 10, not digits 0 to 9"),
    (dict(v=lambda v: v * 0.5), "not digits 0 to 9"),
    (dict(x=lambda x: x / np.float32(255)), "images of float32 and uint8, not uint8"),
])  # fmt: skip
def test_arrays_of_another_kind_are_refused(digits, tmp_path, change, message):
    with np.load(digits / "mnist.npz") as file:
        names = {"x": "x_train", "y": "y_train", "u": "x_test", "v": "y_test"}
        arrays = {name: change.get(short, np.asarray)(file[name]) for short, name in names.items()}
    np.savez(tmp_path / "mnist.npz", **arrays)
    with pytest.raises(UserError, match=message):
        load({**MNIST, "dir": str(tmp_path)}, 0)


def test_settings_of_other_data_are_missed():
    with pytest.raises(UserError, match="data 'birds' needs config.data.world; expected a preset that has it"):
        load({**MNIST, "name": "birds"}, 0)


def test_a_damaged_file_is_named(digits):
    (digits / "mnist.npz").write_bytes(b"PK\x03\x04 no archive")
    with pytest.raises(UserError, match=r"mnist\.npz is not readable"):
        load({**MNIST, "dir": str(digits)}, 0)


def test_sets_that_share_images_are_refused():
    source = ArraySource(np.zeros((6, 8, 8, 1), np.uint8), np.arange(6) % 3, list("abc"))
    one = imageset.of_arrays(source, 8)
    data = load(dict(name="birds", world=0, level="easy", size=16, images=(1, 1, 1), warp={}), 0)
    with pytest.raises(UserError, match="share images"):
        dataclasses.replace(data, train=one, validation=one)
