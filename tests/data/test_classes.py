"""Batches of P classes with K examples: classes differ, examples differ where they can, processes read slices."""

import numpy as np
import pytest

from partrep import UserError
from partrep.data.classes import ClassBalanced

LABELS = np.array([3, 0, 3, 1, 0, 1, 1, 3, 5, 5, 0, 5, 7])  # three of each class, one of class 7


def test_a_batch_has_k_examples_of_each_of_p_classes():
    batches, seen = ClassBalanced(LABELS, classes=3, examples=2, seed=0), set()
    for t in range(300):
        index = batches[t]["index"].reshape(3, 2)
        labels = LABELS[index]
        assert (labels[:, 0] == labels[:, 1]).all() and len(set(labels[:, 0])) == 3
        assert (index[:, 0] != index[:, 1])[labels[:, 0] != 7].all()
        seen |= set(index.reshape(-1).tolist())
    assert seen == set(range(len(LABELS)))


def test_every_class_is_as_likely_as_the_others():
    batches = ClassBalanced(LABELS, classes=2, examples=2, seed=1)
    drawn = np.concatenate([np.unique(LABELS[batches[t]["index"]]) for t in range(2000)])
    share = np.unique(drawn, return_counts=True)[1] / 2000
    np.testing.assert_allclose(share, 2 / 5, atol=0.045)  # four standard deviations


def test_a_small_class_gives_its_examples_equally_often():
    index = ClassBalanced(np.array([0, 0, 0, 1]), classes=2, examples=5, seed=0)[3]["index"]
    counts = np.bincount(index, minlength=4)
    assert counts[3] == 5 and sorted(counts[:3]) == [1, 2, 2]


def test_processes_read_slices_of_one_batch_and_a_batch_hangs_on_seed_and_step_alone():
    whole = ClassBalanced(LABELS, 4, 2, seed=1)
    halves = [ClassBalanced(LABELS, 4, 2, 1, p, 2)[5]["index"] for p in range(2)]
    np.testing.assert_array_equal(np.concatenate(halves), whole[5]["index"])
    assert not np.array_equal(whole[5]["index"], whole[6]["index"])
    np.testing.assert_array_equal(whole[5]["index"], ClassBalanced(LABELS, 4, 2, seed=1)[5]["index"])


@pytest.mark.parametrize(
    ("classes", "examples", "processes", "message"),
    [
        (1, 2, 1, "batches of 1 classes with 2 examples each; expected at least 2 of both"),
        (2, 1, 1, "batches of 2 classes with 1 examples"),
        (6, 2, 1, "batches of 6 classes; expected at most 5"),
        (3, 3, 2, "batch size 9 with 2 processes"),
    ],
)
def test_mistakes_are_user_errors(classes, examples, processes, message):
    with pytest.raises(UserError, match=message):
        ClassBalanced(LABELS, classes, examples, 0, 0, processes)
