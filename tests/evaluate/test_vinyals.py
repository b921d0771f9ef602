"""The Vinyals split: sizes, disjoint, seeded; quarter turns are classes of their own."""

from __future__ import annotations

import numpy as np
import pytest

from partrep import UserError
from partrep.evaluate.vinyals import quarter_turns, vinyals_split


def test_sizes_of_the_protocol_and_disjoint():
    train, test = vinyals_split()
    assert (len(train), len(test)) == (1200, 423)
    assert sorted([*train, *test]) == list(range(1623))


def test_seeded():
    assert (vinyals_split(seed=1)[0] == vinyals_split(seed=1)[0]).all()
    assert (vinyals_split(seed=1)[0] != vinyals_split(seed=2)[0]).any()
    with pytest.raises(UserError, match="both sides"):
        vinyals_split(10, 10)


def test_quarter_turns():
    images = np.random.default_rng(0).random((3, 4, 4, 1))
    turned, labels = quarter_turns(images, np.array([0, 1, 1]))
    assert turned.shape == (12, 4, 4, 1) and labels.tolist() == [0, 1, 1, 2, 3, 3, 4, 5, 5, 6, 7, 7]
    np.testing.assert_array_equal(turned[6:9], images[:, ::-1, ::-1])
    np.testing.assert_array_equal(np.rot90(turned[3:6], -1, axes=(1, 2)), images)
