"""CUB-200-2011: photos of birds by species, with boxes, fifteen keypoints and attributes."""

from __future__ import annotations

import dataclasses
import os
from typing import Any

import numpy as np

from partrep import UserError
from partrep.data.archives import Archive
from partrep.data.layouts import find_layout, photo_sizes, read_numbers, read_rows
from partrep.data.photos import TEST, TRAIN, Files, PhotoSet, PhotoTruth

ATTRIBUTE_FILES = ("class_attribute_labels_continuous", "image_attribute_labels")
NOT_VISIBLE = 1  # the certainty of an annotator who could not see the attribute


@dataclasses.dataclass(frozen=True, eq=False)
class CubAnnotations:
    """The annotation files of `n` photos, in pixels of the photo; readable without the photos.

    Attributes:
        names: of the photos, CLASS/PHOTO, in the order of `images.txt`.
        labels: i32 [n].
        classes: names, such as "001.Black_footed_Albatross".
        split: i8 [n], `TRAIN` or `TEST`.
        boxes: f32 [n,4], (y0, x0, y1, x1) in pixels; NaN where there is none.
        keypoints: f32 [n,P,2], (y, x) in pixels; NaN where not visible.
        visible: bool [n,P].
        keypoint_names: of the P = 15 parts, such as "left eye".
        class_attributes: f32 [C,A], the share of annotators, in [0,1]; None where there is no such file.
        attributes: f32 [n,A] of each photo, 0 or 1, and NaN where it could not be seen; None without such a file.
        attribute_names: of the A = 312 attributes, such as "has_bill_shape::dagger".
        odd_lines: how many lines of the attributes had more than five columns; their first four were read.
    """

    names: tuple[str, ...]
    labels: np.ndarray
    classes: tuple[str, ...]
    split: np.ndarray
    boxes: np.ndarray
    keypoints: np.ndarray
    visible: np.ndarray
    keypoint_names: tuple[str, ...]
    class_attributes: np.ndarray | None
    attributes: np.ndarray | None
    attribute_names: tuple[str, ...]
    odd_lines: int


def load(path: str | os.PathLike) -> PhotoSet:
    """The photos with species as classes and the official split; they are read when asked for.

    The truth divides boxes and keypoints by the size of the photo, which its header tells when the truth is first
    used. Attributes are those of the photo, or of its class where `image_attribute_labels.txt` is missing.

    Args:
        path: folder, zip or tar (held in memory, 1.2 GB for the official `.tgz`) with the folder `CUB_200_2011`.

    Raises:
        UserError: as `read_annotations`; a missing photo when it is read, or the truth of it.

    Source: Wah, Branson, Welinder, Perona & Belongie, "The Caltech-UCSD Birds-200-2011 Dataset", 2011.
    """
    archive, root = _find(path)
    known = _read(archive, root)
    files = tuple(f"{root}images/{name}" for name in known.names)
    return PhotoSet(archive, files, known.labels, known.classes, known.split, _Truth(archive, files, known))


def read_annotations(path: str | os.PathLike) -> CubAnnotations:
    """The annotation files alone, of a folder, zip or tar that need not hold the photos.

    Raises:
        UserError: no such layout, a malformed file, a photo without class or split, or an unknown number of one.
    """
    return _read(*_find(path))


def _find(path: str | os.PathLike) -> tuple[Archive, str]:
    return find_layout(path, "image_class_labels.txt", "CUB-200-2011")


class _Truth:
    """`PhotoSet.truth_of` of the birds."""

    def __init__(self, archive: Files, files: tuple[str, ...], known: CubAnnotations):
        self.archive, self.files, self.known = archive, files, known

    def __call__(self, indices: np.ndarray) -> PhotoTruth:
        known, sizes = self.known, photo_sizes(self.archive, [self.files[i] for i in indices])
        attributes = known.attributes
        if attributes is None and known.class_attributes is not None:
            attributes = known.class_attributes[known.labels]
        return PhotoTruth(
            sizes=sizes,
            boxes=(known.boxes[indices] / np.tile(sizes, 2)).astype(np.float32),
            keypoints=(known.keypoints[indices] / sizes[:, None]).astype(np.float32),
            visible=known.visible[indices],
            keypoint_names=known.keypoint_names,
            attributes=None if attributes is None else attributes[indices],
            attribute_names=known.attribute_names,
        )


class _Photos:
    """The rows of the photos: places of the numbers that the files call them by."""

    def __init__(self, archive: Archive, root: str):
        self.archive, self.root = archive, root
        rows = read_rows(archive, f"{root}images.txt", 2)
        self.names = tuple(name for _, name in rows)
        self.place = _Numbers(archive, f"{root}images.txt", [number for number, _ in rows])

    def column(self, file: str) -> np.ndarray:
        """i64 [n]: the one number that a file of two columns gives each photo."""
        numbers = read_numbers(self.archive, f"{self.root}{file}", 2, np.int64)
        places = self.place(numbers[:, 0], file)
        if len(places) != len(self.names) or len(np.unique(places)) != len(places):
            raise UserError(
                f"{self.archive.path}: {file} has {len(places)} lines for {len(self.names)} photos; expected one each"
            )
        values = np.zeros(len(places), np.int64)
        values[places] = numbers[:, 1]
        return values


class _Numbers:
    """Places in a list of what the files call by a number: `numbers(found, file)` are the places of those found."""

    def __init__(self, archive: Files, file: str, words: list[str]):
        try:
            self.known = np.array(words, np.int64)
        except ValueError as error:
            raise UserError(f"{archive.path}: {file} has a line without a number ({error})") from None
        self.order = np.argsort(self.known)
        self.archive, self.listed = archive, file

    def __call__(self, found: np.ndarray, file: str) -> np.ndarray:
        at = np.searchsorted(self.known, found, sorter=self.order)
        places = self.order[np.minimum(at, len(self.known) - 1)]
        wrong = np.flatnonzero(self.known[places] != found)
        if len(wrong):
            raise UserError(f"{self.archive.path}: {file} has number {found[wrong[0]]:g}, unknown to {self.listed}")
        return places


def _read(archive: Archive, root: str) -> CubAnnotations:
    photos = _Photos(archive, root)
    class_rows = read_rows(archive, f"{root}classes.txt", 2)
    classes = _Numbers(archive, f"{root}classes.txt", [number for number, _ in class_rows])
    labels = classes(photos.column("image_class_labels.txt"), "image_class_labels.txt")
    return CubAnnotations(
        names=photos.names,
        labels=labels.astype(np.int32),
        classes=tuple(name for _, name in class_rows),
        split=np.where(photos.column("train_test_split.txt") == 1, TRAIN, TEST).astype(np.int8),
        boxes=_boxes(photos),
        **_keypoints(photos),
        **_attributes(photos, len(class_rows)),
    )


def _boxes(photos: _Photos) -> np.ndarray:
    """From lines of number, x, y, width and height."""
    rows = read_numbers(photos.archive, f"{photos.root}bounding_boxes.txt", 5)
    boxes = np.full((len(photos.names), 4), np.nan, np.float32)
    _, x, y, width, height = rows.T
    boxes[photos.place(rows[:, 0], "bounding_boxes.txt")] = np.stack([y, x, y + height, x + width], axis=1)
    return boxes


def _keypoints(photos: _Photos) -> dict[str, Any]:
    """From lines of photo, part, x, y and whether it is visible."""
    listed = read_rows(photos.archive, f"{photos.root}parts/parts.txt", 2)
    parts = _Numbers(photos.archive, "parts/parts.txt", [number for number, _ in listed])
    rows = read_numbers(photos.archive, f"{photos.root}parts/part_locs.txt", 5)
    place = (photos.place(rows[:, 0], "parts/part_locs.txt"), parts(rows[:, 1], "parts/part_locs.txt"))
    seen = rows[:, 4] == 1
    keypoints = np.full((len(photos.names), len(listed), 2), np.nan, np.float32)
    keypoints[place] = np.where(seen[:, None], rows[:, [3, 2]], np.nan)
    visible = np.zeros(keypoints.shape[:2], bool)
    visible[place] = seen
    return {"keypoints": keypoints, "visible": visible, "keypoint_names": tuple(name for _, name in listed)}


def _attributes(photos: _Photos, classes: int) -> dict[str, Any]:
    """Names and values of the attributes, as far as their files are there."""
    archive, root = photos.archive, photos.root
    known = set(archive.names)
    # The official archive keeps the names beside the folder of everything else; copies of it have moved them.
    places = [root.removesuffix("CUB_200_2011/"), root, f"{root}attributes/"]
    listed = [f"{place}attributes.txt" for place in places if f"{place}attributes.txt" in known]
    rows = read_rows(archive, listed[0], 2) if listed else []
    found: dict[str, Any] = {"attributes": None, "class_attributes": None, "odd_lines": 0}
    found["attribute_names"] = tuple(name for _, name in rows)
    shares, single = (f"{root}attributes/{name}.txt" for name in ATTRIBUTE_FILES)
    if rows and shares in known:
        found["class_attributes"] = read_numbers(archive, shares, len(rows)) / np.float32(100)
        if len(found["class_attributes"]) != classes:
            given = len(found["class_attributes"])
            raise UserError(f"{archive.path}: {shares} has {given} lines; expected {classes}, one for each class")
    if rows and single in known:
        numbers = _Numbers(archive, listed[0], [number for number, _ in rows])
        found["attributes"], found["odd_lines"] = _of_each_photo(photos, numbers, single)
    return found


def _of_each_photo(photos: _Photos, numbers: _Numbers, file: str) -> tuple[np.ndarray, int]:
    """From lines of photo, attribute, whether it is present, certainty, and seconds, with more columns in a few."""
    rows = read_numbers(photos.archive, file, 4, np.int32)
    values = np.full((len(photos.names), len(numbers.known)), np.nan, np.float32)
    seen = np.where(rows[:, 3] == NOT_VISIBLE, np.nan, rows[:, 2])
    values[photos.place(rows[:, 0], file), numbers(rows[:, 1], file)] = seen
    return values, sum(len(line.split()) > 5 for line in photos.archive.read(file).splitlines())
