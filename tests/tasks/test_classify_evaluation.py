"""What a classification run makes of its scores: flat numbers, the table of explanations, the sentence above."""

from __future__ import annotations

import numpy as np
import pytest

from partrep.explain.auditing import LOWER_IS_BETTER, SCORES, Audit
from partrep.explain.credit import BASELINES
from partrep.metrics.intervals import Interval, bootstrap_interval
from partrep.report.content import Result
from partrep.tasks.classify_evaluation import (
    audit_table,
    by_class,
    by_row,
    conclusion,
    flat,
    own_explanation,
    parameter_count,
    result_rows,
)

NAMES = ("contributions", "location contributions", "layer-cam", "untrained: location contributions", *BASELINES, "oracle")
MODEL = {"accuracy": 0.5, "agreement": 0.9, "interaction": 0.1, "part_effect": 2.0, "recolour_effect": 0.75,
         "background_effect": 0.5, "ring_effect": 0.25, "ceiling": 0.4}  # fmt: skip


def around(mean: float) -> Interval:
    return Interval(mean, mean - 0.1, mean + 0.1)


def fabricated(valid: bool = True, extrapolated: bool = False, **correctness: float) -> Audit:
    """An audit of every kind of name, with correctness 0.1 where nothing else is said and 1 for the oracle."""
    means = {name: 0.1 for name in NAMES} | {"oracle": 1.0} | correctness
    scores = {name: {"correctness": around(mean), "slope": Interval(2.0, 2.0, 2.0)} for name, mean in means.items()}
    scores["layer-cam"]["spill"] = around(0.25)
    images = {name: np.full(4, mean) for name, mean in means.items()}
    return Audit(MODEL | {"agreement": 0.9 if valid else 0.31}, scores, images, valid, extrapolated)


ROW = Result("model", 0.625, (0.5, 0.75), reference=True, further={"conflicting": (0.25, 0.125, 0.375)})


def test_flat_names_every_number_once(small):
    task = small("gap")
    variables = {"params": {"a": np.zeros((3, 2)), "b": np.zeros(4)}, "batch_stats": {"c": np.zeros(9)}}
    made = flat(task, variables, ROW, fabricated(), {"model": {"ami": 0.3}, "grid": {"ami": 0.2}})
    assert (made["test/accuracy"], made["test/accuracy_low"], made["test/accuracy_high"]) == (0.625, 0.5, 0.75)
    assert made["test/conflicting/accuracy_low"] == 0.125
    assert made["model/parameters"] == parameter_count(variables) == 10 and made["model/level"] == 2
    assert made["model/valid"] == 1.0 and made["model/agreement"] == 0.9
    assert (made["model/recolour_effect"], made["model/ring_effect"]) == (0.75, 0.25)
    assert made["audit/layer-cam/spill_high"] == pytest.approx(0.35)
    assert made["audit/untrained_location_contributions/correctness"] == 0.1
    assert made["audit/visible_area/slope"] == 2.0
    assert (made["discovery/model/ami"], made["discovery/grid/ami"]) == (0.3, 0.2)
    assert all(" " not in name and np.isfinite(value) for name, value in made.items())
    without = flat(task, variables, ROW, None, {})
    assert without == {name: value for name, value in made.items() if name in without}
    assert set(without) == {
        *(f"test/{place}accuracy{end}" for place in ("", "conflicting/") for end in ("", "_low", "_high")),
        "model/parameters", "model/level",
    }  # fmt: skip


def test_a_model_stands_by_the_finest_of_its_contributions():
    assert own_explanation(NAMES) == "location contributions"
    assert own_explanation(["layer-cam", "contributions"]) == "contributions"


def test_classes_are_the_units_of_the_row():
    right, labels = np.array([True, False, True, True, True, False]), np.array([0, 0, 1, 1, 2, 2])
    np.testing.assert_array_equal(by_class(right, labels), [0.5, 1.0, 0.5])
    answered = {"model": {"test": right, "random": ~right}, "first part off": {"test": right & False, "random": right}}
    row, off = result_rows(answered, labels)
    assert row.reference and (row.value, *row.interval) == pytest.approx(tuple(bootstrap_interval(right, labels)))
    assert row.further["random"][0] == pytest.approx(1 / 3) and row.difference is None
    assert (off.value, off.reference, off.further["random"][0]) == (0.0, False, pytest.approx(2 / 3))
    assert (off.difference, *off.difference_interval) == pytest.approx(tuple(bootstrap_interval(right, labels)))
    assert off.further_differences["random"][0] == pytest.approx(-1 / 3)
    scores = by_row(answered, labels)
    assert list(scores) == ["model", "model (random)", "first part off", "first part off (random)"]
    np.testing.assert_array_equal(scores["model (random)"], [0.5, 0.0, 0.5])


def test_the_table_has_every_score_that_was_found():
    table = audit_table(fabricated())
    rows = {row.name: row for row in table.rows}
    assert [row.name for row in table.rows] == list(NAMES)
    assert set(table.columns) == set(table.descriptions) == {"correctness", "spill", "slope"}
    assert list(table.descriptions) == [name for name in SCORES if name in table.columns]
    assert table.lower_is_better == LOWER_IS_BETTER and table.directionless == {"slope"}
    assert rows["layer-cam"].values == {"correctness": 0.1, "slope": 2.0, "spill": 0.25}
    assert rows["layer-cam"].intervals == {"correctness": pytest.approx((0.0, 0.2)), "spill": pytest.approx((0.15, 0.35))}
    assert {name for name, row in rows.items() if row.reference} == {"contributions", "location contributions"}
    assert "NOT VALID" not in table.note and "extrapolated" not in table.note


def test_an_audit_that_is_not_valid_says_so():
    note = audit_table(fabricated(valid=False, extrapolated=True)).note
    assert "NOT VALID here: three ways of taking a part away order the parts alike by 0.310 only; expected 0.8" in note
    assert "lack more parts than any training image: extrapolated" in note
    said = conclusion(ROW, fabricated(valid=False, **{"layer-cam": 0.9}))
    assert said == "62.5 % of the test images are recognised; its explanations could not be scored."
    assert conclusion(ROW, None) == "62.5 % of the test images are recognised."


def test_the_conclusion_sets_the_own_explanation_beside_the_best_after_the_fact():
    """Neither a baseline, which knows nothing of the model, nor the untrained one, nor the oracle."""
    said = conclusion(ROW, fabricated(**{"layer-cam": 0.625, "centre": 0.9, "untrained: location contributions": 0.8}))
    assert said.startswith("62.5 % of the test images are recognised. With what its logits really depend on, its own ")
    assert "its own location contributions agree by a rank correlation of 0.10" in said
    assert ", the best of " in said and said.endswith(" after the fact, layer-cam, 0.62 (chance 0).")
