"""What a comparison of classifiers shows: a summary of each model, and every explanation on every model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from partrep.metrics.intervals import Interval, mean_interval
from partrep.report.comparison import Run, over_seeds, paired
from partrep.report.content import Discovery, Score
from partrep.tasks.classify_evaluation import AUDITED, OWN, own_explanation, post_hoc

SUMMARY = {
    "accuracy": ("test/accuracy", "share of the test images recognised"),
    "level": ("model/level", "of explanation: 1 parts add up, 2 locations too, 3 parts see their own pixels only"),
    "correctness": ("", "of the model's own explanation: rank correlation with exact Shapley values; chance 0"),
    "best post hoc": ("", "the greatest correctness of any other explanation of the same model, chosen in hindsight"),
    "AMI": ("discovery/model/ami_foreground", "of found and true parts, adjusted for chance"),
    "keypoint error": ("discovery/model/keypoint_error", "in per cent of the box's side"),
    "interaction": ("model/interaction", "share of the parts' effect on the logit that no sum over parts explains"),
    "background": ("", "mean effect of another habitat, over that of another value of a part"),
    "agreement": ("model/agreement", "of swap, remove and hide; under 0.8 the scores of explanations are not valid"),
    "parameters": ("", "in thousands"),
    "seconds": ("", "of the run with its evaluation"),
}
LOWER_IS_BETTER = frozenset({"keypoint error", "interaction", "background", "seconds"})
DIRECTIONLESS = frozenset({"level", "parameters"})


def sections(presets: Mapping[str, Sequence[Run]]) -> tuple[tuple[str, Discovery], ...]:
    """The titled tables of a comparison of classifiers."""
    made = [("The models", summary(presets))]
    table = explanations(presets)
    if table.rows:
        made.append(("Every explanation on every model", table))
    return tuple(made)


def summary(presets: Mapping[str, Sequence[Run]]) -> Discovery:
    """One row a preset: means over the seeds, with intervals over them where there are several."""
    rows = []
    for preset, runs in presets.items():
        per_seed = [_numbers(run) for run in runs]
        columns = [name for name in SUMMARY if all(name in numbers for numbers in per_seed)]
        found = {name: _over([numbers[name] for numbers in per_seed]) for name in columns}
        rows.append(
            Score(
                preset,
                {name: interval.mean for name, interval in found.items()},
                {name: (each.low, each.high) for name, each in found.items() if each.low < each.high},
            )
        )
    descriptions = {name: text for name, (_, text) in SUMMARY.items()}
    note = "Means over seeds, intervals over seeds (Student's t)."
    return Discovery(tuple(rows), LOWER_IS_BETTER, descriptions, note, DIRECTIONLESS)


def _numbers(run: Run) -> dict[str, float]:
    results = run.results
    made = {name: results[key] for name, (key, _) in SUMMARY.items() if key and key in results}
    made["parameters"] = results["model/parameters"] / 1000
    made["seconds"] = run.seconds
    if "model/part_effect" in results:
        if results["model/part_effect"]:
            made["background"] = results["model/background_effect"] / results["model/part_effect"]
        own, others = own_explanation(_audited(run)), post_hoc(_audited(run))
        if own:
            made["correctness"] = float(run.episodes[AUDITED + own].mean())
        if others:
            made["best post hoc"] = max(float(run.episodes[AUDITED + name].mean()) for name in others)
    return made


def _audited(run: Run) -> list[str]:
    return [name.removeprefix(AUDITED) for name in run.episodes if name.startswith(AUDITED)]


def _over(values: Sequence[float]) -> Interval:
    mean = float(np.mean(values))
    return mean_interval(values, student=True) if len(set(values)) > 1 else Interval(mean, mean, mean)


def explanations(presets: Mapping[str, Sequence[Run]]) -> Discovery:
    """Correctness of every explanation (rows) on every model (columns), paired with the model's own."""
    names = list(dict.fromkeys(name for runs in presets.values() for name in _audited(runs[0])))
    rows = []
    for name in names:
        values, intervals = {}, {}
        for preset, runs in presets.items():
            if AUDITED + name not in runs[0].episodes:
                continue
            found = over_seeds(np.stack([run.episodes[AUDITED + name] for run in runs]))
            assert found is not None
            values[preset], intervals[preset] = found.mean, (found.low, found.high)
            lead = _lead(runs, name)
            if lead is not None:
                column = f"{preset}: own lead"
                values[column], intervals[column] = lead.mean, (lead.low, lead.high)
        rows.append(Score(name, values, intervals, reference=name in OWN))
    note = (
        "Correctness: rank correlation, over the parts of an image, of credit with exact Shapley values of the logit "
        "of the predicted class; chance 0. Claims are within a column. Own lead: by how much the model's own "
        "explanation is above, image by image."
    )
    return Discovery(tuple(rows), note=note)


def _lead(runs: Sequence[Run], name: str) -> Interval | None:
    """How far the model's own explanation is above another one, paired image by image and seed by seed."""
    own = own_explanation(_audited(runs[0]))
    if not own or name not in post_hoc(_audited(runs[0])):
        return None
    return paired(*(np.stack([run.episodes[AUDITED + each] for run in runs]) for each in (own, name)))
