"""Axes and plots: where things land."""

from __future__ import annotations

import re

import numpy as np
import pytest

from partrep.report import curves, figures
from partrep.report.content import Result


@pytest.mark.parametrize(
    ("low", "high"), [(0.262, 0.724), (0.0, 1.0), (-3.0, 17.0), (1e-4, 3e-4), (5.0, 5.0)]
)
def test_axes_span_their_values_with_few_ticks(low, high):
    axis = figures.nice_axis(low, high)
    assert axis.low <= low <= high <= axis.high
    assert 2 <= len(axis.ticks) <= 8
    steps = np.diff(axis.ticks)
    np.testing.assert_allclose(steps, steps[0])
    assert axis.at(axis.low) == 0 and axis.at(axis.high) == 1


def test_chance_is_on_the_axis_unless_far_off():
    near = [Result("a", 0.3, (0.25, 0.35)), Result("b", 0.7)]
    assert figures.results_axis(near, 0.2).low <= 0.2
    assert figures.results_axis([Result("a", 0.05), Result("b", 0.1)], 0.95).high < 0.5
    assert figures.results_axis([Result("a", 1.0, (1.0, 1.0))], None).high >= 1.0


def test_whisker_puts_dot_and_ends_on_the_common_axis():
    axis = figures.Axis(0.2, 0.7, (0.2, 0.7))
    drawn = figures.whisker(Result("a", 0.45, (0.4, 0.5), seeds=(0.3, 0.6)), axis, 0.2)
    assert 'cx="50%" cy="50%" r="4" class="dot"' in drawn
    assert 'x1="40%" x2="60%"' in drawn
    assert re.findall(r'cx="([\d.]+%)" cy="50%" r="3.5"', drawn) == ["20%", "80%"]
    assert drawn.count('class="chance"') == 1
    assert 'class="interval"' not in figures.whisker(Result("a", 0.45), axis, None)


def test_curves_stay_inside_their_panel():
    history = [{"step": s, "loss": float((-1) ** s * s)} for s in range(300)]
    (panel,) = curves.panels(history)
    drawn = figures.curve(panel)
    points = [
        tuple(map(float, p.split(","))) for p in " ".join(re.findall(r'points="([^"]+)"', drawn)).split()
    ]
    x, y = np.array(points).T
    assert x.min() >= figures.LEFT - 0.1 and x.max() <= figures.WIDE - figures.RIGHT + 0.1
    assert y.min() >= figures.TOP - 0.1 and y.max() <= figures.HIGH - figures.BOTTOM + 0.1
    assert "loss over training steps" in drawn


def test_contribution_bars_start_at_zero():
    axis = figures.contribution_axis(np.array([-1.0, 3.0]))
    positive = figures.contribution_bar(3.0, axis, "#000000", 1.0)
    negative = figures.contribution_bar(-1.0, axis, "#000000")
    zero = re.search(r'x1="([\d.]+)%" x2="[\d.]+%" y1="0" y2="100%" class="zero"', positive).group(1)
    starts = [
        re.search(r'<rect x="([\d.]+)%" width="([\d.]+)%"', bar).groups() for bar in (positive, negative)
    ]
    assert starts[0][0] == zero
    assert sum(map(float, starts[1])) == pytest.approx(float(zero), abs=0.02)
    assert float(starts[0][1]) == pytest.approx(3 * float(starts[1][1]), abs=0.1)
    assert "bar-mark" in positive and "bar-mark" not in negative


def test_axis_of_nothing_is_sound():
    axis = figures.contribution_axis(np.zeros(3))
    assert 0 <= axis.at(0.0) <= 1


def test_score_bars_take_negative_scores():
    axis = figures.Axis(-0.1, 0.4, ())
    assert 'x="0%" width="20%"' in figures.score_bar(-0.1, axis)
