"""Several presets under several seeds in one table: means over seeds and episodes, paired differences."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence

import numpy as np

from partrep import UserError
from partrep.metrics.intervals import Interval, crossed_interval, mean_interval, paired_interval
from partrep.report.content import Result
from partrep.report.tables import percent_with_interval


@dataclasses.dataclass(frozen=True)
class Run:
    """One finished run: its numbers, the rows of its table, and the accuracy of each episode by reader, f64 [E]."""

    folder: str
    results: Mapping[str, float]
    rows: tuple[Result, ...]
    episodes: Mapping[str, np.ndarray]
    data: Mapping[str, str]  # fingerprints
    seconds: float = 0.0  # wall time

    @property
    def main(self) -> str:
        """The reader that the run is about."""
        return next(row.name for row in self.rows if row.reference)

    def row(self, name: str) -> Result:
        """The row of one reader; a `UserError` where the run has none of that name."""
        for row in self.rows:
            if row.name == name:
                return row
        raise UserError(f"{self.folder} has no row {name!r}; expected one, as in the other runs of its preset")

    def scores(self, name: str) -> np.ndarray:
        """f64 [E] of each episode; [1], the row's value, where a run has no episodes (the official one-shot runs)."""
        found = self.episodes.get(name)
        return np.array([self.row(name).value]) if found is None else np.asarray(found, np.float64)


WHOLE = "model"  # the only reader of a classifier
OF_ONE_PART = re.compile(r"parts/(\d+/|first$)")


def merge(runs: Sequence[Run]) -> Run:
    """Runs of one preset and seed in several worlds as one: their episodes end to end, their numbers averaged."""
    first = runs[0]
    if len(runs) == 1:
        return first
    shared = [name for name in first.results if all(name in run.results for run in runs)]
    rows = [
        dataclasses.replace(row, value=float(np.mean([run.row(row.name).value for run in runs])), interval=None)
        for row in first.rows
    ]
    return Run(
        first.folder,
        {name: float(np.mean([run.results[name] for run in runs])) for name in shared},
        tuple(rows),
        {name: np.concatenate([run.episodes[name] for run in runs]) for name in first.episodes},
        {what: "+".join(run.data[what] for run in runs) for what in first.data},
        float(np.mean([run.seconds for run in runs])),
    )


def check_same_data(runs: Sequence[Run]) -> None:
    """Refuses runs whose episodes, or the images they are drawn from, differ: their scores do not pair.

    Training sets may differ, and a fingerprint that one of two runs lacks is not compared.
    """
    for what in sorted({what for run in runs for what in run.data} - {"train"}):
        having = [run for run in runs if what in run.data]
        for run in having[1:]:
            if run.data[what] != having[0].data[what]:
                raise UserError(
                    f"{having[0].folder} and {run.folder} differ in their {what} ({having[0].data[what]} and "
                    f"{run.data[what]}); expected runs with the same data and evaluation settings"
                )


def table(runs: Sequence[Run], name: str) -> np.ndarray:
    """f64 [S,E], the scores of one reader under each seed; one row where all seeds agree, as for raw pixels."""
    scores = [run.scores(name) for run in runs]
    if len({len(each) for each in scores}) > 1:
        found = ", ".join(f"{len(each)} in {run.folder}" for run, each in zip(runs, scores))
        raise UserError(f"{name!r} has different numbers of episodes ({found}); expected the same")
    stacked = np.stack(scores)
    return stacked[:1] if (stacked == stacked[0]).all() else stacked


def over_seeds(scores: np.ndarray) -> Interval | None:
    """Mean with its 95 % interval of scores [S,E], over all that vary: seeds and episodes, or one of them.

    >>> over_seeds(np.array([[0.25, 0.75], [0.0, 1.0]])).mean, over_seeds(np.array([[0.5]]))
    (0.5, None)
    """
    seeds, episodes = scores.shape
    if seeds > 1 and episodes > 1:
        return crossed_interval(scores)
    if scores.size == 1:
        return None
    return mean_interval(scores.ravel(), student=episodes == 1)


def paired(first: np.ndarray, second: np.ndarray) -> Interval | None:
    """`first - second` with its 95 % interval; seeds meet seeds and episodes episodes, one row meets every seed."""
    if first.shape[1] > 1:
        return paired_interval(*(scores[0] if len(scores) == 1 else scores for scores in (first, second)))
    return over_seeds(first - second)


def compare(presets: Mapping[str, Sequence[Run]]) -> tuple[Result, ...]:
    """The rows of the comparison: the readers of the first preset, and of each other preset its main reader.

    The first preset's main reader comes last; every other row carries its paired difference from it. A reader that is
    the whole model goes by the name of its preset.
    """
    for members in zip(*presets.values()):  # of one seed, which may draw the split of the images
        check_same_data(members)
    first = next(iter(presets))
    main = presets[first][0].main
    shown = [(row.name, first, row.name) for row in presets[first][0].rows if row.name != main]
    shown += [(label(name, runs[0].main), name, runs[0].main) for name, runs in presets.items() if name != first]
    reference = table(presets[first], main)
    rows = [
        dataclasses.replace(
            _row(label, presets[preset], name, reference),
            further_differences=_further_differences((presets[first], main), (presets[preset], name)),
        )
        for label, preset, name in shown
    ]
    rows = [
        dataclasses.replace(row, note="a run of its own") if preset != first else row
        for row, (_, preset, _) in zip(rows, shown)
    ]
    name = first if main == WHOLE else main
    return (*rows, dataclasses.replace(_row(name, presets[first], main, None), reference=True))


def label(preset: str, reader: str) -> str:
    """How the table calls the main reader of a preset that is not the first.

    >>> label("gap", "global pooling"), label("gap", "model")
    ('gap: global pooling', 'gap')
    """
    return preset if reader == WHOLE else f"{preset}: {reader}"


def _row(label: str, runs: Sequence[Run], name: str, reference: np.ndarray | None) -> Result:
    scores, single = table(runs, name), runs[0].row(name)
    interval = over_seeds(scores)
    difference = None if reference is None else paired(reference, scores)
    made = [run.row(name) for run in runs]
    vectors = {row.vectors for row in made}
    return Result(
        label,
        float(scores.mean()),
        single.interval if interval is None else (interval.low, interval.high),
        vectors=vectors.pop() if len(vectors) == 1 else None,
        difference=None if difference is None else difference.mean,
        difference_interval=None if difference is None else (difference.low, difference.high),
        note=single.note,
        seeds=tuple(scores.mean(axis=1).tolist()) if len(scores) > 1 else (),
        details={key: _joined([row.details.get(key, "") for row in made]) for key in single.details},
        further={heading: _known(over_seeds(scores)) for heading, scores in _further_tables(runs, name).items()},
    )


def _further_tables(runs: Sequence[Run], name: str) -> dict[str, np.ndarray]:
    """The scores [S,E] of one reader in each of its further settings."""
    return {heading: table(runs, Result.further_name(name, heading)) for heading in runs[0].row(name).further}


def _further_differences(
    first: tuple[Sequence[Run], str], other: tuple[Sequence[Run], str]
) -> dict[str, Interval]:
    """The first reader's scores minus the other's in each further setting that both have."""
    one, two = _further_tables(*first), _further_tables(*other)
    return {heading: _known(paired(one[heading], two[heading])) for heading in two if heading in one}


def _known(interval: Interval | None) -> Interval:
    assert interval is not None  # a further setting has episodes
    return interval


def _joined(texts: Sequence[str]) -> str:
    """What all runs have, or that they differ."""
    return texts[0] if len(set(texts)) == 1 else "differs by seed"


def conclusion(
    rows: Sequence[Result], others: Sequence[str], measure: str = "accuracy", lower_is_better: bool = False
) -> str:
    """One sentence on the main row against the rows named `others`, or against the best row where none is."""
    main = next(row for row in rows if row.reference)
    against = [row for row in rows if row.name in others]
    if not others:
        rivals = [row for row in rows if not row.reference]
        against = sorted(rivals, key=lambda row: row.value, reverse=not lower_is_better)[:1]
    said = [_verdict(row) for row in against if row.difference is not None and row.difference_interval is not None]
    value = percent_with_interval(main.value, main.interval)
    return f"{main.name}: {measure} {value} %" + "".join(f"; {text}" for text in said) + "."


def _verdict(row: Result) -> str:
    assert row.difference is not None and row.difference_interval is not None
    low, high = row.difference_interval
    where = "above zero" if low > 0 else "below zero" if high < 0 else "around zero, so it may be chance"
    difference = percent_with_interval(row.difference, row.difference_interval, signed=True)
    return f"{difference} points from {row.name} ({100 * row.value:.1f} %), an interval {where}"


def numbers(rows: Sequence[Result], split: str, measure: str = "accuracy") -> dict[str, float]:
    """`{name: number}` of the rows, their intervals, seeds and differences; names begin with the split they are of."""
    main = _slug(next(row.name for row in rows if row.reference))
    made: dict[str, float] = {}
    for row in rows:
        name = f"{split}/{_slug(row.name)}/{measure}"
        made |= _with_interval(name, row.value, row.interval)
        made |= {f"{name}_run{i}": value for i, value in enumerate(row.seeds)}
        if row.vectors is not None:
            made[f"{split}/{_slug(row.name)}/vectors"] = row.vectors
        if row.difference is not None:
            made |= _with_interval(f"{split}/{main}_minus_{_slug(row.name)}", row.difference, row.difference_interval)
        for heading, (value, low, high) in row.further.items():
            made |= _with_interval(f"{split}/{_slug(row.name)}/{heading}_{measure}", value, (low, high))
        for heading, (value, low, high) in row.further_differences.items():
            made |= _with_interval(f"{split}/{main}_minus_{_slug(row.name)}/{heading}", value, (low, high))
    return made


def _with_interval(name: str, value: float, interval: tuple[float, float] | None) -> dict[str, float]:
    ends = {} if interval is None else {f"{name}_low": interval[0], f"{name}_high": interval[1]}
    return {name: value, **ends}


def _slug(name: str) -> str:
    return name.replace(": ", "_").replace(" ", "_")


def seed_means(presets: Mapping[str, Sequence[Run]]) -> dict[str, float]:
    """Means over the seeds, and standard deviations, of the results that all runs of a preset have.

    The ends of each run's own interval are left out: their mean is the end of no interval. So are numbers of one
    part, since part 3 of two runs is not the same part.
    """
    made: dict[str, float] = {}
    for preset, runs in presets.items():
        for name in runs[0].results:
            if name.endswith(("_low", "_high")) or OF_ONE_PART.match(name):
                continue
            values = [run.results.get(name) for run in runs]
            known = [value for value in values if value is not None]
            if len(known) == len(runs):
                made[f"mean/{preset}/{name}"] = float(np.mean(known))
                if len(known) > 1:
                    made[f"deviation/{preset}/{name}"] = float(np.std(known, ddof=1))
    return made
