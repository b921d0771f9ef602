"""The plots of the reports as inline SVG: intervals on a common axis, learning curves, bars."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from partrep.report.content import Result
from partrep.report.curves import Line, Panel
from partrep.report.svg import element, joined, percent

# ---- scales


@dataclasses.dataclass(frozen=True)
class Axis:
    """A linear axis from `low` to `high` with ticks; `at(value)` is the share of its length."""

    low: float
    high: float
    ticks: tuple[float, ...]

    def at(self, value: float) -> float:
        """Where `value` lies, 0 at `low` and 1 at `high`."""
        return (value - self.low) / (self.high - self.low)


def nice_axis(low: float, high: float, count: int = 5) -> Axis:
    """Returns an axis that spans low..high with about `count` ticks at 1, 2 or 5 times a power of ten.

    >>> nice_axis(0.43, 0.78)
    Axis(low=0.4, high=0.8, ticks=(0.4, 0.5, 0.6, 0.7, 0.8))
    """
    if not high > low:
        low, high = low - 0.5 * (abs(low) or 1), high + 0.5 * (abs(high) or 1)
    rough = (high - low) / count
    scale = 10.0 ** math.floor(math.log10(rough))
    step = next(m * scale for m in (1, 2, 5, 10) if m * scale >= rough * 0.9999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = tuple(round(i * step, 10) for i in range(first, last + 1))
    return Axis(ticks[0], ticks[-1], ticks)


# ---- results: dot and whisker


def results_axis(rows: Sequence[Result], chance: float | None) -> Axis:
    """Returns the common axis of values, intervals and seeds; chance is on it unless it lies far off."""
    values = [v for row in rows for v in (row.value, *(row.interval or ()), *row.seeds)]
    low, high = min(values), max(values)
    if chance is not None and max(high, chance) - min(low, chance) <= 1.6 * max(high - low, 0.05):
        low, high = min(low, chance), max(high, chance)
    return nice_axis(low, high)


def axis_labels(axis: Axis) -> Markup:
    """Returns the tick labels of an axis in per cent, laid out in shares of the width."""
    marks = [
        element("text", f"{100 * tick:g}", x=percent(axis.at(tick)), y=12, class_="tick-label")
        for tick in axis.ticks
    ]
    return element("svg", *marks, class_="axis", width="100%", height=16, aria_hidden="true")


def whisker(row: Result, axis: Axis, chance: float | None) -> Markup:
    """Returns one row of the dot-and-whisker plot: grid, chance, the seeds, the interval and the value."""
    marks = [_upright(axis.at(tick), "grid") for tick in axis.ticks]
    if chance is not None and axis.low <= chance <= axis.high:
        marks.append(_upright(axis.at(chance), "chance"))
    for value in row.seeds:
        marks.append(element("circle", cx=percent(axis.at(value)), cy="50%", r=3.5, class_="seed"))
    if row.interval:
        low, high = (percent(axis.at(bound)) for bound in row.interval)
        marks.append(element("line", x1=low, x2=high, y1="50%", y2="50%", class_="interval"))
        # Caps: a nested drawing, since lengths in percent and in pixels cannot be added.
        cap = element("line", x1=0, x2=0, y1=-5, y2=5, class_="interval")
        marks += [
            element("svg", cap, x=bound, y="50%", class_="cap", aria_hidden="true") for bound in (low, high)
        ]
    marks.append(element("circle", cx=percent(axis.at(row.value)), cy="50%", r=4, class_="dot"))
    return element("svg", *marks, class_="whisker", width="100%", height="100%", aria_hidden="true")


def _upright(at: float, class_: str) -> Markup:
    return element("line", x1=percent(at), x2=percent(at), y1="0", y2="100%", class_=class_)


# ---- curves

WIDE, HIGH, LEFT, RIGHT, TOP, BOTTOM = 320, 170, 40, 8, 8, 22


def curve(panel: Panel) -> Markup:
    """Returns one panel of learning curves: the logged values thin, their mean thick."""
    x_axis = nice_axis(
        min(line.x.min() for line in panel.lines), max(line.x.max() for line in panel.lines), 4
    )
    x_axis = dataclasses.replace(x_axis, high=max(line.x.max() for line in panel.lines))
    y_axis = nice_axis(*_span(panel.lines), 4)
    marks = [*_y_ticks(y_axis), *_x_ticks(x_axis)]
    for step in panel.boundaries:
        x = LEFT + (WIDE - LEFT - RIGHT) * x_axis.at(step)
        marks.append(element("line", x1=x, x2=x, y1=TOP, y2=HIGH - BOTTOM, class_="chance"))
    for i, line in enumerate(panel.lines):
        marks += [_polyline(x, y, x_axis, y_axis, f"raw series-{i % 6}") for x, y in line.traces]
        marks.append(_polyline(line.x, line.smooth, x_axis, y_axis, f"curve series-{i % 6}"))
    return element(
        "svg",
        *marks,
        class_="panel",
        viewBox=f"0 0 {WIDE} {HIGH}",
        role="img",
        aria_label=f"{panel.title} over training steps: {curve_summary(panel)}",
    )


def curve_summary(panel: Panel) -> str:
    """Returns each line's first and last value in words."""
    return "; ".join(
        f"{line.name or panel.title} from {line.smooth[0]:.3g} to {line.smooth[-1]:.3g}"
        for line in panel.lines
    )


def _span(lines: Sequence[Line]) -> tuple[float, float]:
    """The range drawn: all smooth values, and the logged ones save the outermost percent."""
    rough = np.concatenate([values for line in lines for _, values in (*line.traces, (line.x, line.smooth))])
    smooth = np.concatenate([line.smooth for line in lines])
    low, high = np.percentile(rough, [1, 99])
    return float(min(low, smooth.min())), float(max(high, smooth.max()))


def _place(x_axis: Axis, y_axis: Axis, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    across = LEFT + (WIDE - LEFT - RIGHT) * (x - x_axis.low) / (x_axis.high - x_axis.low)
    up = np.clip((y - y_axis.low) / (y_axis.high - y_axis.low), 0, 1)
    return across, HIGH - BOTTOM - (HIGH - TOP - BOTTOM) * up


def _polyline(x: np.ndarray, y: np.ndarray, x_axis: Axis, y_axis: Axis, class_: str) -> Markup:
    points = zip(*_place(x_axis, y_axis, x, y))
    return element("polyline", points=" ".join(f"{a:.1f},{b:.1f}" for a, b in points), class_=class_)


def _y_ticks(axis: Axis) -> list[Markup]:
    marks = []
    for tick in axis.ticks:
        y = HIGH - BOTTOM - (HIGH - TOP - BOTTOM) * axis.at(tick)
        marks.append(element("line", x1=LEFT, x2=WIDE - RIGHT, y1=y, y2=y, class_="grid"))
        marks.append(element("text", f"{tick:g}", x=LEFT - 6, y=y + 3.5, class_="tick-label end"))
    return marks


def _x_ticks(axis: Axis) -> list[Markup]:
    ticks = [tick for tick in axis.ticks if axis.low <= tick <= axis.high]
    return [
        element(
            "text",
            f"{tick:,.0f}",
            x=LEFT + (WIDE - LEFT - RIGHT) * axis.at(tick),
            y=HIGH - 6,
            class_="tick-label" + (" start" if tick == axis.low else " end" if axis.at(tick) > 0.95 else ""),
        )
        for tick in ticks
    ]


# ---- how much each part counted


def contribution_axis(values: np.ndarray) -> Axis:
    """Returns an axis through zero and all values, with a little room at the ends."""
    low, high = min(0.0, float(np.min(values))), max(0.0, float(np.max(values)))
    room = 0.03 * ((high - low) or 1.0)
    return Axis(low - room * (low < 0), high + room * (high > 0 or low == high), (0.0,))


def contribution_bar(value: float, axis: Axis, colour: str, mark: float | None = None) -> Markup:
    """Returns a bar from zero to `value`, with a tick at `mark`."""
    start, end = sorted((axis.at(0.0), axis.at(value)))
    marks = [
        element(
            "rect",
            x=percent(start),
            width=percent(end - start),
            y="15%",
            height="70%",
            fill=colour,
            class_="bar",
        ),
        _upright(axis.at(0.0), "zero"),
    ]
    if mark is not None:
        at = percent(axis.at(mark))
        marks.append(element("line", x1=at, x2=at, y1="0", y2="100%", class_="bar-mark-case"))
        marks.append(element("line", x1=at, x2=at, y1="0", y2="100%", class_="bar-mark"))
    return element("svg", *marks, class_="bar-cell", width="100%", height=16, aria_hidden="true")


def score_bar(value: float, axis: Axis, interval: tuple[float, float] | None = None) -> Markup:
    """Returns the small bar under a number of the part discovery table, with its interval."""
    start, end = sorted((axis.at(0.0), axis.at(value)))
    marks = [
        element("rect", x=percent(start), width=percent(end - start), y="0", height="100%", class_="bar")
    ]
    if interval:
        ends = [percent(axis.at(bound)) for bound in interval]
        marks.append(element("line", x1=ends[0], x2=ends[1], y1="50%", y2="50%", class_="interval"))
    return element("svg", joined(marks), class_="score-bar", width="100%", height=6, aria_hidden="true")
