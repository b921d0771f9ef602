"""Image sets: rotated classes, ink turned over, and birds that do not depend on the batch they are rendered in."""

import jax
import numpy as np

from partrep.data import birds, imageset
from partrep.data.source import ArraySource
from partrep.data.transforms import WarpSettings


def _ink() -> ArraySource:
    rng = np.random.default_rng(0)
    images = rng.choice(np.array([0, 255], np.uint8), (3, 8, 8, 1))
    drawer = {"drawer": np.array([1, 2, 1])}
    return ArraySource(images, np.array([0, 0, 1]), ["a", "b"], groups=np.array([4, 4, 7]), attributes=drawer)


def test_rotated_classes_are_quarter_turns_with_labels_of_their_own():
    source = _ink()
    images = imageset.of_arrays(source, 8, rotated=True, attribute="drawer")
    assert len(images) == 12 and images.classes == 8
    batch = images.load(np.array([4, 5, 6, 7]))  # the second drawing, class 0, turned 0 to 3 times
    np.testing.assert_array_equal(batch["label"], [0, 1, 2, 3])
    for turn in range(4):
        np.testing.assert_array_equal(batch["image"][turn], np.rot90(source.images[1], turn))
    np.testing.assert_array_equal(images.labels, [0, 1, 2, 3] * 2 + [4, 5, 6, 7])
    assert images.names[:2] == (source.classes[0], f"{source.classes[0]} at 90 degrees") and len(images.names) == 8
    np.testing.assert_array_equal(images.groups, [4] * 8 + [7] * 4)
    np.testing.assert_array_equal(images.attribute, [1] * 4 + [2] * 4 + [1] * 4)


def test_ink_is_one_and_paper_zero_and_only_training_warps():
    source = _ink()
    images = imageset.of_arrays(source, 8, WarpSettings(shift=0.3))
    batch = images.load(np.arange(3))
    plain = np.asarray(images.decode(batch, None))
    np.testing.assert_array_equal(plain, 1 - source.images / 255)
    warped = np.asarray(images.decode(batch, jax.random.key(0)))
    assert warped.shape == plain.shape and not np.allclose(warped, plain)


def test_a_bird_does_not_depend_on_its_neighbours_in_the_batch():
    images = imageset.of_birds(birds.World(0), "novel", "test", 32)
    together = images.decode(images.load(np.array([3, 700, 20, 5])), None)
    other = images.decode(images.load(np.array([700, 1, 2, 9])), None)
    np.testing.assert_allclose(together[1], other[0], atol=1e-5)


def test_fingerprints_tell_sets_apart():
    world = birds.World(0)
    prints = {
        imageset.of_birds(world, group, split, size).fingerprint
        for group, split, size in (
            ("base", "train", 32),
            ("base", "test", 32),
            ("novel", "test", 32),
            ("novel", "test", 64),
        )
    }
    assert len(prints) == 4
