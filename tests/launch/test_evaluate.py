"""A finished classifier scored from the command line: on photos, on its own test images, and what is refused."""

from __future__ import annotations

import json
import shutil
import sys

import numpy as np
import pytest

from launch import evaluate, runner


def launch(monkeypatch, *argv: str) -> None:
    """Runs `launch.evaluate` in this process."""
    monkeypatch.setattr(sys, "argv", ["evaluate", *argv])
    runner.run(evaluate.main, evaluate.FLAGS, evaluate.__doc__)


def refused(monkeypatch, capsys, *argv: str) -> str:
    """The one line that a command ends with."""
    with pytest.raises(SystemExit) as stopped:
        launch(monkeypatch, *argv)
    line = capsys.readouterr().err
    assert stopped.value.code == 2 and line.count("\n") == 1
    return line


def test_photos_and_the_own_test_images_give_the_accuracy_of_the_run(trained, tmp_path, monkeypatch, capsys):
    results = json.loads((trained.workdir / "results.json").read_text())
    out = tmp_path / "made" / "scores.json"
    launch(monkeypatch, f"--workdir={trained.workdir}", f"--images={trained.test}", f"--out={out}")
    printed, found = capsys.readouterr().out.splitlines(), json.loads(out.read_text())
    assert printed[-1] == f"evaluation: {out}" and printed[0].startswith("accuracy  ")
    provenance = found.pop("provenance")
    assert provenance["data"]["count"] == 12 and provenance["data"]["classes"] == 3 and provenance["versions"]["jax"]
    assert results["test/accuracy"] > 0.5
    assert found["accuracy"] == found["mean_per_class_accuracy"] == results["test/accuracy"]
    assert sum(found[f"parts/{k}/reliance"] for k in range(3)) == pytest.approx(1)
    assert np.mean([found[f"class/{name}/accuracy"] for name in ("blue", "green", "red")]) == found["accuracy"]
    counted = json.loads((trained.workdir / "test_evaluations.json").read_text())["test_evaluations"]
    launch(monkeypatch, f"--workdir={trained.workdir}", f"--out={out}")
    own = json.loads(out.read_text())
    assert own.pop("provenance")["data"]["test_evaluations"] == counted + 1
    assert own == pytest.approx(found, abs=2e-3)  # its features are kept as float16
    assert [path.name for path in out.parent.iterdir()] == ["scores.json"]


def test_some_of_the_classes_from_a_zip_and_some_of_the_metrics(trained, tmp_path, monkeypatch):
    shutil.copytree(trained.test / "red", tmp_path / "some" / "red")
    zipped = shutil.make_archive(str(tmp_path / "some"), "zip", tmp_path / "some")
    argv = [f"--workdir={trained.workdir}", f"--images={zipped}", f"--out={tmp_path / 'scores.json'}"]
    launch(monkeypatch, *argv, "--metrics=mean_per_class_accuracy,brier")
    found = json.loads((tmp_path / "scores.json").read_text())
    assert set(found) == {"mean_per_class_accuracy", "brier", "provenance"}


def test_what_is_wrong_is_said_in_a_line_and_nothing_is_written(trained, tmp_path, monkeypatch, capsys):
    out, odd = tmp_path / "scores.json", tmp_path / "odd"
    shutil.copytree(trained.test, odd)
    start = [f"--workdir={trained.workdir}", f"--out={out}"]
    photo = odd / "green" / "1.png"
    photo.write_bytes(photo.read_bytes()[:-200])
    line = refused(monkeypatch, capsys, *start, f"--images={odd}")
    assert "green/1.png is not a readable image" in line
    (odd / "green").rename(odd / "yellow")
    line = refused(monkeypatch, capsys, *start, f"--images={odd}")
    assert "1 of 3 folders that are no class of the model (yellow)" in line and "blue, green, red" in line
    assert "does not exist" in refused(monkeypatch, capsys, *start, f"--images={tmp_path / 'nowhere'}")
    line = refused(monkeypatch, capsys, *start, f"--images={odd}", "--metrics=accuracy,f1")
    assert "unknown metric 'f1'" in line and "expected_calibration_error" in line
    assert "no top5_accuracy" in refused(monkeypatch, capsys, *start, "--metrics=top5_accuracy")
    assert "no finished run" in refused(monkeypatch, capsys, f"--workdir={odd}", f"--out={out}")
    assert "--out is the folder" in refused(monkeypatch, capsys, start[0], f"--out={odd}")
    assert "--out is missing" in refused(monkeypatch, capsys, start[0])
    assert not out.exists()
