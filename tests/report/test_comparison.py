"""The comparison of presets and seeds: hand-worked tables, pairing, and what does not pair."""

from dataclasses import replace

import numpy as np
import pytest

from partrep import UserError
from partrep.metrics.intervals import crossed_interval, mean_interval, paired_interval
from partrep.report import comparison
from partrep.report.comparison import Run, compare, conclusion, numbers, over_seeds, paired, seed_means, table
from partrep.report.content import Result

EPISODES = 40


def make_run(folder, scores, main, data=None, results=None, **fields):
    """A run whose readers have the given scores."""
    rows = tuple(
        Result(name, float(np.mean(each)), (0.0, 1.0), vectors=8, reference=name == main, **fields)
        for name, each in scores.items()
    )
    data = {"episodes": "e", "novel": "n"} if data is None else data
    return Run(folder, results or {}, rows, {k: np.asarray(v) for k, v in scores.items()}, data)


@pytest.fixture(scope="module")
def presets():
    """Two presets under two seeds; raw pixels do not depend on the seed."""
    random = np.random.default_rng(0)
    raw = random.random(EPISODES) * 0.3

    def run(preset, seed):
        easy = random.random(EPISODES) * 0.2
        if preset == "parts":
            scores = {"raw pixels": raw, "global pooling": 0.3 + easy, "parts": 0.6 + 0.02 * seed + easy}
            return make_run(f"parts-{seed}", scores, "parts", results={"x": float(seed), "x_low": 0.0})
        return make_run(f"gap-{seed}", {"raw pixels": raw, "global pooling": 0.5 + easy}, "global pooling")

    return {preset: [run(preset, seed) for seed in (0, 1)] for preset in ("parts", "gap")}


def test_rows_are_the_first_presets_readers_and_the_others_main_ones(presets):
    rows = compare(presets)
    assert [row.name for row in rows] == ["raw pixels", "global pooling", "gap: global pooling", "parts"]
    assert [row.reference for row in rows] == [False, False, False, True]
    assert rows[2].note == "a run of its own"


def test_intervals_are_over_seeds_and_episodes_and_differences_paired(presets):
    rows = {row.name: row for row in compare(presets)}
    parts = np.stack([run.episodes["parts"] for run in presets["parts"]])
    gap = np.stack([run.episodes["global pooling"] for run in presets["gap"]])
    raw = presets["parts"][0].episodes["raw pixels"]
    assert rows["parts"].interval == pytest.approx(crossed_interval(parts)[1:])
    assert rows["parts"].seeds == pytest.approx(parts.mean(1))
    expected = paired_interval(parts, gap)
    found = rows["gap: global pooling"]
    assert (found.difference, *found.difference_interval) == pytest.approx(expected)
    assert found.difference == pytest.approx(parts.mean() - gap.mean())
    # A reader without seeds is shown once, with the interval of one run, and meets every seed.
    assert rows["raw pixels"].seeds == ()
    assert rows["raw pixels"].interval == pytest.approx(mean_interval(raw)[1:])
    assert rows["raw pixels"].difference == pytest.approx((parts - raw).mean())
    assert rows["parts"].difference is None


def test_one_seed_pairs_over_episodes(presets):
    rows = {row.name: row for row in compare({name: runs[:1] for name, runs in presets.items()})}
    parts, gap = presets["parts"][0].episodes["parts"], presets["gap"][0].episodes["global pooling"]
    found = rows["gap: global pooling"]
    assert (found.difference, *found.difference_interval) == pytest.approx(paired_interval(parts, gap))
    assert found.seeds == ()


def test_runs_without_episodes_are_compared_by_seed():
    first = [make_run(f"a-{i}", {"parts": [v]}, "parts") for i, v in enumerate((0.10, 0.12, 0.14))]
    other = [make_run(f"b-{i}", {"gap": [v]}, "gap") for i, v in enumerate((0.20, 0.21, 0.28))]
    runs = {name: [Run(r.folder, {}, r.rows, {}, {}) for r in each] for name, each in (("a", first), ("b", other))}
    rows = compare(runs)
    assert rows[-1].value == pytest.approx(0.12)
    # Three seeds: Student's t with 2 degrees of freedom, 4.3027 x 0.02 / sqrt(3).
    assert rows[-1].interval == pytest.approx((0.12 - 0.04968, 0.12 + 0.04968), abs=1e-5)
    assert rows[0].difference == pytest.approx(-0.11)


def test_a_single_number_keeps_the_interval_of_its_run():
    run = Run("a-0", {}, (Result("parts", 0.1, (0.05, 0.2), reference=True),), {}, {})
    (row,) = compare({"a": [run]})
    assert row.interval == (0.05, 0.2)
    assert over_seeds(np.array([[0.1]])) is None
    assert paired(np.array([[0.1]]), np.array([[0.2]])) is None


@pytest.mark.parametrize("what", ["episodes", "novel"])
def test_other_episodes_or_images_do_not_pair(presets, what):
    runs = dict(presets)
    stranger = presets["gap"][1]
    runs["gap"] = [presets["gap"][0], Run("far", {}, stranger.rows, stranger.episodes, stranger.data | {what: "z"})]
    with pytest.raises(UserError, match=f"far differ in their {what}"):
        compare(runs)


def test_a_missing_reader_and_other_numbers_of_episodes_are_named(presets):
    short = make_run("short", {"parts": np.zeros(3)}, "parts")
    with pytest.raises(UserError, match=r"40 in parts-0, 3 in short"):
        table([presets["parts"][0], short], "parts")
    with pytest.raises(UserError, match="short has no row 'raw pixels'"):
        table([presets["parts"][0], short], "raw pixels")


def test_heads_that_differ_by_seed_say_so():
    runs = [make_run(f"a-{h}", {"parts": np.arange(4) / 4}, "parts", details={"head": h}) for h in ("mean", "mutual")]
    assert compare({"a": runs})[0].details == {"head": "differs by seed"}
    assert compare({"a": runs[:1]})[0].details == {"head": "mean"}


def test_further_settings_are_compared_episode_by_episode():
    rng = np.random.default_rng(3)
    hard = {name: [rng.random(5) for _ in range(2)] for name in ("parts", "pooled")}
    runs = {}
    for name in hard:
        made = [make_run(f"{name}-{s}", {name: rng.random(4)}, name, further={"hard": (0.5, 0.4, 0.6)}) for s in (0, 1)]
        scores = zip(made, hard[name])
        runs[name] = [replace(run, episodes={**run.episodes, f"{name} (hard)": each}) for run, each in scores]
    row, main = compare(runs)
    one, two = (np.stack(hard[name]) for name in ("parts", "pooled"))
    found, lead = crossed_interval(two), paired_interval(one, two)
    assert row.further == {"hard": pytest.approx((found.mean, found.low, found.high))}
    assert row.further_differences == {"hard": pytest.approx((lead.mean, lead.low, lead.high))}
    assert main.further["hard"][0] == pytest.approx(one.mean()) and not main.further_differences
    flat = comparison.numbers((row, main), "novel")
    assert flat["novel/parts_minus_pooled_pooled/hard_low"] == lead.low


def test_numbers_are_flat_and_finite(presets):
    made = numbers(compare(presets), "novel")
    assert {f"test/{name.removeprefix('novel/')}" for name in made} == set(numbers(compare(presets), "test"))
    assert made["novel/parts_minus_gap_global_pooling_low"] < made["novel/parts_minus_gap_global_pooling"]
    assert made["novel/parts/accuracy_run1"] == pytest.approx(presets["parts"][1].episodes["parts"].mean())
    assert made["novel/raw_pixels/vectors"] == 8
    assert all(np.isfinite(value) for value in made.values())
    assert seed_means(presets) == {"mean/parts/x": 0.5, "deviation/parts/x": pytest.approx(0.5**0.5)}


@pytest.mark.parametrize(
    "shift, words", [(0.3, "an interval above zero"), (-0.3, "an interval below zero"), (0.0, "it may be chance")]
)
def test_the_conclusion_says_where_the_interval_lies(shift, words):
    noise = np.random.default_rng(1).normal(0, 0.01, (2, EPISODES))
    first = [make_run("a", {"parts": 0.5 + noise[0]}, "parts")]
    second = [make_run("b", {"gap": 0.5 - shift + noise[1]}, "gap")]
    rows = compare({"a": first, "b": second})
    for others in (["b: gap"], []):
        text = conclusion(rows, others)
        assert words in text and "b: gap" in text and text.startswith("parts: accuracy 50.")


def test_without_other_presets_the_nearest_rival_is_named(presets):
    rows = compare({"parts": presets["parts"]})
    assert "from global pooling" in comparison.conclusion(rows, [])
    assert "from raw pixels" in comparison.conclusion(rows, [], "error", lower_is_better=True)


def test_numbers_of_one_part_are_not_averaged_over_runs_in_which_it_is_another():
    results = {"parts/3/reliance": 0.5, "parts/first": 3.0, "parts/first_off/test/accuracy": 0.25, "test/accuracy": 1.0}
    runs = [make_run("a", {"model": np.ones(4)}, "model", results=results) for _ in range(2)]
    means = {name for name in seed_means({"a": runs}) if name.startswith("mean/")}
    assert means == {"mean/a/parts/first_off/test/accuracy", "mean/a/test/accuracy"}


def test_a_reader_that_is_the_whole_model_goes_by_the_name_of_its_preset():
    runs = {name: [make_run(name, {"model": np.full(4, value)}, "model")] for name, value in (("a", 0.5), ("b", 0.25))}
    rows = compare(runs)
    assert [(row.name, row.reference) for row in rows] == [("b", False), ("a", True)]
    assert "b/accuracy" in "".join(numbers(rows, "test")) and rows[0].difference == pytest.approx(0.25)
