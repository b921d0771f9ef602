"""What a run leaves: the claim on its workdir, its numbers, and what a failed start takes away again."""

from __future__ import annotations

import errno
import json

import numpy as np
import pytest
from ml_collections import ConfigDict

import partrep
from launch import record
from partrep.report.content import FewshotPage, Result
from partrep.tasks.outcome import Outcome


@pytest.fixture
def config():
    return ConfigDict(dict(task="fewshot", preset="parts", seed=3, data=dict(size=64, scale=(0.9, 1.1))))


@pytest.fixture
def outcome():
    rows = (
        Result("raw pixels", 0.4, (0.3, 0.5), difference=0.2, difference_interval=(0.1, 0.3)),
        Result("parts", 0.6, (0.5, 0.7), vectors=8, reference=True, details={"head": "aligned"}),
    )
    return Outcome(
        results={"novel/parts/accuracy": np.float32(0.5), "lost": float("nan")},
        rows=rows,
        page=FewshotPage("t", "c", chance=0.2),
        episodes={"raw pixels": np.arange(4) / 4, "parts": np.ones(4)},
        fingerprints={"episodes": "abc"},
        test_evaluations=2,
    )


@pytest.mark.parametrize(
    "found, wanted, words",
    [
        ({"a": {"b": 1}}, {"a": {"b": 2}}, "config.a.b is 1 there and 2 here"),
        ({"a": 1}, {"a": 1, "c": "x"}, "config.c is missing there and 'x' here"),
        ({"a": 1, "c": "x"}, {"a": 1}, "config.c is 'x' there and missing here"),
        ({"a": {"b": 1}}, {"a": 3}, "config.a is {'b': 1} there and 3 here"),
    ],
)
def test_the_first_difference_in_words(found, wanted, words):
    assert record.difference(found, wanted) == words


def test_a_claimed_workdir_takes_its_own_config_again_and_no_other(tmp_path, config):
    workdir = tmp_path / "deep" / "run"
    for _ in range(2):
        record.check(workdir, config)
        with record.claimed(workdir, config):
            pass
    assert json.loads((workdir / "config.json").read_text())["data"] == {"size": 64, "scale": [0.9, 1.1]}
    config.data.size = 32
    before = sorted(workdir.iterdir())
    with pytest.raises(partrep.UserError, match=r"another config: config\.data\.size is 64 there and 32 here"):
        record.check(workdir, config)
    assert sorted(workdir.iterdir()) == before


@pytest.mark.parametrize("where", ["file", "file/run"])
def test_a_file_is_no_workdir(tmp_path, config, where):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(partrep.UserError, match="file is a file; expected a folder"):
        record.check(tmp_path / where, config)
    assert (tmp_path / "file").read_text() == "mine"


def test_a_damaged_config_is_said(tmp_path, config):
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(partrep.UserError, match=r"config\.json is not readable JSON"):
        record.check(tmp_path, config)


def test_a_disk_without_room_is_refused_before_anything_is_written(tmp_path, config, monkeypatch):
    usage = record.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(record.shutil, "disk_usage", lambda _: usage._replace(free=2 * 2**20))
    with pytest.raises(partrep.UserError, match=r"2\.0 MB free; expected 16 MB"):
        record.check(tmp_path / "run", config)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("error", [partrep.UserError("x"), OSError(errno.ENOSPC, "full")])
def test_a_start_that_fails_leaves_no_workdir(tmp_path, config, error):
    workdir = tmp_path / "runs" / "mine"
    with pytest.raises(type(error)), record.claimed(workdir, config):
        (workdir / "checkpoints" / "half").mkdir(parents=True)
        (workdir / "metrics.jsonl").write_text("{}")
        raise error
    assert list(tmp_path.iterdir()) == []


def test_an_empty_folder_stays_and_another_run_beside_it_too(tmp_path, config):
    (tmp_path / "runs" / "other").mkdir(parents=True)
    (tmp_path / "runs" / "mine").mkdir()
    for name in ("mine", "new"):
        with pytest.raises(partrep.UserError), record.claimed(tmp_path / "runs" / name, config):
            raise partrep.UserError("x")
    assert sorted(p.name for p in (tmp_path / "runs").iterdir()) == ["mine", "other"]
    assert list((tmp_path / "runs" / "mine").iterdir()) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("a bug")])
def test_kills_and_bugs_leave_everything_for_the_next_start(tmp_path, config, error):
    with pytest.raises(type(error)), record.claimed(tmp_path / "run", config):
        raise error
    assert (tmp_path / "run" / "config.json").exists()


def test_after_a_checkpoint_an_error_leaves_everything(tmp_path, config):
    with pytest.raises(partrep.UserError), record.claimed(tmp_path / "run", config):
        (tmp_path / "run" / "checkpoints").mkdir()
        (tmp_path / "run" / "checkpoints" / "200.json").write_text("{}")
        raise partrep.UserError("training diverged")
    assert (tmp_path / "run" / "checkpoints" / "200.json").exists()


def test_what_else_lies_in_the_workdir_is_not_touched(tmp_path, config):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(partrep.UserError), record.claimed(tmp_path, config):
        raise partrep.UserError("x")
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_results_are_strict_json_with_provenance(tmp_path, config, outcome):
    with record.claimed(tmp_path, config):
        assert not record.finished(tmp_path, config)
        record.save_results(tmp_path, outcome, record.provenance(config, outcome, 1.26))
    saved = json.loads((tmp_path / "results.json").read_text(), parse_constant=pytest.fail)
    provenance = saved.pop("provenance")
    assert saved == {"novel/parts/accuracy": 0.5, "lost": None}
    assert provenance["test_evaluations"] == 2
    assert (provenance["seed"], provenance["data"], provenance["wall_seconds"]) == (3, {"episodes": "abc"}, 1.3)
    assert {"jax", "flax", "numpy", "partrep"} <= set(provenance["versions"])
    assert record.finished(tmp_path, config)
    config.seed = 4
    assert not record.finished(tmp_path, config)


def test_rows_and_episodes_come_back_as_they_were(tmp_path, outcome):
    record.save_results(tmp_path, outcome, {})
    table = record.read_rows(tmp_path)
    assert table["rows"] == outcome.rows
    assert (table["measure"], table["lower_is_better"], table["chance"]) == ("accuracy", False, 0.2)
    found = record.read_episodes(tmp_path)
    assert sorted(found) == ["parts", "raw pixels"]
    assert found["raw pixels"].tolist() == [0, 0.25, 0.5, 0.75]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["episodes.npz", "results.json", "rows.json"]


def test_a_failed_write_keeps_the_old_file_and_no_litter(tmp_path):
    path = tmp_path / "x.json"
    record.write_json(path, {"a": 1})
    with pytest.raises(ValueError):
        record.write_json(path, {"a": float("nan")})
    assert json.loads(path.read_text()) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]
