"""Learning curves from rows of metrics."""

from __future__ import annotations

import numpy as np

from partrep.report import curves


def rows(count, **series):
    return [{"step": s, **{name: f(s) for name, f in series.items()}} for s in range(count)]


def test_splits_share_a_panel_and_accuracy_comes_first():
    history = rows(5, **{"loss": lambda s: -s, "val/accuracy": float, "train/accuracy": lambda s: 2.0 * s})
    made = curves.panels(history)
    assert [p.title for p in made] == ["accuracy", "loss"]
    assert [line.name for line in made[0].lines] == ["val", "train"]
    np.testing.assert_array_equal(made[0].lines[1].smooth, [0, 2, 4, 6, 8])


def test_what_is_not_worth_drawing_is_left_out():
    history = rows(
        4,
        seconds=float,
        learning_rate=float,
        constant=lambda s: 1.0,
        stage=lambda s: "a",
        unsound=lambda s: None,
    )
    assert curves.panels(history) == ()
    assert curves.panels([{"loss": 1.0}, {"loss": 2.0}]) == ()
    assert curves.panels([]) == ()


def test_non_finite_values_are_gaps():
    made = curves.panels(rows(4, loss=lambda s: float("nan") if s == 1 else float(s)))
    np.testing.assert_array_equal(made[0].lines[0].x, [0, 2, 3])


def test_long_series_are_thinned_and_smoothed():
    line = curves.panels(rows(5000, loss=lambda s: float(s % 2)))[0].lines[0]
    assert len(line.x) == curves.MOST_POINTS
    assert np.abs(line.smooth - 0.5).max() < 0.05
    assert len(line.traces) == 1


def test_stages_become_boundaries():
    history = [{"step": s, "stage": "a" if s < 3 else "b", "loss": float(s)} for s in range(6)]
    assert curves.panels(history)[0].boundaries == (3,)


def test_runs_of_a_preset_are_averaged_over_common_steps():
    first = [{"step": s, "val/accuracy": 0.1 * s} for s in (0, 1, 2)]
    second = [{"step": s, "val/accuracy": 0.3 * s} for s in (1, 2, 3)]
    (panel,) = curves.compare_panels({"parts": [first, second], "pooled": [first]})
    parts, pooled = panel.lines
    np.testing.assert_array_equal(parts.x, [1, 2])
    np.testing.assert_allclose(parts.smooth, [0.2, 0.4])
    assert len(parts.traces) == 2
    assert pooled.name == "pooled" and len(pooled.x) == 3


def test_without_validation_the_training_batches_are_compared():
    histories = [rows(3, **{"accuracy": float, "loss": float, "loss/classification": lambda step: -step})]
    assert [panel.title for panel in curves.compare_panels({"a": histories})] == ["accuracy", "classification"]


def test_training_quantities_are_not_compared():
    assert curves.compare_panels({"a": [rows(3, **{"train/loss": float})]}) == ()
