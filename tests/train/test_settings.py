"""Settings from mappings."""

from __future__ import annotations

import dataclasses

import ml_collections
import pytest

from partrep import UserError
from partrep.train.settings import from_mapping


@dataclasses.dataclass(frozen=True)
class Pace:
    steps: int = 10
    name: str = "walk"


def test_mappings_and_instances():
    assert from_mapping(Pace, {"steps": 3}) == Pace(3)
    assert from_mapping(Pace, ml_collections.ConfigDict({"name": "run"})) == Pace(name="run")
    assert from_mapping(Pace, Pace(4)) == Pace(4)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"step": 3}, "Pace settings: unknown 'step'; known: name, steps"),
        ([1], "found list; expected a mapping"),
    ],
)
def test_mistakes_are_user_errors(values, message):
    with pytest.raises(UserError, match=message):
        from_mapping(Pace, values)
