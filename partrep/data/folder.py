"""A folder, zip or tar of class folders as a source; images are decoded when asked for."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from partrep import UserError
from partrep.data.archives import Archive
from partrep.data.decode import check_image, decode_image


class FolderSource:
    """Images in class folders: `root/class/.../image`. `source[i]` is {image u8[H,W,3], label, id}.

    Folders that only wrap the class folders are passed by (`data.zip` with `data/train/class/*`). Classes and
    files are in sorted order. Every file in a class folder has to be an image: the headers are read at once.

    Args:
        path: folder, .zip, .tar, .tar.gz or .tar.xz.
        size: side of the decoded images; None leaves them as they are (batches then need equal sizes).
        crop: cut out the centre, instead of squeezing the image to a square.

    Raises:
        UserError: nothing there, no class folder, a class without an image, a file that is no image, an
            archive entry with a path outside.
    """

    def __init__(self, path: str | os.PathLike, size: int | None = None, crop: bool = True):
        self.archive, self.size, self.crop = Archive(path), size, crop
        root = common_root(self.archive)
        self.ids = [name for name in self.archive.names if "/" in name[len(root) :]]
        folders = {
            folder[len(root) :].split("/")[0] for folder in self.archive.folders if folder.startswith(root)
        }
        self.classes = sorted(folders - {""})
        if not self.classes or not self.ids:
            raise UserError(f"{path} holds no image in a class folder; expected CLASS/IMAGE files")
        number = {name: i for i, name in enumerate(self.classes)}
        self.labels = np.array([number[name[len(root) :].split("/")[0]] for name in self.ids], np.int32)
        empty = np.flatnonzero(np.bincount(self.labels, minlength=len(self.classes)) == 0)
        if len(empty):
            raise UserError(f"{path}: class {self.classes[empty[0]]!r} has no image; expected at least one")
        for name in self.ids:
            check_image(self.archive.read(name), f"{path}: {name}")

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> dict[str, Any]:
        name = self.ids[index]
        data = self.archive.read(name)
        image = decode_image(data, f"{self.archive.path}: {name}", self.size, self.crop)
        return {"image": image, "label": self.labels[index], "id": name}


def common_root(archive: Archive) -> str:
    """The folders around the class folders, such as "data/train/", or ""."""
    root = ""
    while True:
        names = [name[len(root) :] for name in archive.names if name.startswith(root)]
        below = {f[len(root) :].split("/")[0] for f in archive.folders if f.startswith(root)} - {""}
        if len(below) != 1 or any("/" not in name for name in names):
            return root
        only = below.pop()
        if not any(f.startswith(f"{root}{only}/") for f in archive.folders):
            return root  # the one folder has no folder in it, so it is a class
        root += only + "/"
