"""Stages: their order is checked; keys are functions of (seed, step, name)."""

from __future__ import annotations

import jax
import pytest

from partrep import UserError
from partrep.train.stages import Stage, check_stages, start_step, step_key, stream


def stage(name: str, until: int) -> Stage:
    return Stage(name, until, loss=None, batches=None)


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ([], "found no training stage; expected at least one"),
        ([stage("a", 5), stage("a", 9)], "found stages named a, a; expected different names"),
        (
            [stage("a", 5), stage("b", 4)],
            r"found stages that end at steps \[5, 4\]; expected steps that do not fall",
        ),
        ([stage("a", -1)], r"\[-1\]"),
    ],
)
def test_mistakes_are_user_errors(stages, message):
    with pytest.raises(UserError, match=message):
        check_stages(stages)


def test_stages_start_where_the_one_before_ends():
    stages = [stage("data", 0), stage("main", 5), stage("head", 9)]
    check_stages(stages)
    assert [start_step(stages, index) for index in range(3)] == [0, 0, 5]


def test_keys_differ_by_seed_step_and_name_and_never_change():
    keys = [
        step_key(0, 1),
        step_key(0, 2),
        step_key(1, 1),
        stream(step_key(0, 1), "a"),
        stream(step_key(0, 1), "b"),
    ]
    assert len({tuple(jax.random.key_data(key).tolist()) for key in keys}) == 5
    assert (step_key(0, 1) == jax.jit(lambda step: step_key(0, step))(1)).all()
    # Recorded: a resumed or repeated run must draw the same numbers in every version of this library.
    assert jax.random.key_data(stream(step_key(7, 3), "dropout")).tolist() == RECORDED


RECORDED = [2685232904, 4161269239]
