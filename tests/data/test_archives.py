"""Archives: what is listed, what is refused, what damage says."""

import tarfile

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


def test_damage_names_the_file(tmp_path, write_archive):
    path = write_archive(tmp_path / "x.zip", {"a/1.txt": b"one" * 1000})
    data = bytearray(path.read_bytes())
    data[60] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"a/1\.txt cannot be read"):
        Archive(path).read("a/1.txt")
    (tmp_path / "y.zip").write_bytes(b"not a zip")
    with pytest.raises(UserError, match=r"y\.zip is not readable"):
        Archive(tmp_path / "y.zip")
    (tmp_path / "y.tar.xz").write_bytes(b"not a tar")
    with pytest.raises(UserError, match="not a readable tar"):
        Archive(tmp_path / "y.tar.xz")
    with pytest.raises(UserError, match="does not exist"):
        Archive(tmp_path / "nothing")
    with pytest.raises(UserError, match="holds no file"):
        Archive(write_archive(tmp_path / "z.zip", FILES)).read("q")


def test_names():
    assert checked("./a/b") == "a/b" and checked("a/b..c") == "a/b..c"
    assert hidden(".x/a") and hidden("a/__MACOSX/b") and not hidden("a/b.c")
