"""Comparisons of classifiers on fabricated runs: which explanations count, and every number by hand."""

from __future__ import annotations

import numpy as np
import pytest

from partrep.explain.credit import BASELINES
from partrep.metrics.intervals import crossed_interval, mean_interval, paired_interval
from partrep.report.comparison import Run, merge
from partrep.report.content import Result
from partrep.tasks import SECTIONS
from partrep.tasks.classify_comparison import LOWER_IS_BETTER, SUMMARY, explanations, post_hoc, sections, summary

RNG = np.random.default_rng(2)
OTHERS = ("grad-cam", "layer-cam", "untrained: location contributions", *BASELINES, "oracle")


def make_run(own: str = "location contributions", audited: bool = True, seed: int = 0, **results: float) -> Run:
    """A run of three classes and five audited images."""
    classes = RNG.random(3)
    episodes = {"model": classes}
    results = {"test/accuracy": classes.mean(), "model/parameters": 4000, "model/level": 2} | results
    if audited:
        names = {"contributions", own}
        episodes |= {f"audit: {name}": RNG.uniform(-1, 1, 5) for name in (*sorted(names), *OTHERS)}
        results |= {"model/part_effect": 2.0, "model/background_effect": 0.5, "model/interaction": 0.125}
    row = Result("model", float(classes.mean()), reference=True)
    return Run(f"run-{seed}", results, (row,), episodes, {"test": "t", "train": f"{seed}"}, 30.0 + seed)


@pytest.fixture
def presets():
    return {
        "slots": [make_run(seed=seed) for seed in (0, 1)],
        "prototypes": [make_run("contributions", seed=seed) for seed in (0, 1)],
    }


def of(run: Run, name: str) -> np.ndarray:
    return run.episodes[f"audit: {name}"]


def test_explanations_after_the_fact_leave_out_own_ones_baselines_and_the_untrained():
    names = ["contributions", "location contributions", *OTHERS]
    assert post_hoc(names) == ["grad-cam", "layer-cam"]


def test_the_summary_has_the_means_over_seeds(presets):
    table = summary(presets)
    slots, prototypes = table.rows
    assert (slots.name, prototypes.name) == ("slots", "prototypes")
    runs = presets["slots"]
    correctness = [of(run, "location contributions").mean() for run in runs]
    assert slots.values["correctness"] == pytest.approx(np.mean(correctness))
    assert slots.intervals["correctness"] == pytest.approx(mean_interval(correctness, student=True)[1:])
    best = [max(of(run, "grad-cam").mean(), of(run, "layer-cam").mean()) for run in runs]
    assert slots.values["best post hoc"] == pytest.approx(np.mean(best))
    assert slots.values["background"] == 0.25 and slots.values["parameters"] == 4 and slots.values["seconds"] == 30.5
    assert slots.values["accuracy"] == pytest.approx(np.mean([run.episodes["model"] for run in runs]))
    assert slots.values["interaction"] == 0.125 and "interaction" not in slots.intervals
    assert "AMI" not in table.columns and list(table.columns) == [name for name in SUMMARY if name in table.columns]
    own = [of(run, "contributions").mean() for run in presets["prototypes"]]
    assert prototypes.values["correctness"] == pytest.approx(np.mean(own))
    assert table.lower_is_better == LOWER_IS_BETTER and LOWER_IS_BETTER <= set(SUMMARY)


def test_a_column_that_one_seed_lacks_is_left_out():
    runs = [make_run(**{"discovery/model/ami_foreground": 0.5}), make_run()]
    assert "AMI" not in summary({"slots": runs}).columns
    assert summary({"slots": runs[:1]}).rows[0].values["AMI"] == 0.5


def test_explanations_are_paired_image_by_image_and_seed_by_seed(presets):
    rows = {row.name: row for row in explanations(presets).rows}
    slots, prototypes = presets["slots"], presets["prototypes"]
    found = rows["layer-cam"]
    theirs, own = (np.stack([of(run, name) for run in slots]) for name in ("layer-cam", "location contributions"))
    expected, lead = crossed_interval(theirs), paired_interval(own, theirs)
    assert (found.values["slots"], *found.intervals["slots"]) == pytest.approx(tuple(expected))
    assert (found.values["slots: own lead"], *found.intervals["slots: own lead"]) == pytest.approx(tuple(lead))
    assert found.values["slots: own lead"] == pytest.approx((own - theirs).mean())
    # Prototypes stand by their parts' contributions, since they have nothing finer.
    own = np.stack([of(run, "contributions") - of(run, "layer-cam") for run in prototypes])
    assert found.values["prototypes: own lead"] == pytest.approx(own.mean())
    assert "prototypes" not in rows["location contributions"].values
    for name in ("contributions", "location contributions", "oracle", "centre", "untrained: location contributions"):
        assert not any("lead" in column for column in rows[name].values), name
    assert {name for name, row in rows.items() if row.reference} == {"contributions", "location contributions"}


def test_without_audits_there_is_the_summary_alone():
    made = sections({"gap": [make_run(audited=False)], "slots": [make_run(audited=False)]})
    assert [title for title, _ in made] == ["The models"]
    assert set(made[0][1].columns) == {"accuracy", "level", "parameters", "seconds"}


def test_the_task_has_these_sections(presets):
    titles = [title for title, _ in SECTIONS["classify"](presets)]
    assert titles == ["The models", "Every explanation on every model"] and "fewshot" not in SECTIONS


def test_worlds_are_merged_end_to_end():
    one, two = make_run(seed=0, only=1.0), make_run(seed=2)
    both = merge([one, two])
    assert merge([one]) is one
    for name, values in both.episodes.items():
        np.testing.assert_array_equal(values, np.concatenate([one.episodes[name], two.episodes[name]]))
    assert both.episodes.keys() == one.episodes.keys()
    assert both.row("model").value == pytest.approx(np.mean([one.row("model").value, two.row("model").value]))
    assert both.row("model").interval is None and both.main == "model"
    mean = (one.results["test/accuracy"] + two.results["test/accuracy"]) / 2
    assert both.results["test/accuracy"] == pytest.approx(mean) and "only" not in both.results
    assert both.data == {"test": "t+t", "train": "0+2"} and both.seconds == 31.0
    row = summary({"slots": [both]}).rows[0]
    expected = np.concatenate([of(one, "location contributions"), of(two, "location contributions")]).mean()
    assert row.values["correctness"] == pytest.approx(expected)
