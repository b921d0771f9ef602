"""The comparison command on fabricated runs: what it plans, starts, skips, reads and writes."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import numpy as np
import pytest

import partrep
from launch import compare, record, runner
from partrep.report import comparison
from partrep.report.content import ClassifyPage, FewshotPage, Result
from partrep.tasks.outcome import Outcome

FEWSHOT = "configs/fewshot.py"


@pytest.fixture(autouse=True)
def in_checkout(monkeypatch, request):
    monkeypatch.chdir(request.config.rootpath)


def leave_run(planned: compare.Planned, episodes: str = "abc") -> None:
    """Leaves in a folder what a finished run leaves."""
    random = np.random.default_rng(planned.seed)
    raw = np.random.default_rng(9).random(30)
    main = "global pooling" if planned.preset == "gap" else "parts"
    scores = {"raw pixels": raw * 0.3, main: 0.4 + 0.3 * random.random(30) + 0.1 * (main == "parts")}
    rows = tuple(Result(name, float(each.mean()), reference=name == main) for name, each in scores.items())
    results = {f"novel/{main}/accuracy": float(scores[main].mean())}
    if main == "parts":
        columns = ("nmi_foreground", "ari_foreground", "ami_foreground", "ami_all", "keypoint_error", "iou_mean")
        results |= {f"discovery/{method}/{c}": 0.1 + planned.seed for method in ("model", "grid") for c in columns}
    outcome = Outcome(results, rows, FewshotPage("t", "c", chance=0.2), scores, {"episodes": episodes}, 2)
    with record.claimed(planned.folder, planned.config):
        (planned.folder / "metrics.jsonl").write_text('{"step": 1, "validation/accuracy": 0.5}\n')
        record.save_results(
            planned.folder, outcome, record.provenance(planned.config, outcome, 10.0 + planned.seed)
        )


def call(tmp_path, *argv):
    arguments = [f"--config={FEWSHOT}", "--presets=parts,gap", f"--workdir={tmp_path / 'work'}", *argv]
    compare.main(runner.parse_flags(compare.FLAGS, ["compare", *arguments]))


def test_the_plan_has_every_preset_under_every_seed(tmp_path):
    planned = compare.plan(
        f"{FEWSHOT}:smoke,level=easy", ["parts", "gap"], [3, 5], tmp_path, ["--config.label_smoothing=0.2"]
    )
    assert [run.folder.name for run in planned] == ["parts-3", "gap-3", "parts-5", "gap-5"]
    last = planned[-1]
    assert last.arguments == (
        f"--config={FEWSHOT}:gap,smoke,level=easy",
        "--config.label_smoothing=0.2",
        "--config.seed=5",
        f"--workdir={tmp_path / 'gap-5'}",
    )
    config = last.config
    assert (config.preset, config.seed, config.label_smoothing, config.data.level) == ("gap-smoke", 5, 0.2, "easy")


def test_missing_runs_are_started_and_finished_ones_kept(tmp_path, monkeypatch, capsys):
    started = []

    def train(missing):
        started.append([run.folder.name for run in missing])
        for run in missing:
            leave_run(run)

    monkeypatch.setattr(compare, "train", train)
    call(tmp_path, "--seeds=0,1")
    (tmp_path / "work" / "gap-1" / "results.json").unlink()  # as if killed before its end
    call(tmp_path, "--seeds=0,1")
    call(tmp_path, "--seeds=0,1,2")
    assert started == [["parts-0", "gap-0", "parts-1", "gap-1"], ["gap-1"], ["parts-2", "gap-2"]]

    printed = capsys.readouterr().out.splitlines()
    assert printed[-1] == f"report: {tmp_path / 'work' / 'report' / 'index.html'}"
    assert any("gap: global pooling" in line for line in printed)
    saved = json.loads((tmp_path / "work" / "compare.json").read_text())
    provenance = saved.pop("provenance")
    assert all(isinstance(value, int | float) and np.isfinite(value) for value in saved.values())
    assert saved["novel/parts_minus_gap_global_pooling"] == pytest.approx(0.1)
    assert saved["mean/parts/discovery/model/iou_mean"] == pytest.approx(1.1)
    assert provenance["runs"] == [f"{preset}-{seed}" for seed in range(3) for preset in ("parts", "gap")]
    assert provenance["test_evaluations"] == 12 and provenance["wall_seconds"]["gap-2"] == 12.0
    assert provenance["data"] == {"episodes": "abc"} and "seed" not in provenance
    page = (tmp_path / "work" / "report" / "index.html").read_text()
    assert "gap: global pooling" in page and "Do the parts agree" in page
    assert not re.search(r'(src|href)="(?!data:|#)', page)


def test_one_preset_under_one_seed(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(compare, "train", lambda missing: [leave_run(run) for run in missing])
    call(tmp_path, "--presets=gap", "--seeds=4")
    assert "from raw pixels" in capsys.readouterr().out


def test_runs_on_other_episodes_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(compare, "train", lambda missing: [leave_run(run, episodes=run.preset) for run in missing])
    with pytest.raises(partrep.UserError, match="differ in their episodes"):
        call(tmp_path, "--seeds=0")
    assert not (tmp_path / "work" / "compare.json").exists()


def test_a_folder_of_another_config_is_refused_before_any_run(tmp_path, monkeypatch):
    monkeypatch.setattr(compare, "train", pytest.fail)
    (tmp_path / "work" / "gap-0").mkdir(parents=True)
    (tmp_path / "work" / "gap-0" / "config.json").write_text('{"task": "other"}')
    with pytest.raises(partrep.UserError, match="gap-0 holds a run of another config"):
        call(tmp_path, "--seeds=0")


@pytest.mark.parametrize("code, exit_code", [(2, 2), (1, 1), (-9, 1), (130, 130)])
def test_a_run_that_fails_ends_the_comparison_with_its_code(tmp_path, monkeypatch, code, exit_code):
    calls = []

    def run(command, env, check):
        calls.append(command)
        assert env["JAX_COMPILATION_CACHE_DIR"]
        return subprocess.CompletedProcess(command, code)

    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    monkeypatch.setattr(compare.subprocess, "run", run)
    with pytest.raises(SystemExit) as stopped:
        call(tmp_path, "--seeds=0,1")
    assert stopped.value.code == exit_code
    assert len(calls) == 1 and calls[0][:3] == [sys.executable, "-m", "launch.main"]
    assert calls[0][3:] == [
        f"--config={FEWSHOT}:parts",
        "--config.seed=0",
        f"--workdir={tmp_path / 'work' / 'parts-0'}",
    ]


CLASSIFY = "configs/classify.py"


def test_each_seed_runs_in_each_world_and_the_backbone_comes_first(tmp_path):
    planned = compare.plan(
        f"{CLASSIFY}:smoke", ["slots", "gap"], [3, 5], tmp_path, ["--config.dtype=float32"], [100, 101], "gap"
    )
    assert [run.folder.name for run in planned] == [
        f"{what}-{seed}-world{world}"
        for seed in (3, 5)
        for world in (100, 101)
        for what in ("backbone", "slots", "gap")
    ]
    given = ("--config.dtype=float32", "--config.seed=3", "--config.data.world=101")
    folder = tmp_path / "backbone-3-world101"
    unseen = ("--config.evaluation.audit_images=0", "--config.evaluation.pictures=0")
    assert planned[3].arguments == (f"--config={CLASSIFY}:gap,smoke", *given, *unseen, f"--workdir={folder}")
    taken = f"--config.backbone_from={folder}"
    assert planned[4].arguments == (
        f"--config={CLASSIFY}:slots,features=given,smoke", *given, taken, f"--workdir={tmp_path / 'slots-3-world101'}"
    )  # fmt: skip
    assert (planned[5].config.data.world, planned[5].config.backbone_from) == (101, str(folder))
    assert planned[3].config.backbone_from == "" and planned[3].config.data.world == 101
    assert [run.folder.name for run in compare.compared(planned[:3])] == ["slots-3-world100", "gap-3-world100"]


def test_what_needs_another_backbone_or_pixels_trains_its_own(tmp_path):
    for argument, presets in ((CLASSIFY, ["additive", "gap"]), (f"{CLASSIFY}:recombination=on", ["slots", "gap"])):
        planned = compare.plan(argument, presets, [0], tmp_path, [], [100], "gap")
        assert planned[1].config.backbone_from == "" and "features=given" not in planned[1].arguments[0]
    assert compare.plan(CLASSIFY, ["additive", "gap"], [0], tmp_path, [], [100], "gap")[2].config.backbone_from


@pytest.mark.parametrize(
    ("overrides", "worlds", "backbone", "message"),
    [
        (["--config.data.world=7"], [100], None, "--config.data.world is set by --worlds; expected one of the two"),
        ([], [None], "pixels", "unknown preset 'pixels'"),
    ],
)
def test_flags_that_contradict_each_other_are_refused(tmp_path, overrides, worlds, backbone, message):
    with pytest.raises(partrep.UserError, match=message):
        compare.plan(f"{CLASSIFY}:smoke", ["slots", "gap"], [0], tmp_path, overrides, worlds, backbone)


@pytest.mark.parametrize("worlds", ["100,100", "100,0100", "first", "-1"])
def test_worlds_are_different_whole_numbers(tmp_path, worlds):
    with pytest.raises(partrep.UserError, match="--worlds="):
        call(tmp_path, f"--config={CLASSIFY}:smoke", "--presets=slots,gap", f"--worlds={worlds}")


def leave_classifier(planned: compare.Planned) -> None:
    """Leaves what a finished classification run leaves: two classes, four audited images, other numbers by world."""
    world, seed = planned.config.data.world, planned.seed
    lead = 0.25 * (planned.preset == "slots")
    classes = np.array([0.25, 0.5]) + lead + 0.001 * world + 0.01 * seed
    audited = {"contributions": np.array([0.5, 0.25, 0.5, 0.75]) + lead, "hires-cam": np.full(4, 0.125 * (world % 2))}
    results = {"test/accuracy": float(classes.mean()), "model/level": 2, "model/parameters": 2000 + world}
    results |= {"model/part_effect": 2.0, "model/background_effect": 0.5, "model/interaction": 0.1, "model/agreement": 0.9}
    episodes = {"model": classes} | {f"audit: {name}": values for name, values in audited.items()}
    row = Result("model", float(classes.mean()), reference=True)
    outcome = Outcome(results, (row,), ClassifyPage("t", "c", chance=0.5), episodes, {"test": f"birds{world}"}, 2)
    with record.claimed(planned.folder, planned.config):
        (planned.folder / "metrics.jsonl").write_text('{"step": 1, "loss": 0.5}\n')
        record.save_results(planned.folder, outcome, record.provenance(planned.config, outcome, 10.0))


def test_the_worlds_of_a_seed_count_as_one_run(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(compare, "train", lambda missing: [leave_classifier(run) for run in missing])
    call(tmp_path, f"--config={CLASSIFY}:smoke", "--presets=slots,gap", "--seeds=0,1", "--worlds=100,101")
    saved = json.loads((tmp_path / "work" / "compare.json").read_text())
    # Classes 0.25 and 0.5, worlds 100 and 101, seeds 0 and 1: means over all of them.
    assert saved["test/slots/accuracy"] == pytest.approx(0.375 + 0.25 + 0.1005 + 0.005)
    assert saved["test/slots_minus_gap"] == pytest.approx(0.25)
    assert saved["test/slots/accuracy_run1"] == pytest.approx(0.375 + 0.25 + 0.1005 + 0.01)
    assert not any(name.startswith("novel/") for name in saved)
    assert saved["mean/slots/model/parameters"] == pytest.approx(2100.5)
    assert saved["provenance"]["runs"][:4] == [f"{p}-0-world{w}" for w in (100, 101) for p in ("slots", "gap")]
    assert saved["provenance"]["test_evaluations"] == 16
    printed = capsys.readouterr().out
    page = (tmp_path / "work" / "report" / "index.html").read_text()
    for title in ("The models", "Every explanation on every model"):
        assert f"\n{title}\n" in printed and title in page
    # Own correctness 0.75 on slots and 0.5 on gap; hires-cam 0 and 0.125 by world.
    rows = {line.split("  ")[0]: line for line in printed.splitlines()}
    assert "0.750" in rows["contributions"] and "0.500" in rows["contributions"]
    assert "0.062" in rows["hires-cam"] and "0.688" in rows["hires-cam"] and "0.438" in rows["hires-cam"]


def test_classes_of_splits_that_seeds_draw_are_averaged_first(tmp_path):
    """Three splits, two presets: intervals by Student's t over the splits' mean accuracies, by hand."""
    scores = {"linear": ([0.9, 0.5], [0.8, 0.6], [1.0, 0.7]), "mlp": ([0.8, 0.5], [0.9, 0.6], [0.9, 0.6])}
    runs = []
    for seed in range(3):
        for preset, each in scores.items():
            config = runner.parse_config(f"configs/photos.py:{preset},smoke", [f"--config.seed={seed}"])
            run = compare.Planned(preset, seed, (), tmp_path / f"{preset}-{seed}", config)
            values = np.array(each[seed])
            row = Result("model", float(values.mean()), reference=True)
            outcome = Outcome({}, (row,), FewshotPage("t", "c", chance=0.5), {"model": values}, {"test": str(seed)}, 1)
            with record.claimed(run.folder, run.config):
                record.save_results(run.folder, outcome, record.provenance(run.config, outcome, 1.0))
            runs.append(run)
    loaded = {name: compare.by_seed([run for run in runs if run.preset == name]) for name in scores}
    other, main = comparison.compare(loaded)
    assert (main.name, other.name) == ("linear", "mlp")
    means = np.array([[0.7, 0.7, 0.85], [0.65, 0.75, 0.75]])
    half = 4.302653 * means.std(1, ddof=1) / 3**0.5
    assert main.value == pytest.approx(0.75) and main.interval == pytest.approx((0.75 - half[0], 0.75 + half[0]), abs=1e-6)
    lost = means[0] - means[1]
    wide = 4.302653 * lost.std(ddof=1) / 3**0.5
    assert other.difference_interval == pytest.approx((lost.mean() - wide, lost.mean() + wide), abs=1e-6)
    assert "Student's t" in compare.note(runs)
