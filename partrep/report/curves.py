"""Learning curves from the rows of `metrics.jsonl`: one small panel a quantity, one line a split or run."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

NOT_DRAWN = ("step", "time", "stage", "epoch", "second", "wall", "rate", "per_s", "/weight", "lr", "version")
MOST_POINTS = 240
TRAINING = ("accuracy", "loss/classification")


@dataclasses.dataclass(frozen=True)
class Line:
    """One line: `smooth` [n] over steps x [n], and the logged values (x, y) it is a mean of, if it is one."""

    name: str
    x: np.ndarray
    smooth: np.ndarray
    traces: tuple[tuple[np.ndarray, np.ndarray], ...] = ()


@dataclasses.dataclass(frozen=True)
class Panel:
    """One quantity over the steps."""

    title: str
    lines: tuple[Line, ...]
    boundaries: tuple[float, ...] = ()  # the steps at which a new stage began


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
    boundaries = tuple(step for _, step in stages(history)[1:])
    made = [Panel(t.replace("_", " "), _lines_of(t, series), boundaries) for t in titles]
    return tuple(sorted((p for p in made if p.lines), key=_rank))


def stages(history: Sequence[Mapping[str, object]]) -> tuple[tuple[str, float], ...]:
    """Returns the stages of a run and the first step logged in each.

    >>> stages([{"step": 0, "stage": "a"}, {"step": 5, "val/loss": 1.0}, {"step": 9, "stage": "b"}])
    (('a', 0), ('b', 9))
    """
    found: dict[str, Any] = {}
    for row in history:
        if "stage" in row and "step" in row:
            found.setdefault(str(row["stage"]), row["step"])
    return tuple(found.items())


def compare_panels(histories: Mapping[str, Sequence[Sequence[Mapping[str, object]]]]) -> tuple[Panel, ...]:
    """Returns panels of the validation quantities: a line a preset, the mean of its runs, each run thin.

    Of runs that logged none, the accuracy and the loss of the training batches; the terms of the loss differ from
    preset to preset. `histories` holds a list of histories, one a seed, by the preset's name.
    """
    runs = {name: [_series(history) for history in several] for name, several in histories.items()}
    logged = dict.fromkeys(key for several in runs.values() for run in several for key in run)
    keys = [key for key in logged if key.startswith("val")] or [key for key in TRAINING if key in logged]
    made = []
    for key in keys:
        having = {name: [run[key] for run in several if key in run] for name, several in runs.items()}
        lines = tuple(_mean_line(name, pairs) for name, pairs in having.items() if pairs)
        made.append(Panel(key.rsplit("/", 1)[-1].replace("_", " "), lines))
    return tuple(sorted(made, key=_rank))


def _mean_line(name: str, pairs: Sequence[tuple[list, list]]) -> Line:
    """The mean of several runs over the steps that all of them logged."""
    by_step = [dict(zip(steps, values)) for steps, values in pairs]
    common = sorted(set.intersection(*map(set, by_step)))
    if len(pairs) == 1 or not common:
        return _line(name, *pairs[0])
    traces = tuple((np.asarray(x, np.float64), np.asarray(y, np.float64)) for x, y in pairs)
    mean = np.array([np.mean([run[step] for run in by_step]) for step in common])
    return Line(name, np.asarray(common, np.float64), mean, traces)


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
    if len(y) <= 48:
        return Line(name, x, y)
    return Line(name, x, running_mean(y, len(y) // 24), ((x, y),))


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
