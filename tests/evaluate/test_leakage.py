"""The mask classifier: reads the class where the masks code it, and is at chance where they do not."""

from __future__ import annotations

import numpy as np
import pytest

from partrep.evaluate.leakage import mask_leakage

CLASSES, N, STEPS = 4, 256, 150


def masks_and_labels(seed, coded):
    """Masks of three parts over 8x8; where they are coded, a class moves one part's corner of 3x3."""
    rng = np.random.default_rng(seed)
    labels = 10 + rng.integers(0, CLASSES, N)
    masks = (rng.integers(0, 3, (N, 1, 8, 8)) == np.arange(3)[:, None, None]).astype(np.float32)
    if coded:
        for mask, label in zip(masks, labels - 10):
            y, x = 5 * (label // 2), 5 * (label % 2)
            mask[:, y : y + 3, x : x + 3] = np.array([0.0, 1.0, 0.0])[:, None, None]
    return masks, labels


def leak(coded, seed=3):
    return mask_leakage(*masks_and_labels(0, coded), *masks_and_labels(1, coded), seed=seed, steps=STEPS)


def test_masks_that_code_the_class_are_read():
    assert leak(True) > 0.97


def test_masks_that_do_not_know_the_class_are_at_chance():
    assert abs(leak(False) - 1 / CLASSES) < 0.1  # 3.7 standard errors


def test_one_seed_one_number():
    assert leak(False) == leak(False) != leak(False, seed=4)


def test_labels_that_were_never_seen_are_never_told():
    masks, labels = masks_and_labels(1, True)
    assert mask_leakage(*masks_and_labels(0, True), masks, labels + 100, steps=STEPS) == 0.0


@pytest.mark.parametrize(
    "masks, steps, message",
    [
        (np.zeros((4, 2, 8, 8)), 5, "train_labels has shape"),
        (np.zeros((3, 2, 8, 8)), 0, "0 steps"),
        (np.zeros((3, 1, 8, 8)), 5, "test_masks has shape"),
    ],
)
def test_mistakes(masks, steps, message):
    with pytest.raises(ValueError, match=message):
        mask_leakage(masks, np.arange(3), np.zeros((3, 2, 8, 8)), np.arange(3), steps=steps)
