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
from partrep.report.content import FewshotPage, Result
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
