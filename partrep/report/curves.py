"""Learning curves from the rows of `metrics.jsonl`: one small panel a quantity, one line a split or run."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np

NOT_DRAWN = ("step", "time", "stage", "epoch", "second", "wall", "rate", "per_s", "/weight", "lr", "version")
MOST_POINTS = 240


@dataclasses.dataclass(frozen=True)
class Line:
    """One line: x [n] and y [n] as logged, and `smooth` [n], its running mean (y itself where n is small)."""

    name: str
    x: np.ndarray
    y: np.ndarray
    smooth: np.ndarray


@dataclasses.dataclass(frozen=True)
class Panel:
    """One quantity over the steps."""

    title: str
    lines: tuple[Line, ...]


def panels(history: Sequence[Mapping[str, object]]) -> tuple[Panel, ...]:
    """Returns the panels of one run: `train/accuracy` and `val/accuracy` become two lines of "accuracy".

    Rows are `{"step": int, name: number, ...}`; what is not a finite number is left out, and so are
    quantities that never change. Accuracies and errors come first, then the total loss, then its terms.

    >>> rows = [{"step": s, "train/loss": 2.0 - s, "val/loss": 3.0 - s} for s in range(2)]
    >>> [(p.title, [line.name for line in p.lines]) for p in panels(rows)]
    [('loss', ['train', 'val'])]
    """
    series = _series(history)
    titles = dict.fromkeys(key.rsplit("/", 1)[-1] for key in series)
    made = [Panel(t.replace("_", " "), _lines_of(t, series)) for t in titles]
    return tuple(sorted((p for p in made if p.lines), key=_rank))


def compare_panels(histories: Mapping[str, Sequence[Mapping[str, object]]]) -> tuple[Panel, ...]:
    """Returns panels of the validation quantities, one line a run; histories are keyed by the run's name."""
    by_run = {run: _series(history) for run, history in histories.items()}
    keys = dict.fromkeys(key for series in by_run.values() for key in series if key.startswith("val"))
    made = [
        Panel(
            key.rsplit("/", 1)[-1].replace("_", " "),
            tuple(_line(run, *series[key]) for run, series in by_run.items() if key in series),
        )
        for key in keys
    ]
    return tuple(sorted(made, key=_rank))


def _rank(panel: Panel) -> int:
    for rank, word in enumerate(("accuracy", "error", "loss")):
        if word in panel.title:
            return rank
    return 3


def _series(history: Sequence[Mapping[str, object]]) -> dict[str, tuple[list, list]]:
    """`{key: (steps, values)}` of the finite numbers worth drawing."""
    series: dict[str, tuple[list, list]] = {}
    for row in history:
        for key, value in row.items():
            number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
            if "step" in row and number and not any(word in key for word in NOT_DRAWN):
                steps, values = series.setdefault(key, ([], []))
                steps.append(row["step"])
                values.append(value)
    return {key: pair for key, pair in series.items() if len(set(pair[1])) > 1}


def _lines_of(title: str, series: Mapping[str, tuple[list, list]]) -> tuple[Line, ...]:
    keys = [key for key in series if key.rsplit("/", 1)[-1] == title]
    return tuple(_line(key.rpartition("/")[0], *series[key]) for key in keys)


def _line(name: str, steps: list, values: list) -> Line:
    x, y = np.asarray(steps, np.float64), np.asarray(values, np.float64)
    x, y = _thin(x), _thin(y)
    return Line(name, x, y, running_mean(y, max(1, len(y) // 24)) if len(y) > 48 else y)


def _thin(values: np.ndarray) -> np.ndarray:
    """At most `MOST_POINTS` values, each the mean of a run of neighbours."""
    if len(values) <= MOST_POINTS:
        return values
    return np.array([chunk.mean() for chunk in np.array_split(values, MOST_POINTS)])


def running_mean(values: np.ndarray, reach: int) -> np.ndarray:
    """Returns the mean of each value and up to `reach` neighbours on either side.

    >>> running_mean(np.array([0.0, 3.0, 6.0]), 1)
    array([1.5, 3. , 4.5])
    """
    sums = np.concatenate([[0.0], np.cumsum(values)])
    low = np.maximum(np.arange(len(values)) - reach, 0)
    high = np.minimum(np.arange(len(values)) + reach + 1, len(values))
    return (sums[high] - sums[low]) / (high - low)
