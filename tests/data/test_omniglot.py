"""Omniglot: strokes by hand, a small set of our own, and the counts of the real files."""

import zipfile

import numpy as np
import pytest

from partrep import UserError
from partrep.data.omniglot import Omniglot, distance_to_polyline, parse_id, parse_strokes


@pytest.fixture
def tiny(tmp_path, encode):
    """Two alphabets in the two small files, of which one character is in both; strokes for the first file."""
    cross = np.ones((105, 105), bool)
    cross[50, 20:80] = False
    cross[20:80, 40] = False
    strokes = "START\n20,-50,0\n79,-50,9\nBREAK\nSTART\n40,-20,20\n40,-79,30\nBREAK\n"
    drawn = {"small1": ["Latin/character01/0001_01"], "small2": ["Latin/character01/0001_01"]}
    drawn["small1"] += ["Greek/character02/0007_03", "Greek/character02/0007_01"]
    for name, members in drawn.items():
        with zipfile.ZipFile(tmp_path / f"images_background_{name}.zip", "w") as archive:
            for member in members:
                archive.writestr(f"images_background_{name}/{member}.png", encode(cross))
    with zipfile.ZipFile(tmp_path / "strokes_background_small1.zip", "w") as archive:
        for member in drawn["small1"]:
            archive.writestr(f"strokes_background_small1/{member}.txt", strokes)
    return tmp_path


def test_labels_groups_and_drawers(tiny):
    source = Omniglot(tiny, ["small1", "small2"])
    greek, latin = "Greek/character02", "Latin/character01"
    assert source.ids == [f"{greek}/0007_01", f"{greek}/0007_03", f"{latin}/0001_01"]
    assert source.classes == [greek, latin] and source.labels.tolist() == [0, 0, 1]
    assert source.group_names == ["Greek", "Latin"] and source.groups.tolist() == [0, 0, 1]
    assert source.attributes["drawer"].tolist() == [1, 3, 1]
    assert source.images.shape == (3, 105, 105, 1) and source.images.dtype == np.uint8
    assert source.images[0, 50, 30, 0] == 0 and source.images[0, 0, 0, 0] == 255
    assert source[2]["drawer"] == 1 and source[2]["group"] == 1


def test_stroke_mask_by_hand(tiny):
    source = Omniglot(tiny, "small1", size=28)
    assert source.has_strokes and source.images.shape == (3, 28, 28, 1)
    mask = source.stroke_mask(1)
    assert mask.shape == (105, 105) and mask.dtype == np.uint8
    assert (mask[50, 20:39] == 1).all() and (mask[50, 42:80] == 1).all()
    assert (mask[20:49, 40] == 2).all() and (mask[52:80, 40] == 2).all()
    assert (mask > 0).sum() == 60 + 60 - 1


def test_split_carries_the_strokes_along(tiny):
    kept, held = Omniglot(tiny, "small1").split(["Greek"])
    assert kept.ids == ["Latin/character01/0001_01"]
    assert len(held) == 2 and held.classes == ["Greek/character02"]
    assert kept.stroke_mask(0).max() == 2
    assert not Omniglot(tiny, "small2").has_strokes


def test_errors(tiny, encode):
    with pytest.raises(UserError, match=r"no images_background\.zip in"):
        Omniglot(tiny, "full")
    with pytest.raises(UserError, match="unknown Omniglot file 'huge'; known: evaluation, full, small"):
        Omniglot(tiny, "huge")
    with pytest.raises(UserError, match=r"'q' is not a stroke line"):
        parse_strokes("START\nq\nBREAK", "x")
    with pytest.raises(UserError, match="holds no pen stroke"):
        parse_strokes("START\nBREAK", "x")
    with pytest.raises(UserError, match="expected alphabet/character"):
        parse_id("a/b/c")
    with zipfile.ZipFile(tiny / "images_background.zip", "w") as archive:
        archive.writestr("images_background/A/character01/1_01.png", b"no image")
    with pytest.raises(UserError, match=r"1_01\.png is not a readable image"):
        Omniglot(tiny, "full")
    with zipfile.ZipFile(tiny / "images_background.zip", "w") as archive:
        archive.writestr("images_background/A/character01/1_01.png", encode(np.ones((10, 10), bool)))
    with pytest.raises(UserError, match="expected 105x105"):
        Omniglot(tiny, "full")


def test_distance_to_polyline():
    points = np.array([[0.0, 5.0], [3.0, 2.0], [-3.0, -4.0]])
    line = np.array([[0.0, 0.0], [0.0, 4.0], [4.0, 4.0], [4.0, 4.0]])
    assert np.allclose(distance_to_polyline(points, line), [1, 2, 5])
    assert np.allclose(distance_to_polyline(points, line[:1]), [5, 13**0.5, 5])


def test_real_small1(shared):
    source = Omniglot(shared / "data/omniglot", "small1", size=28)
    assert len(source) == 2720 and len(source.classes) == 136 and len(source.group_names) == 5
    assert (np.bincount(source.labels) == 20).all()
    assert source.group_names == ["Balinese", "Early_Aramaic", "Greek", "Korean", "Latin"]
    characters = [len(np.unique(source.labels[source.groups == group])) for group in range(5)]
    assert characters == [24, 22, 24, 40, 26]
    pairs = {(int(label), int(drawer)) for label, drawer in zip(source.labels, source.attributes["drawer"])}
    assert pairs == {(label, drawer) for label in range(136) for drawer in range(1, 21)}


def test_real_strokes_cover_the_ink(shared):
    source = Omniglot(shared / "data/omniglot", "small1", size=105)
    assert source.has_strokes
    for index in range(0, 2720, 340):
        mask, strokes = source.stroke_mask(index), source.strokes(index)
        ink = source.images[index, :, :, 0] == 0
        assert np.array_equal(mask > 0, ink)
        assert set(np.unique(mask[ink])) == set(range(1, len(strokes) + 1))
        places = np.argwhere(ink)
        nearest = np.min([distance_to_polyline(places, stroke) for stroke in strokes], 0)
        assert (nearest > 4).mean() < 0.03 and np.median(nearest) < 2  # a pen about three pixels wide


def test_real_evaluation(shared):
    names = Omniglot(shared / "data/omniglot", "evaluation", size=14)
    assert len(names) == 13180 and len(names.classes) == 659 and len(names.group_names) == 20
