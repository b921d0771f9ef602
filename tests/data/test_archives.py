"""Archives: what is listed, what is refused, what damage says."""

import itertools
import tarfile

import numpy as np
import pytest

from partrep import UserError
from partrep.data.archives import Archive, checked, hidden

FILES = {"b/2.txt": b"two", "a/1.txt": b"one", "a/.DS_Store": b"x", "__MACOSX/a/._1.txt": b"x"}


@pytest.mark.parametrize("name", ["folder", "x.zip", "x.tar", "x.tar.gz", "x.tar.xz"])
def test_same_names_and_bytes_in_every_form(tmp_path, write_archive, name):
    archive = Archive(write_archive(tmp_path / name, FILES))
    assert archive.names == ["a/1.txt", "b/2.txt"]
    assert archive.folders == ["a", "b"]
    assert [archive.read(n) for n in archive.names] == [b"one", b"two"]


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "a/../../evil", "C:/evil", "a\\..\\b"])
@pytest.mark.parametrize("form", ["x.zip", "x.tar.gz"])
def test_paths_outside_are_refused_and_nothing_is_written(tmp_path, write_archive, form, name):
    path = write_archive(tmp_path / form, {"a/1.txt": b"one", name: b"evil"})
    with pytest.raises(UserError, match="points outside"):
        Archive(path)
    assert list(tmp_path.iterdir()) == [path]


def test_links_of_a_tar_are_left_out(tmp_path):
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w") as tar:
        link = tarfile.TarInfo("a/passwd")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    assert Archive(path).names == []


def test_folders_may_be_links_and_have_any_name(tmp_path):
    (tmp_path / "set/c:a").mkdir(parents=True)
    (tmp_path / "set/c:a/1.txt").write_bytes(b"one")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/2.txt").write_bytes(b"two")
    (tmp_path / "set/b").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "set/round").symlink_to(tmp_path / "set")  # a circle
    archive = Archive(tmp_path / "set")
    assert archive.names == ["b/2.txt", "c:a/1.txt"] and archive.folders == ["b", "c:a"]
    assert archive.read("b/2.txt") == b"two"


def flip(path, place):
    """Inverts a byte of a file."""
    data = bytearray(path.read_bytes())
    data[place] ^= 0xFF
    path.write_bytes(data)
    return path


def test_damage_names_the_file(tmp_path, write_archive):
    content = {"a/1.txt": np.random.default_rng(0).bytes(5000)}
    for place in (60, 2000):  # in the stream's header, and in its middle
        path = flip(write_archive(tmp_path / "x.zip", content), place)
        with pytest.raises(UserError, match=r"a/1\.txt cannot be read"):
            Archive(path).read("a/1.txt")
    for suffix, place in itertools.product(("xz", "gz", "bz2"), (100, 2000, -6)):
        path = flip(write_archive(tmp_path / f"x.tar.{suffix}", content), place)
        with pytest.raises(UserError, match="not a readable tar"):
            Archive(path)
    (tmp_path / "y.zip").write_bytes(b"not a zip")
    with pytest.raises(UserError, match=r"y\.zip is not readable"):
        Archive(tmp_path / "y.zip")
    (tmp_path / "y.tar.xz").write_bytes(b"not a tar")
    with pytest.raises(UserError, match="not a readable tar"):
        Archive(tmp_path / "y.tar.xz")
    with pytest.raises(UserError, match="does not exist"):
        Archive(tmp_path / "nothing")
    for name in ("z.zip", "z.tar.xz", "z"):
        with pytest.raises(UserError, match="holds no file q$"):
            Archive(write_archive(tmp_path / name, FILES)).read("q")


def test_names():
    assert checked("./a/b") == "a/b" and checked("a/b..c") == "a/b..c"
    assert hidden(".x/a") and hidden("a/__MACOSX/b") and not hidden("a/b.c")
