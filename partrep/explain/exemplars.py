"""What a part looks like: patches of training images, and those of them that a part of a new image is most like."""

from __future__ import annotations

import dataclasses
import io
import pathlib
import zipfile

import numpy as np
from PIL import Image

from partrep import UserError
from partrep.train.disk import full_disk_is_user_error, replaced

MOST = 2400
"""Patches kept of all parts together."""
FEWEST, MOST_A_PART = 16, 240
SIDE = 72
"""Pixels of a kept patch."""


@dataclasses.dataclass(frozen=True)
class PartBank:
    """Patches of each part in training images, with the codes that the part had there.

    Attributes:
        codes: f16 [K,m,M].
        labels: i32 [K,m], classes of the images; -1 where a part has fewer patches.
        patches: u8 [K,m,S,S,3].
        mean_contributions: f32 [K,C], of the parts to the logits, over all training images.
    """

    codes: np.ndarray
    labels: np.ndarray
    patches: np.ndarray
    mean_contributions: np.ndarray

    def nearest(self, part: int, code: np.ndarray, count: int) -> list[int]:
        """The numbers of the `count` patches of a part whose codes are nearest to a code [M], the nearest first."""
        distance = ((self.codes[part].astype(np.float32) - code) ** 2).sum(-1)
        distance[self.labels[part] < 0] = np.inf
        order = np.argsort(distance, kind="stable")[:count]
        return [int(i) for i in order if np.isfinite(distance[i])]

    def save(self, path: pathlib.Path) -> None:
        """Writes the bank to one file; patches as JPEG."""
        jpeg = [_jpeg(patch) for patch in self.patches.reshape(-1, *self.patches.shape[2:])]
        arrays = {name: getattr(self, name) for name in ("codes", "labels", "mean_contributions")}
        ends = np.cumsum([len(data) for data in jpeg])
        with full_disk_is_user_error(path), replaced(path) as beside, beside.open("wb") as file:
            np.savez(file, jpeg=np.frombuffer(b"".join(jpeg), np.uint8), ends=ends, **arrays)

    @classmethod
    def load(cls, path: pathlib.Path) -> PartBank:
        """Reads what `save` wrote."""
        try:
            with np.load(path) as file:
                arrays = {name: file[name] for name in file.files}
            pieces = np.split(arrays.pop("jpeg"), arrays.pop("ends")[:-1])
        except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
            wanted = "expected one of a finished run"
            raise UserError(f"{path} is not a readable bank of parts ({error}); {wanted}") from None
        patches = np.stack([np.asarray(Image.open(io.BytesIO(piece.tobytes()))) for piece in pieces])
        return cls(patches=patches.reshape(*arrays["labels"].shape, *patches.shape[1:]), **arrays)


def _jpeg(patch: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(patch).save(buffer, "jpeg", quality=85)
    return buffer.getvalue()


def room(parts: int) -> int:
    """How many patches are kept of each of `parts` parts.

    >>> room(1), room(24), room(1000)
    (240, 100, 16)
    """
    return int(np.clip(MOST // parts, FEWEST, MOST_A_PART))


def chosen(presence: np.ndarray, labels: np.ndarray, most: int) -> np.ndarray:
    """Images that show each part best, as many of each class as there is room for.

    Args:
        presence: f32 [n,K] >= 0, how much each image shows of each part.
        labels: int [n], their classes.
        most: m >= 1, images a part.

    Returns:
        int [K,m], numbers of images; -1 where a part is in fewer images.

    >>> chosen(np.array([[0.9], [0.8], [0.1], [0.0]]), np.array([0, 0, 1, 1]), 2).tolist()
    [[0, 2]]
    """
    made = np.full((presence.shape[1], most), -1)
    for k, column in enumerate(presence.T):
        order = np.argsort(-column, kind="stable")
        order = order[column[order] > 0]
        rank = np.empty(len(order), int)  # of each image among those of its class
        for label in np.unique(labels[order]):
            inside = labels[order] == label
            rank[inside] = np.arange(inside.sum())
        order = order[np.argsort(rank, kind="stable")][:most]
        made[k, : len(order)] = order
    return made


def patch_box(weights: np.ndarray, least: float = 0.25) -> tuple[float, float, float, float]:
    """A square box (y0, x0, y1, x1) in [0,1] around a part: two standard deviations of its map either way.

    Args:
        weights: f32 [h,w] >= 0, where the part lies; of no mass, the box is the whole image.
        least: the smallest side.

    >>> patch_box(np.eye(4)[:, :1] @ np.ones((1, 1)), least=0.5)
    (0.0, 0.25, 0.5, 0.75)
    """
    height, width = weights.shape
    mass = float(weights.sum())
    if mass <= 0:
        return 0.0, 0.0, 1.0, 1.0
    y, x = (np.arange(height) + 0.5) / height, (np.arange(width) + 0.5) / width
    rows, columns = weights.sum(1) / mass, weights.sum(0) / mass
    centre = float(rows @ y), float(columns @ x)
    spread = max(float(rows @ (y - centre[0]) ** 2), float(columns @ (x - centre[1]) ** 2)) ** 0.5
    side = min(1.0, max(least, 4 * spread))
    start = [min(max(c - side / 2, 0.0), 1 - side) for c in centre]
    return round(start[0], 6), round(start[1], 6), round(start[0] + side, 6), round(start[1] + side, 6)


def cut(image: np.ndarray, box: tuple[float, float, float, float], side: int = SIDE) -> np.ndarray:
    """u8 [side,side,3]: the pixels of a box of an image u8 [H,W,3], resized."""
    height, width = image.shape[:2]
    edges = (box[1] * width, box[0] * height, box[3] * width, box[2] * height)
    picture = Image.fromarray(np.ascontiguousarray(image)).resize((side, side), Image.Resampling.BILINEAR, box=edges)
    return np.asarray(picture)
