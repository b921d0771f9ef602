"""The parser of config arguments."""

import pytest

import partrep
from configs import common

PRESETS, KEYS = ("a", "b"), {"size": ("32", "64"), "path": ()}


@pytest.mark.parametrize(
    "argument, expected",
    [
        (None, ("a", False, {"size": "32", "path": ""})),
        ("", ("a", False, {"size": "32", "path": ""})),
        ("smoke", ("a", True, {"size": "32", "path": ""})),
        ("b", ("b", False, {"size": "32", "path": ""})),
        (" b , smoke , size=64 ", ("b", True, {"size": "64", "path": ""})),
        ("path=x/y,smoke", ("a", True, {"size": "32", "path": "x/y"})),
    ],
)
def test_arguments(argument, expected):
    assert common.parse(argument, PRESETS, KEYS) == expected


@pytest.mark.parametrize(
    "argument, message",
    [
        ("c", "unknown preset 'c'; expected one of a, b, then smoke or key=value"),
        ("smoke,b", "unknown preset 'b'"),
        ("b,a", "unknown preset 'a'"),
        ("colour=red", "unknown key 'colour' in the config argument; expected one of size, path"),
        ("size=48", "unknown value size='48'; expected one of 32, 64"),
        ("size=", "unknown value size=''"),
        ("a,path=x", "preset 'a' has no key 'path'; expected it with b"),
    ],
)
def test_mistakes(argument, message):
    with pytest.raises(partrep.UserError) as raised:
        common.parse(argument, PRESETS, KEYS, {"path": ("b",)})
    assert message in str(raised.value)


def test_one_cycle_is_an_optimiser_of_the_loop():
    from partrep.train.optimizer import Optimizer, make_schedule
    from partrep.train.settings import from_mapping

    rate = make_schedule(from_mapping(Optimizer, common.one_cycle(0.01)), 100)
    assert float(rate(20)) == pytest.approx(0.01)
    assert float(rate(100)) < 1e-3
