"""CUB-200-2011: a stand-in of two classes with photos, malformed files, and the real annotation files."""

import pickle
import time

import numpy as np
import pytest

from partrep import UserError
from partrep.data import cub
from partrep.data.decode import View
from partrep.data.photos import PhotoSet

ROOT = "CUB_200_2011/"
NAMES = ["001.Wren/Wren_0001_12.jpg", "001.Wren/Wren_0002_7.jpg", "002.Finch/Finch_0001_3.jpg"]


def lines(*rows):
    return "\n".join(rows).encode() + b"\n"


@pytest.fixture
def files(encode):
    """Photos of 60 x 80 pixels, black but for a white square around the beak, at (y, x) = (20, 60)."""
    photo = np.zeros((60, 80, 3), np.uint8)
    photo[17:23, 57:63] = 255
    made = {f"{ROOT}images/{name}": encode(photo, "JPEG") for name in NAMES}
    official = {
        "images.txt": lines(f"12 {NAMES[1]}", f"7 {NAMES[0]}", f"30 {NAMES[2]}"),
        "classes.txt": lines("1 001.Wren", "2 002.Finch"),
        "image_class_labels.txt": lines("30 2", "7 1", "12 1"),
        "train_test_split.txt": lines("7 1", "12 0", "30 1"),
        "bounding_boxes.txt": lines("7 40.0 15.0 20.0 30.0", "12 0.0 0.0 80.0 60.0"),
        "parts/parts.txt": lines("1 back", "2 beak", "7 left eye"),
        "parts/part_locs.txt": lines("7 1 0.0 0.0 0", "7 2 60.0 20.0 1", "7 7 58.0 19.5 1", "12 2 1.0 2.0 1", "30 7 0.0 0.0 0"),
        "attributes/class_attribute_labels_continuous.txt": lines("0.0 25.0", "100.0 0.0"),
        "attributes/certainties.txt": lines("1 not visible", "2 guessing"),
        "README": b"about",
    }
    made |= {ROOT + name: data for name, data in official.items()}
    return made | {"attributes.txt": lines("1 has_bill_shape::curved_(up_or_down)", "2 has_wing::solid")}


@pytest.mark.parametrize("name", ["folder", "x.tar.gz"])
def test_a_set_with_photos(tmp_path, write_archive, files, name):
    photos = cub.load(write_archive(tmp_path / name, files))
    assert photos.ids == tuple(f"{ROOT}images/{NAMES[i]}" for i in (1, 0, 2))
    assert photos.classes == ("001.Wren", "002.Finch") and photos.labels.tolist() == [0, 0, 1]
    assert photos.split.tolist() == [1, 0, 0]
    truth = photos.truth
    assert truth.sizes.tolist() == [[60, 80]] * 3 and truth.keypoint_names == ("back", "beak", "left eye")
    assert truth.boxes[1].tolist() == [0.25, 0.5, 0.75, 0.75] and np.isnan(truth.boxes[2]).all()
    assert truth.visible.tolist() == [[False, True, False], [False, True, True], [False] * 3]
    assert np.allclose(truth.keypoints[1, 1:], [[20 / 60, 60 / 80], [19.5 / 60, 58 / 80]])
    assert np.array_equal(np.isnan(truth.keypoints).any(-1), ~truth.visible)
    assert truth.attributes.tolist() == [[0, 0.25], [0, 0.25], [1, 0]] and truth.mask(0) is None
    part = pickle.loads(pickle.dumps(photos.take(np.array([2, 1]))))
    assert np.array_equal(part.truth.visible, truth.visible[[2, 1]]) and part.fingerprint != photos.fingerprint


def test_a_keypoint_lies_on_its_mark_in_a_view(tmp_path, write_archive, files):
    photos, view = cub.load(write_archive(tmp_path / "x.zip", files)), View(120, 116)
    beak = view.in_view(photos.truth.keypoints[1, 1], photos.truth.sizes[1])
    bright = photos.photo(1, view)[..., 0] > 128
    centre = np.array([np.flatnonzero(bright.any(axis)).mean() + 0.5 for axis in (1, 0)]) / 116
    assert np.abs(beak - centre).max() < 1 / 116


def test_attributes_of_each_photo_with_odd_lines(tmp_path, write_archive, files):
    files[f"{ROOT}attributes/image_attribute_labels.txt"] = lines(
        "7 1 0 3 12.5", "7 2 1 4 0.0", "12 1 1 2 1.5 extra 3", "12 2 0 1 7.75", "30 1 1 3 27.7080 0.5", "30 2 1 1 2"
    )
    path = write_archive(tmp_path / "x.zip", files)
    known = cub.read_annotations(path)
    assert known.odd_lines == 2
    assert np.array_equal(known.attributes, [[1, np.nan], [0, 1], [1, np.nan]], equal_nan=True)
    assert known.class_attributes.tolist() == [[0, 0.25], [1, 0]]
    truth = cub.load(path).truth
    assert np.array_equal(truth.attributes, known.attributes, equal_nan=True)
    assert truth.attribute_names == ("has_bill_shape::curved_(up_or_down)", "has_wing::solid")


@pytest.mark.parametrize("place", [ROOT, f"{ROOT}attributes/"])
def test_the_names_of_the_attributes_may_lie_elsewhere(tmp_path, write_archive, files, place):
    files[f"{place}attributes.txt"] = files.pop("attributes.txt")
    assert len(cub.read_annotations(write_archive(tmp_path / "x.zip", files)).attribute_names) == 2


def test_without_attributes(tmp_path, write_archive, files):
    bare = {name: data for name, data in files.items() if "attributes" not in name}
    photos = cub.load(write_archive(tmp_path / "x.zip", bare))
    assert photos.truth.attributes is None and photos.truth.attribute_names == ()


def test_a_missing_photo_is_named_when_it_is_read(tmp_path, write_archive, files):
    del files[f"{ROOT}images/{NAMES[2]}"]
    photos = cub.load(write_archive(tmp_path / "x.zip", files))
    assert isinstance(photos, PhotoSet) and len(photos) == 3
    for read in (lambda: photos.read(2), lambda: photos.truth, lambda: photos.fingerprint):
        with pytest.raises(UserError, match=r"x\.zip holds no file CUB_200_2011/images/002\.Finch/Finch_0001_3\.jpg$"):
            read()
    assert photos.take(np.array([0, 1])).truth.sizes.shape == (2, 2)


BAD = {
    "no labels": ("image_class_labels.txt", None, r"holds no image_class_labels\.txt; expected the files of CUB"),
    "a short label file": ("image_class_labels.txt", lines("7 1"), r"has 1 lines for 3 photos; expected one each"),
    "a photo twice": ("train_test_split.txt", lines("7 1", "7 1", "12 0"), r"has 3 lines for 3 photos; expected one each"),
    "an unknown photo": ("train_test_split.txt", lines("7 1", "8 1", "12 0"), r"split\.txt has number 8, unknown to CUB_200_2011/images\.txt"),
    "an unknown class": ("image_class_labels.txt", lines("30 9", "7 1", "12 1"), r"has number 9, unknown to CUB_200_2011/classes"),
    "an unknown part": ("parts/part_locs.txt", lines("7 3 1.0 1.0 1"), r"part_locs\.txt has number 3, unknown to parts/parts"),
    "a word": ("bounding_boxes.txt", lines("7 1 2 3 four"), r"bounding_boxes\.txt is not 5 numbers a line"),
    "no number": ("images.txt", lines("x a.jpg"), r"images\.txt has a line without a number"),
    "a line too short": ("classes.txt", lines("1"), r"classes\.txt, line 1 is '1'; expected 2 words"),
    "no parts": ("parts/parts.txt", None, r"holds no file CUB_200_2011/parts/parts\.txt"),
    "too few shares": ("attributes/class_attribute_labels_continuous.txt", lines("1 2"), r"has 1 lines; expected 2"),
    "no split": ("train_test_split.txt", b"", r"train_test_split\.txt is empty"),
}


@pytest.mark.parametrize("case", BAD)
def test_malformed_files_are_named(tmp_path, write_archive, files, case):
    name, data, message = BAD[case]
    made = {k: v for k, v in (files | {ROOT + name: data}).items() if v is not None}
    with pytest.raises(UserError, match=message) as caught:
        cub.read_annotations(write_archive(tmp_path / "x.zip", made))
    assert "\n" not in str(caught.value)


def test_the_real_annotations(shared):
    path = shared / "data/cub200_2011_annotations.tar.xz"
    start = time.perf_counter()
    known = cub.read_annotations(path)
    assert time.perf_counter() - start < 3
    assert len(known.names) == 11788 and np.bincount(known.split).tolist() == [5994, 5794]
    assert len(known.classes) == 200 and np.bincount(known.labels).min() == 41 and np.bincount(known.labels).max() == 60
    assert known.names[0] == "001.Black_footed_Albatross/Black_Footed_Albatross_0046_18.jpg"
    assert all(name.split("/")[0] == known.classes[label] for name, label in zip(known.names, known.labels))
    assert len(known.keypoint_names) == 15 and known.keypoint_names[6::4] == ("left eye", "right eye", "throat")
    assert known.visible.sum() == 141_407 and known.boxes[0].tolist() == [27, 60, 331, 385]  # 60 27 325 304 as x y w h
    assert known.visible[0, :4].tolist() == [False, True, False, False] and known.keypoints[0, 1].tolist() == [182, 312]
    inside = (known.keypoints >= known.boxes[:, None, :2] - 1) & (known.keypoints <= known.boxes[:, None, 2:] + 1)
    assert inside.all(-1)[known.visible].mean() > 0.99
    assert len(known.attribute_names) == 312 and known.attribute_names[-1] == "has_wing_pattern::multi-colored"
    assert known.class_attributes.shape == (200, 312) and known.attributes is None and known.odd_lines == 0
    assert known.class_attributes[0, 1] == pytest.approx(0.029197080292) and known.class_attributes.max() == 1
    photos = cub.load(path)
    with pytest.raises(UserError, match=r"holds no file images/001\.Black_footed_Albatross/"):
        photos.read(0)
