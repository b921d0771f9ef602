"""The one file that writes logs: metrics.jsonl, TensorBoard, a progress bar or plain lines."""

from __future__ import annotations

import json
import math
import os
import pathlib
import sys
import time
from collections.abc import Mapping
from typing import Any

from tensorboardX import summary
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tqdm import tqdm

from partrep.train.disk import full_disk_is_user_error, write_atomically
from partrep.train.sharding import is_writer

METRICS = "metrics.jsonl"


def read_metrics(path: pathlib.Path) -> list[dict[str, Any]]:
    """Returns the lines of a metrics file in order, up to a line that a kill left half-written."""
    lines: list[dict[str, Any]] = []
    if not path.exists():
        return lines
    for line in path.read_text(errors="replace").splitlines():
        try:
            lines.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return lines


def rewind(path: pathlib.Path, step: int) -> float:
    """Drops the lines after `step`, which a resumed run writes again; returns the seconds spent up to there."""
    if not path.exists():
        return 0.0
    kept = [line for line in read_metrics(path) if line["step"] <= step]
    write_atomically(path, "".join(json.dumps(line) + "\n" for line in kept))
    return kept[-1]["seconds"] if kept else 0.0


def strict(value: Any) -> Any:
    """Returns a value that strict JSON can hold: numbers that are not finite become None.

    >>> strict(float("nan")), strict(0.5), strict("head")
    (None, 0.5, 'head')
    """
    if isinstance(value, str | bool | int) or value is None:
        return value
    value = float(value)
    return value if math.isfinite(value) else None


class Log:
    """Collects the numbers of each step and writes one line a step; other processes write nothing.

    Every value of a resumed run equals that of an unbroken one but `seconds`, the time spent so far.
    """

    def __init__(self, workdir: pathlib.Path | None, step: int, steps: int, tensorboard: bool = True):
        self._spent, self._start = 0.0, time.monotonic()
        self._file: Any = None
        self._events: EventsWriter | None = None
        self._bar: tqdm | None = None
        self._plain = False
        self._open: dict[str, Any] = {}
        self.step = step
        self._steps = steps
        if not is_writer():
            return
        if workdir is not None:
            self._path = workdir / METRICS
            with full_disk_is_user_error(self._path):
                workdir.mkdir(parents=True, exist_ok=True)
                self._spent = rewind(self._path, step)
                self._file = self._path.open("a")
                self._events = open_events(workdir / "tensorboard", step) if tensorboard else None
        if sys.stderr.isatty():
            self._bar = tqdm(total=steps, initial=step, unit="step", dynamic_ncols=True, leave=False)
        else:
            self._plain = workdir is not None

    def __enter__(self) -> Log:
        return self

    def __exit__(self, kind: Any, *_: Any) -> None:
        try:
            self.flush()
        except Exception:
            if kind is None:  # else the error on its way up came first
                raise
        finally:
            self.close()

    def write(self, step: int, values: Mapping[str, Any]) -> None:
        """Adds values to the line of `step`; steps come in order."""
        if self._open and self._open["step"] != step:
            self._emit()
        self._open = self._open or {"step": step, "seconds": self._seconds()}
        self._open |= {name: strict(value) for name, value in values.items()}

    def advance(self, step: int) -> None:
        """Notes that `step` has begun to be done, and with it that the lines before it are whole."""
        self.step = step
        if self._open and self._open["step"] < step:
            self._emit()
        if self._bar is not None:
            self._bar.update(step - self._bar.n)

    def flush(self) -> None:
        """Writes what was collected down to the disk."""
        self._emit()
        if self._file is not None:
            with full_disk_is_user_error(self._path):
                self._file.flush()
                os.fsync(self._file.fileno())
                if self._events is not None:
                    self._events.flush()

    def close(self) -> None:
        """Ends the bar and closes the files; what they could not take was already said by `flush`."""
        if self._bar is not None:
            self._bar.close()
        for file in (self._file, self._events):
            try:
                if file is not None:
                    file.close()
            except OSError:
                continue
        self._file = self._events = None

    def _seconds(self) -> float:
        return round(self._spent + time.monotonic() - self._start, 2)

    def _emit(self) -> None:
        line, self._open = self._open, {}
        if not line:
            return
        if self._file is not None:
            with full_disk_is_user_error(self._path):
                self._file.write(json.dumps(line) + "\n")
                self._file.flush()
                self._emit_events(line)
        if self._bar is not None:
            self._bar.set_postfix_str(brief(line))
        elif self._plain:
            print(f"step {line['step']}/{self._steps}  {brief(line)}", file=sys.stderr, flush=True)

    def _emit_events(self, line: Mapping[str, Any]) -> None:
        for name, value in line.items():
            if self._events is not None and name != "step" and isinstance(value, int | float):
                scalar = summary.scalar(name, value)
                self._events.write_event(Event(wall_time=time.time(), step=line["step"], summary=scalar))


def open_events(folder: pathlib.Path, step: int) -> EventsWriter:
    """Opens an event file of its own and tells TensorBoard to forget the steps after `step`."""
    folder.mkdir(parents=True, exist_ok=True)
    # The synchronous writer: the usual one hands events to a thread that hangs the run once the disk is full.
    events = EventsWriter(str(folder / "events"), filename_suffix=f".{os.getpid()}.{step}")
    session = SessionLog(status=SessionLog.START)
    events.write_event(Event(wall_time=time.time(), step=step + 1, session_log=session))
    return events


def brief(line: Mapping[str, Any]) -> str:
    """The numbers of a line that fit beside a progress bar: all but the step and the time.

    >>> brief({"step": 5, "seconds": 1.0, "stage": "main", "loss": 0.51234})
    'stage main  loss 0.5123'
    """
    shown = {name: value for name, value in line.items() if name not in ("step", "seconds")}
    return "  ".join(
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in shown.items()
    )
