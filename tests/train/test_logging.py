"""Logs: one strict line a step, rewound on resume; event files; a bar on a terminal and lines elsewhere."""

from __future__ import annotations

import io
import json
import struct

import jax.numpy as jnp
import pytest
from tensorboardX.proto.event_pb2 import Event

from partrep.train import logging


def read_events(path) -> list[Event]:
    """Reads TFRecords: length, its checksum, data, its checksum."""
    data, events, at = path.read_bytes(), [], 0
    while at < len(data):
        (size,) = struct.unpack_from("<Q", data, at)
        events.append(Event.FromString(data[at + 12 : at + 12 + size]))
        at += 12 + size + 4
    return events


def write(workdir, start: int, steps, **values) -> None:
    with logging.Log(workdir, start, 10) as log:
        for step in steps:
            log.advance(step)
            log.write(step, {"loss": jnp.float32(step / 2), **values})


def steps_of(workdir) -> list[int]:
    return [line["step"] for line in logging.read_metrics(workdir / "metrics.jsonl")]


def test_values_of_one_step_share_a_line_and_the_rest_is_rewound(tmp_path, capfd):
    with logging.Log(tmp_path, 0, 10) as log:
        for step in (1, 2, 3, 4):
            log.advance(step)
            log.write(step, {"stage": "main", "loss": jnp.float32(step)})
            log.write(step, {"val/accuracy": 0.5 if step % 2 else float("nan")})
    text = (tmp_path / "metrics.jsonl").read_text()
    assert [json.loads(line)["val/accuracy"] for line in text.splitlines()] == [0.5, None, 0.5, None]
    assert capfd.readouterr().err.splitlines()[0] == "step 1/10  stage main  loss 1  val/accuracy 0.5"
    (tmp_path / "metrics.jsonl").write_text(text + '{"step": 5, "lo')  # cut off by a kill
    assert steps_of(tmp_path) == [1, 2, 3, 4]
    write(tmp_path, 2, [3, 4, 5])
    assert steps_of(tmp_path) == [1, 2, 3, 4, 5]
    lines = logging.read_metrics(tmp_path / "metrics.jsonl")
    assert lines[2]["loss"] == 1.5 and lines[2]["seconds"] >= lines[1]["seconds"]
    assert logging.read_metrics(tmp_path / "none.jsonl") == []


def test_event_files_hold_the_numbers_and_say_where_a_run_goes_on(tmp_path):
    write(tmp_path, 0, [1, 2], stage="main")
    write(tmp_path, 1, [2])
    first, second = sorted((tmp_path / "tensorboard").iterdir(), key=lambda path: path.name.endswith(".1"))
    events = read_events(first)
    found = [(event.step, value.tag, value.simple_value) for event in events for value in event.summary.value]
    assert [each for each in found if each[1] == "loss"] == [(1, "loss", 0.5), (2, "loss", 1.0)]
    assert {tag for _, tag, _ in found} == {"loss", "seconds"}
    starts = [event.step for event in read_events(second) if event.HasField("session_log")]
    assert starts == [2]


def test_a_terminal_gets_a_bar(tmp_path, monkeypatch):
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr("sys.stderr", terminal)
    write(tmp_path, 4, [5, 6])
    assert "6/10" in terminal.getvalue() and "loss 2.5" in terminal.getvalue()
    assert "\nstep" not in terminal.getvalue()


def test_other_processes_and_runs_without_a_folder_write_nothing(tmp_path, monkeypatch, capfd):
    write(None, 0, [1, 2])
    monkeypatch.setattr(logging, "is_writer", lambda: False)
    write(tmp_path, 0, [1, 2])
    assert list(tmp_path.iterdir()) == [] and capfd.readouterr().err == ""


def test_the_error_on_its_way_up_comes_first(tmp_path, monkeypatch):
    monkeypatch.setattr(logging, "rewind", lambda path, step: 0.0)
    (tmp_path / "metrics.jsonl").symlink_to("/dev/full")
    with pytest.raises(KeyError), logging.Log(tmp_path, 0, 10) as log:
        log.write(1, {"loss": 1.0})
        raise KeyError
