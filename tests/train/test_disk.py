"""Whole files or none; a full disk in one line."""

from __future__ import annotations

import errno
import os

import pytest

from partrep import UserError
from partrep.train.disk import full_disk_is_user_error, is_full, make_folder, need_place, need_space, write_atomically


def test_files_are_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "results.json"
    write_atomically(path, "old")

    def fail(descriptor):
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(UserError, match=r"results.json: no space left on the disk; make room"):
        with full_disk_is_user_error(path):
            write_atomically(path, "new")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_known_by_its_number_text_or_cause():
    caused = ValueError("x")
    caused.__cause__ = OSError(errno.EDQUOT, "quota")
    assert is_full(caused) and is_full(ValueError("write failed: No space left on device [28]"))
    assert not is_full(OSError(errno.ENOENT, "gone")) and not is_full(None)


def test_other_errors_pass(tmp_path):
    with pytest.raises(KeyError), full_disk_is_user_error(tmp_path):
        raise KeyError
    with pytest.raises(UserError, match="mine"), full_disk_is_user_error(tmp_path):
        raise UserError("mine")


def test_room_is_looked_for(tmp_path):
    need_space(tmp_path, 1)
    with pytest.raises(OSError, match="bytes are free"):
        need_space(tmp_path, 1 << 60)


def test_a_pipe_keeps_its_place(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(UserError, match="pipe is a device or a pipe; expected a file"):
        write_atomically(pipe, "text")
    assert pipe.is_fifo() and list(tmp_path.iterdir()) == [pipe]


def test_a_place_for_a_file_is_tried_and_left_as_it_was(tmp_path):
    (tmp_path / "file").write_text("mine")
    os.mkfifo(tmp_path / "pipe")
    before = sorted(tmp_path.iterdir())
    for name in ("file", "new", "a/b/new"):
        need_place(tmp_path / name, "--out", "page.html")
    for name, message in (
        (".", "--out is the folder .*; expected a file, such as .*/page.html"),
        ("pipe", "pipe is a device or a pipe; expected a file"),
        ("file/new", "cannot make the folder .*/file: "),
        (300 * "n", "--out is .*: File name too long; expected a file, such as page.html"),
        ("a/" + 300 * "n", "cannot write --out=.*: File name too long; expected a file, such as page.html"),
    ):
        with pytest.raises(UserError, match=message):
            need_place(tmp_path / name, "--out", "page.html")
    assert sorted(tmp_path.iterdir()) == before and (tmp_path / "file").read_text() == "mine"


def test_a_folder_that_cannot_be_made_leaves_no_parents(tmp_path):
    with pytest.raises(UserError, match="cannot make the folder .*: File name too long; expected a folder to write in"):
        make_folder(tmp_path / "a" / (300 * "n"))
    assert not list(tmp_path.iterdir())
    assert make_folder(tmp_path / "a" / "b") == [tmp_path / "a" / "b", tmp_path / "a"]
    assert make_folder(tmp_path / "a" / "b") == []
