"""The cache of frozen features: computed once, never taken from a file that is not whole."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading

import numpy as np
import pytest

from partrep import UserError
from partrep.data import features

COUNT = features.BATCH + 3
KEY = {"photos": "a", "weights": "b"}


def photo(index: int) -> np.ndarray:
    return np.full((2, 2, 3), index, np.uint8)


class Backbone:
    """Features [b,1,2,3] that say which photo they are of; counts its batches."""

    def __init__(self):
        self.batches = 0

    def __call__(self, images):
        self.batches += 1
        return np.broadcast_to(images.mean((1, 2, 3), keepdims=True) / 2, (len(images), 1, 2, 3))


def cached(folder, apply, **changes):
    return features.cached(folder, {**KEY, **changes}, COUNT, photo, apply)


def test_features_are_computed_once_and_read_after(tmp_path):
    apply = Backbone()
    found = cached(tmp_path, apply)
    assert (found.shape, found.dtype, apply.batches) == ((COUNT, 1, 2, 3), np.float16, 2)
    np.testing.assert_array_equal(found[:, 0, 0, 0], np.arange(COUNT) / 2)
    again = cached(tmp_path, apply)
    assert apply.batches == 2 and isinstance(again, np.memmap) and not again.flags.writeable
    np.testing.assert_array_equal(again, found)


def test_every_change_of_what_they_depend_on_computes_them_anew(tmp_path, monkeypatch):
    apply = Backbone()
    cached(tmp_path, apply)
    cached(tmp_path, apply, weights="c")
    monkeypatch.setattr(features, "VERSION", features.VERSION + 1)
    cached(tmp_path, apply)
    assert apply.batches == 6
    assert len(list(tmp_path.glob("*.npy"))) == 3


def test_what_they_are_of_is_kept_beside_them(tmp_path):
    cached(tmp_path, Backbone())
    (path,) = tmp_path.glob("*.json")
    assert json.loads(path.read_text()) == {**KEY, "version": features.VERSION}


@pytest.mark.parametrize("damage", ["cut", "empty", "text"])
def test_a_damaged_file_is_computed_anew(tmp_path, damage):
    apply = Backbone()
    expected = np.array(cached(tmp_path, apply))
    (path,) = tmp_path.glob("*.npy")
    whole = path.read_bytes()
    path.write_bytes({"cut": whole[:-7], "empty": b"", "text": b"not an array"}[damage])
    np.testing.assert_array_equal(cached(tmp_path, apply), expected)
    assert apply.batches == 4


def test_a_failure_leaves_nothing_that_is_taken_for_features(tmp_path):
    def broken(index):
        if index == COUNT - 1:
            raise UserError("photo 34 is cut short")
        return photo(index)

    with pytest.raises(UserError, match="photo 34 is cut short"):
        features.cached(tmp_path, KEY, COUNT, broken, Backbone())
    assert [path.suffix for path in tmp_path.iterdir()] == [".lock"]
    assert len(cached(tmp_path, Backbone())) == COUNT


def test_a_full_disk_is_one_line(tmp_path, monkeypatch):
    def full(path, size):
        raise OSError(errno.ENOSPC, "full", str(path))

    monkeypatch.setattr(features, "need_space", full)
    with pytest.raises(UserError, match="no space left on the disk"):
        cached(tmp_path, Backbone())
    assert [path.suffix for path in tmp_path.iterdir()] == [".lock"]


def test_two_runs_at_once_compute_them_once(tmp_path):
    entered, go = threading.Event(), threading.Event()
    slow, other, found = Backbone(), Backbone(), {}

    def wait(images):
        entered.set()
        assert go.wait(20)
        return slow(images)

    first = threading.Thread(target=lambda: found.update(first=cached(tmp_path, wait)))
    first.start()
    assert entered.wait(20)
    second = threading.Thread(target=lambda: found.update(second=cached(tmp_path, other)))
    second.start()
    second.join(0.3)
    assert second.is_alive() and other.batches == 0
    go.set()
    first.join(20)
    second.join(20)
    assert (slow.batches, other.batches) == (2, 0)
    np.testing.assert_array_equal(found["first"], found["second"])


def test_a_run_that_was_killed_neither_blocks_nor_spoils_the_next(tmp_path):
    script = """
        import pathlib, sys, time
        import numpy as np
        from partrep.data import features
        def apply(images):
            if images[0, 0, 0, 0]:
                print("second batch", flush=True)
                time.sleep(60)
            return np.full((len(images), 1, 2, 3), 9.0)
        show = lambda index: np.full((2, 2, 3), index, np.uint8)
        features.cached(pathlib.Path(sys.argv[1]), {"photos": "a", "weights": "b"}, 3 * features.BATCH, show, apply)
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout.readline()
        os.kill(process.pid, signal.SIGKILL)
    assert not list(tmp_path.glob("*.npy"))
    found = features.cached(tmp_path, KEY, 3 * features.BATCH, photo, Backbone())
    np.testing.assert_array_equal(found[:, 0, 0, 0], np.arange(3 * features.BATCH) / 2)
    assert not list(tmp_path.glob(".*.tmp"))
