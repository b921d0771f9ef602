"""The index on disk: append, kill, damage, two writers, another model."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from partrep import UserError
from partrep.search import index as index_file
from partrep.search.exact import search
from partrep.search.index import open_index, writing
from partrep.train.digest import digest_record

MADE_BY = {"model": "a", "view": {"crop": 224}}
ROWS = np.random.default_rng(0).normal(size=(10, 3)).astype(np.float32)
NAMES = [f"photo {i}" for i in range(10)]


def fill(folder, *ends, rows=ROWS):
    """Shards that end at some rows, each written by a run of its own."""
    for start, end in zip((0, *ends), ends):
        with writing(folder, MADE_BY) as writer:
            writer.add(NAMES[start:end], rows[start:end])
    return open_index(folder, MADE_BY)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_an_index_appended_to_equals_one_built_at_once(tmp_path, dtype):
    rows = ROWS.astype(dtype)
    once, thrice = fill(tmp_path / "a", 10, rows=rows), fill(tmp_path / "b", 4, 5, 10, rows=rows)
    for found in (once, thrice):
        assert found.names == tuple(NAMES) and found.descriptors.shape == (10, 3)
        np.testing.assert_array_equal(found.descriptors[0:10], rows)
        assert found.descriptors[3:7].dtype == dtype and isinstance(found.descriptors.arrays[0], np.memmap)
    values = [search(ROWS[:2], found.descriptors, 4, block=64) for found in (once, thrice)]
    np.testing.assert_array_equal(values[0][0], values[1][0])
    np.testing.assert_array_equal(values[0][1], values[1][1])


def test_an_empty_index_opens(tmp_path):
    with writing(tmp_path / "new" / "index", MADE_BY) as writer:
        assert not writer.names
    found = open_index(tmp_path / "new" / "index")
    assert found.names == () and found.descriptors.shape == (0, 0) and found.descriptors[0:3].shape == (0, 0)


def test_a_flipped_byte_in_any_file_is_refused_by_name(tmp_path):
    fill(tmp_path, 4, 10)
    files = sorted(path for path in tmp_path.iterdir() if path.name != ".lock")
    assert [path.name for path in files] == ["00000.json", "00000.npy", "00001.json", "00001.npy", "manifest.json"]
    for path in files:
        whole = path.read_bytes()
        for place in (0, len(whole) // 2, len(whole) - 1):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
            with pytest.raises(UserError, match=f"{path.name} (does not match its|is malformed).*index again"):
                open_index(tmp_path)
            with pytest.raises(UserError, match=path.name), writing(tmp_path, MADE_BY):
                pass
        path.write_bytes(whole[:-1])
        with pytest.raises(UserError, match=path.name):
            open_index(tmp_path)
        path.unlink()
        with pytest.raises(UserError, match=f"{path.name} is missing"):
            open_index(tmp_path)
        path.write_bytes(whole)
    assert open_index(tmp_path).names == tuple(NAMES)


def test_descriptors_of_another_model_are_refused_with_the_difference(tmp_path):
    fill(tmp_path, 4)
    other = {**MADE_BY, "view": {"crop": 256}}
    message = "made otherwise: its view is {'crop': 224}, and here it is {'crop': 256}"
    with pytest.raises(UserError, match=message):
        open_index(tmp_path, other)
    with pytest.raises(UserError, match=message), writing(tmp_path, other):
        pass


def test_an_index_of_another_version_is_refused(tmp_path):
    fill(tmp_path, 4)
    found = json.loads((tmp_path / "manifest.json").read_text()) | {"version": 0}
    (tmp_path / "manifest.json").write_text(json.dumps(found | {"sha256": digest_record(found)}))
    with pytest.raises(UserError, match="of version 0; expected 2: remove"):
        open_index(tmp_path)


def test_names_that_are_dropped_are_gone_and_may_come_again(tmp_path):
    fill(tmp_path, 4, 5, 10)
    with writing(tmp_path, MADE_BY) as writer:
        writer.drop({"photo 1", "photo 4", "photo 9", "unknown"})
        left = [0, 2, 3, 5, 6, 7, 8]
        assert writer.names == {NAMES[i] for i in left}
        found = open_index(tmp_path, MADE_BY)
        assert found.names == tuple(NAMES[i] for i in left) and found.shards == ("00003", "00004")
        np.testing.assert_array_equal(found.descriptors[0:7], ROWS[left])
        writer.add(["photo 4", "photo 1"], ROWS[[1, 4]], [[7, 8], None])
    with writing(tmp_path, MADE_BY) as writer:
        files = sorted(path.name for path in tmp_path.iterdir() if path.name[0].isdigit())
        assert files == [f"{shard}.{kind}" for shard in ("00003", "00004", "00005") for kind in ("json", "npy")]
        assert writer.stamps["photo 4"] == [7, 8] and writer.stamps["photo 1"] is writer.stamps["photo 0"] is None
    found = open_index(tmp_path, MADE_BY)
    assert found.names == (*(NAMES[i] for i in left), "photo 4", "photo 1")
    assert found.stamps == (None,) * 7 + ([7, 8], None)
    np.testing.assert_array_equal(found.descriptors[7:9], ROWS[[1, 4]])


def test_a_full_disk_while_dropping_keeps_what_is_there(tmp_path, monkeypatch):
    fill(tmp_path, 4, 10)

    def full(*args):
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(index_file.np, "save", full)
    with pytest.raises(UserError, match="no space left on the disk"), writing(tmp_path, MADE_BY) as writer:
        writer.drop({"photo 1"})
    assert open_index(tmp_path).names == tuple(NAMES)


def test_a_second_writer_is_refused_and_readers_are_not(tmp_path):
    with writing(tmp_path, MADE_BY) as writer:
        writer.add(NAMES[:4], ROWS[:4])
        with pytest.raises(UserError, match="is being written by another run"), writing(tmp_path, MADE_BY):
            pass
        assert open_index(tmp_path).names == tuple(NAMES[:4])
    fill(tmp_path / "b", 2)


@pytest.mark.parametrize("moment", ["np.save", "write_atomically", "digest_file"])
def test_a_run_that_was_killed_is_continued(tmp_path, moment):
    script = f"""
        import pathlib, sys, time
        import numpy as np
        from partrep.search import index
        def stop(*args):
            print("second shard", flush=True)
            time.sleep(60)
        with index.writing(pathlib.Path(sys.argv[1]), {MADE_BY!r}) as writer:
            writer.add(["photo 0", "photo 1"], np.zeros((2, 3), np.float32))
            index.{moment} = stop
            writer.add(["photo 2"], np.zeros((1, 3), np.float32))
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline()
        os.kill(process.pid, signal.SIGKILL)
    assert open_index(tmp_path).names == ("photo 0", "photo 1")
    assert len([path for path in tmp_path.iterdir() if path.name.startswith(("00001", ".00001"))]) > 0
    with writing(tmp_path, MADE_BY) as writer:
        assert writer.names == {"photo 0", "photo 1"}
        assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "00000.json", "00000.npy", "manifest.json"]
        writer.add(NAMES[2:], ROWS[2:])
    assert open_index(tmp_path, MADE_BY).names == tuple(NAMES)


def test_a_full_disk_is_one_line_and_keeps_what_is_there(tmp_path, monkeypatch):
    fill(tmp_path, 4)

    def full(*args):
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(index_file.np, "save", full)
    with pytest.raises(UserError, match="no space left on the disk"), writing(tmp_path, MADE_BY) as writer:
        writer.add(NAMES[4:], ROWS[4:])
    assert open_index(tmp_path).names == tuple(NAMES[:4])


def test_numbered_files_without_a_manifest_are_somebody_elses(tmp_path):
    """The manifest is written before any vectors, so that an index never lacks it."""
    labels = tmp_path / "labels"
    labels.mkdir()
    (labels / "00001.json").write_text("mine")
    with pytest.raises(UserError, match="holds 00001.json and no index"), writing(labels, MADE_BY):
        pass
    assert [(path.name, path.read_text()) for path in labels.iterdir()] == [("00001.json", "mine")]


def test_folders_that_are_no_index_are_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="holds notes.txt and no index"), writing(tmp_path, MADE_BY):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    with pytest.raises(UserError, match="notes.txt is a file"), writing(tmp_path / "notes.txt", MADE_BY):
        pass
    with pytest.raises(UserError, match=r"holds no index \(manifest.json is missing\)"):
        open_index(tmp_path)


@pytest.mark.parametrize(
    "names, rows, message",
    [
        (["photo 0"], ROWS[:1], "a name is there already"),
        (["new", "new"], ROWS[:2], "a name is there already"),
        (["new"], ROWS[:2], "expected f16 or f32"),
        (["new"], ROWS[:1].astype(float), "expected f16 or f32"),
        (["new"], ROWS[:1, :2], "the index has"),
        (["new"], ROWS[:1] * np.nan, "not finite"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, names, rows, message):
    fill(tmp_path, 4)
    with writing(tmp_path, MADE_BY) as writer, pytest.raises(ValueError, match=message):
        writer.add(names, rows)


def test_a_folder_that_takes_no_file_is_refused(tmp_path, monkeypatch):
    def refuse(path, mode):
        raise OSError(errno.ENOENT, "No such file or directory", str(path))

    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.open", refuse)  # as an empty folder in /proc does
        with pytest.raises(UserError, match="takes no file: No such file or directory; expected a folder for the index"):
            with writing(tmp_path, MADE_BY):
                pass
    with pytest.raises(UserError, match="cannot make the folder .*: File name too long"):
        with writing(tmp_path / "new" / (300 * "n"), MADE_BY):
            pass
    assert not list(tmp_path.iterdir())
