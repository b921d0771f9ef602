"""Labelled photos of a folder or an archive, what is known of their parts, and which of them are copies."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import os
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from partrep import UserError
from partrep.data.decode import View, load_photo
from partrep.data.folder import FolderSource

TRAIN, TEST = 0, 1
BACKGROUND, OBJECT, IGNORED = 0, 1, 255  # values of a mask; ignored pixels are neither and are not scored


class Files(Protocol):
    """Bytes by name, and the path they come from: an `Archive`."""

    path: Any

    def read(self, name: str) -> bytes: ...


@dataclasses.dataclass(frozen=True, eq=False)
class PhotoTruth:
    """What is known of `n` photos beside their class; coordinates are (y, x) in [0,1] over the upright photo.

    Attributes:
        sizes: i32 [n,2], height and width in pixels of the upright photo as it is read, as `View.in_view` asks.
        boxes: f32 [n,4], (y0, x0, y1, x1), of what `boxed` says; NaN where unknown.
        keypoints: f32 [n,P,2]; NaN where not visible.
        visible: bool [n,P].
        keypoint_names: of the P keypoints.
        attributes: f32 [n,A], usually 0 or 1; NaN where unknown. None where there are none.
        attribute_names: of the A attributes.
        mask_of: index -> u8 [H,W] of the photo's pixels; None where there are no masks.
        boxed: what the boxes are around, in a word: "object", or a part of it.
    """

    sizes: np.ndarray
    boxes: np.ndarray
    keypoints: np.ndarray
    visible: np.ndarray
    keypoint_names: tuple[str, ...] = ()
    attributes: np.ndarray | None = None
    attribute_names: tuple[str, ...] = ()
    mask_of: Callable[[int], np.ndarray | None] | None = None
    boxed: str = "object"

    def mask(self, index: int) -> np.ndarray | None:
        """u8 [H,W] of `BACKGROUND`, `OBJECT` and `IGNORED`; None where it is not known."""
        return None if self.mask_of is None else self.mask_of(index)

    def take(self, indices: np.ndarray) -> PhotoTruth:
        """The truth of the photos at `indices` int[m]."""
        return dataclasses.replace(
            self,
            sizes=self.sizes[indices],
            boxes=self.boxes[indices],
            keypoints=self.keypoints[indices],
            visible=self.visible[indices],
            attributes=None if self.attributes is None else self.attributes[indices],
            mask_of=None if self.mask_of is None else functools.partial(_at, self.mask_of, np.asarray(indices)),
        )


@dataclasses.dataclass(frozen=True, eq=False)
class PhotoSet:
    """`n` labelled photos, read when asked for.

    Attributes:
        archive: where the files are read.
        ids: their names in it.
        labels: i32 [n].
        classes: names; a label is a place in them.
        split: i8 [n], `TRAIN` or `TEST` as supplied with the photos; None where nothing was.
        truth_of: indices int[m] -> their `PhotoTruth`; None where nothing is known.
    """

    archive: Files
    ids: tuple[str, ...]
    labels: np.ndarray
    classes: tuple[str, ...]
    split: np.ndarray | None = None
    truth_of: Callable[[np.ndarray], PhotoTruth] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def read(self, index: int) -> bytes:
        """The file of a photo; a missing or damaged one raises a `UserError` that names it."""
        return self.archive.read(self.ids[index])

    def name(self, index: int) -> str:
        """Of a photo, for messages: the archive's path and the file's name in it."""
        return f"{self.archive.path}: {self.ids[index]}"

    def photo(self, index: int, view: View) -> np.ndarray:
        """A photo in a view, u8 [crop,crop,3]."""
        return load_photo(self.read(index), self.name(index), view)

    def take(self, indices: np.ndarray) -> PhotoSet:
        """The photos at `indices` int[m]; labels keep their numbering, and classes are all kept."""
        indices = np.asarray(indices)
        part = dataclasses.replace(
            self,
            ids=tuple(self.ids[i] for i in indices),
            labels=self.labels[indices],
            split=None if self.split is None else self.split[indices],
            truth_of=None if self.truth_of is None else functools.partial(_at, self.truth_of, indices),
        )
        if "digests" in self.__dict__:  # saves reading the files again
            part.__dict__["digests"] = tuple(self.digests[i] for i in indices)
        return part

    @functools.cached_property
    def truth(self) -> PhotoTruth | None:
        """What is known of the photos beside their class; the first use may read all headers."""
        return None if self.truth_of is None else self.truth_of(np.arange(len(self)))

    @functools.cached_property
    def digests(self) -> tuple[bytes, ...]:
        """SHA-256 of each file; the first use reads them all."""
        return tuple(hashlib.sha256(self.read(i)).digest() for i in range(len(self)))

    @functools.cached_property
    def fingerprint(self) -> str:
        """Sixteen hex digits that change with the names, labels, classes and bytes of the photos."""
        whole = hashlib.sha256(repr((self.ids, self.classes, self.labels.tolist())).encode())
        for digest in self.digests:
            whole.update(digest)
        return whole.hexdigest()[:16]

    @functools.cached_property
    def copies(self) -> np.ndarray:
        """i32 [n]: the same number for photos of the same bytes, which a split must not part."""
        number: dict[bytes, int] = {}
        return np.array([number.setdefault(digest, len(number)) for digest in self.digests], np.int32)


def _at(function: Callable[[Any], Any], indices: np.ndarray, chosen: Any) -> Any:
    """`function` of the whole, for places in a part of it; unlike a lambda it can go to another process."""
    return function(indices[chosen])


def from_folder(path: str | os.PathLike) -> PhotoSet:
    """The photos of a folder, zip or tar of class folders, as `FolderSource` finds them.

    Args:
        path: `CLASS/PHOTO` files; folders that only wrap the class folders are passed by.

    Raises:
        UserError: as `FolderSource`, and where the folders are `train` and `test` instead of classes.

    >>> import pathlib, tempfile
    >>> from PIL import Image
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     pathlib.Path(folder, "wren").mkdir()
    ...     Image.new("L", (6, 4), 7).save(f"{folder}/wren/a.png")
    ...     photos = from_folder(folder)
    ...     photos.ids, photos.classes, photos.photo(0, View(4, 2)).shape
    (('wren/a.png',), ('wren',), (2, 2, 3))
    """
    source = FolderSource(path)
    if set(source.classes) <= {"train", "test", "val", "validation"}:
        found = " and ".join(source.classes)
        raise UserError(f"{path} holds {found} instead of class folders; expected each of them as a set of its own")
    return PhotoSet(source.archive, tuple(source.ids), source.labels, tuple(source.classes))


class _Pair:
    """Two archives as one: names begin with train/ or test/."""

    def __init__(self, train: Files, test: Files):
        self.parts = {"train": train, "test": test}
        self.path = f"{train.path} + {test.path}"

    def read(self, name: str) -> bytes:
        part, inside = name.split("/", 1)
        return self.parts[part].read(inside)


def joined(train: str | os.PathLike, test: str | os.PathLike, drop_copies: bool = False) -> PhotoSet:
    """Two folders or archives of the same class folders as one set whose `split` is known.

    Args:
        train, test: as for `from_folder`.
        drop_copies: leave out training photos that the test photos hold too, byte for byte; otherwise they are
            refused. (The official split of Scene-15 has eleven.)

    Raises:
        UserError: as `from_folder`; classes that differ; a photo in both.
    """
    first, second = from_folder(train), from_folder(test)
    if first.classes != second.classes:
        odd = sorted(set(first.classes) ^ set(second.classes))[0]
        only = train if odd in first.classes else test
        raise UserError(f"class {odd!r} is in {only} alone; expected the same classes in {train} and {test}")
    first = _without_copies(first, second, drop_copies)
    both = PhotoSet(
        _Pair(first.archive, second.archive),
        tuple(f"train/{name}" for name in first.ids) + tuple(f"test/{name}" for name in second.ids),
        np.concatenate([first.labels, second.labels]),
        first.classes,
        np.repeat(np.array([TRAIN, TEST], np.int8), [len(first), len(second)]),
    )
    both.__dict__["digests"] = first.digests + second.digests
    return both


def _without_copies(train: PhotoSet, test: PhotoSet, drop: bool) -> PhotoSet:
    """`train` without the photos of `test`; unless they are to be dropped, a `UserError` names one."""
    known = {digest: i for i, digest in enumerate(test.digests)}
    shared = [i for i, digest in enumerate(train.digests) if digest in known]
    if shared and not drop:
        pair = f"{train.name(shared[0])} is {test.ids[known[train.digests[shared[0]]]]} of {test.archive.path}"
        raise UserError(
            f"{len(shared)} of the training photos are test photos too ({pair}); "
            "expected none (drop_copies leaves them out of training)"
        )
    return train.take(np.setdiff1d(np.arange(len(train)), shared)) if shared else train
