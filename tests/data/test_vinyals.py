"""The Vinyals split: sizes, disjoint, seeded."""

from __future__ import annotations

import pytest

from partrep import UserError
from partrep.data.vinyals import vinyals_split


def test_sizes_of_the_protocol_and_disjoint():
    train, validation, test = vinyals_split()
    assert (len(train) + len(validation), len(test)) == (1200, 423)
    assert sorted([*train, *validation, *test]) == list(range(1623))


def test_seeded():
    assert all((a == b).all() for a, b in zip(vinyals_split(seed=1), vinyals_split(seed=1)))
    assert (vinyals_split(seed=1)[0] != vinyals_split(seed=2)[0]).any()


def test_too_few_characters():
    with pytest.raises(UserError, match="found 4 characters"):
        vinyals_split(4)
