"""Folders and archives of class folders."""

import pickle

import numpy as np
import pytest

from partrep import UserError
from partrep.data.folder import FolderSource


@pytest.fixture
def files(encode):
    def image(value):
        return encode(np.full((6, 8, 3), value, np.uint8))

    return {"wren/b.png": image(3), "wren/a.png": image(2), "finch/sub/c.png": image(1), "wren/.hidden": b"x"}


@pytest.mark.parametrize("prefix", ["", "set/train/"])
@pytest.mark.parametrize("name", ["folder", "x.zip", "x.tar.xz"])
def test_same_source_in_every_form(tmp_path, write_archive, files, name, prefix):
    files = {prefix + key: data for key, data in files.items()} | {prefix + "README": b"about"}
    source = FolderSource(write_archive(tmp_path / name, files), size=4)
    assert source.classes == ["finch", "wren"] and source.labels.tolist() == [0, 1, 1]
    assert source.ids == [prefix + n for n in ("finch/sub/c.png", "wren/a.png", "wren/b.png")]
    assert [source[i]["image"][0, 0, 0] for i in range(3)] == [1, 2, 3]
    assert source[1]["image"].shape == (4, 4, 3) and source[1]["label"] == 1 and len(source) == 3
    again = pickle.loads(pickle.dumps(source))
    assert np.array_equal(again[2]["image"], source[2]["image"])


def test_one_class_is_a_class(tmp_path, write_archive, files):
    del files["finch/sub/c.png"]
    assert FolderSource(write_archive(tmp_path / "x.zip", files)).classes == ["wren"]


def test_bad_input_is_named(tmp_path, write_archive, files):
    with pytest.raises(UserError, match=r"nowhere does not exist"):
        FolderSource(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no image in a class folder"):
        FolderSource(tmp_path / "empty")
    flat = write_archive(tmp_path / "flat.zip", {"a.png": files["wren/a.png"]})
    with pytest.raises(UserError, match="expected CLASS/IMAGE"):
        FolderSource(flat)
    folder = write_archive(tmp_path / "folder", files)
    (folder / "robin").mkdir()
    with pytest.raises(UserError, match="class 'robin' has no image"):
        FolderSource(folder)
    (folder / "robin/notes.txt").write_text("hello")
    with pytest.raises(UserError, match=r"robin/notes\.txt is not a readable image"):
        FolderSource(folder)
    with pytest.raises(UserError, match="points outside"):
        FolderSource(write_archive(tmp_path / "evil.zip", files | {"wren/../../../e.png": b"x"}))
    assert not (tmp_path.parent / "e.png").exists()


def test_a_truncated_image_is_named_when_read(tmp_path, write_archive, encode, files):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    files["wren/z.jpg"] = encode(noise, "JPEG")[:1500]
    source = FolderSource(write_archive(tmp_path / "x.zip", files))
    with pytest.raises(UserError, match=r"x\.zip: wren/z\.jpg is not a readable image"):
        source[3]


def test_real_flowers(shared):
    source = FolderSource(shared / "data/flowers17/test.zip", size=64)
    assert len(source) == 272 and len(source.classes) == 17 and source[0]["image"].shape == (64, 64, 3)
