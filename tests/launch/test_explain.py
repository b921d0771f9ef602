"""The command that explains photos: mistakes end in one line, and a finished run makes a page."""

from __future__ import annotations

import pathlib
import shutil

import numpy as np
import pytest
from PIL import Image

import partrep
from launch import explain, runner


def call(*argv):
    explain.main(runner.parse_flags(explain.FLAGS, ["explain", *argv]))


@pytest.fixture
def photos(tmp_path):
    """A folder with a photo whose name has markup, in a folder of its own, and a text."""
    (tmp_path / "mine" / "a & b").mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 255, (40, 60, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "mine" / "a & b" / "<i>.png")
    (tmp_path / "mine" / "notes.txt").write_text("no photo")
    (tmp_path / "mine" / ".hidden").write_text("")
    return tmp_path / "mine"


def test_a_page_of_a_finished_run(trained, photos, tmp_path, capsys):
    out = tmp_path / "new folder" / "page.html"
    call(f"--workdir={trained.workdir}", f"--images={photos}", f"--out={out}")
    said = capsys.readouterr()
    assert said.out.splitlines()[-1] == f"page: {out}"
    assert "not shown: notes.txt: " in said.err and ".hidden" not in said.err
    assert "a & b/\\u003ci>.png" in out.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "change, message",
    [
        (("--workdir=",), "--workdir is missing; expected --workdir=RUN --images=FOLDER --out=PAGE.html"),
        (("--images=nowhere",), "--images is nowhere; expected a folder of photos"),
        (("--workdir=nowhere",), "nowhere, which holds no finished run"),
        (("--out=.",), "--out is the folder .; expected a file"),
        (("--out=nowhere/" + 300 * "n",), "cannot write --out=nowhere/n*: File name too long; expected a file"),
    ],
)
def test_mistakes_of_the_command_line(trained, photos, tmp_path, change, message):
    with pytest.raises(partrep.UserError, match=message):
        call(f"--workdir={trained.workdir}", f"--images={photos}", f"--out={tmp_path / 'page.html'}", *change)
    assert not (tmp_path / "page.html").exists() and not pathlib.Path("nowhere").exists()


def test_a_run_that_lost_its_backbone(trained, photos, tmp_path):
    shutil.copytree(trained.workdir, tmp_path / "run", ignore=shutil.ignore_patterns("backbone.safetensors"))
    with pytest.raises(partrep.UserError, match=r"run/backbone.safetensors is missing; expected the frozen backbone"):
        call(f"--workdir={tmp_path / 'run'}", f"--images={photos}", f"--out={tmp_path / 'new' / 'page.html'}")
    assert not (tmp_path / "new").exists()


def test_a_folder_without_a_photo(trained, photos, tmp_path):
    (photos / "a & b" / "<i>.png").unlink()
    with pytest.raises(partrep.UserError, match=r"has 1 files, none of them a photo \(notes.txt: .*expected photos such"):
        call(f"--workdir={trained.workdir}", f"--images={photos}", f"--out={tmp_path / 'page.html'}")
    assert not (tmp_path / "page.html").exists()
