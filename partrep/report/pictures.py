"""Images as data URIs, and the outlines of parts: where each part has the largest share of a location."""

from __future__ import annotations

import base64
import dataclasses
import functools
import io
from collections.abc import Sequence

import contourpy
import numpy as np
from PIL import Image, features
from scipy import ndimage

FINE = 72  # assignments are resampled to this many points a side before their outlines are traced
SMALLEST = 0.75  # outlines around less than this many grid cells are specks, and are not drawn


@dataclasses.dataclass(frozen=True)
class Region:
    """Where part `part` wins in one image.

    Attributes:
        part: its index, from 0.
        outline: an SVG path in units of 1/1000 of the image's sides; holes by the even-odd rule.
        anchor: (x, y) in [0, 1], the point deepest inside the region, where its number is written.
        box: (y0, x0, y1, x1) in [0, 1] around it.
        area: the share of the image it covers.
    """

    part: int
    outline: str
    anchor: tuple[float, float]
    box: tuple[float, float, float, float]
    area: float


def to_rgb(image: np.ndarray) -> np.ndarray:
    """Returns u8 [H,W,3] from u8 or float-in-[0,1] [H,W], [H,W,1] or [H,W,3]."""
    image = np.asarray(image)
    if image.dtype != np.uint8:
        image = np.round(np.clip(np.nan_to_num(image.astype(np.float64)), 0, 1) * 255).astype(np.uint8)
    image = image[..., None] if image.ndim == 2 else image
    if image.ndim != 3 or image.shape[-1] not in (1, 3):
        raise ValueError(f"an image of shape {image.shape}; expected [H,W], [H,W,1] or [H,W,3]")
    return np.broadcast_to(image, (*image.shape[:2], 3))


def data_uri(image: np.ndarray, side: int = 208) -> str:
    """Returns the image as an inline picture whose longer side is `side` pixels, smoothly resampled."""
    picture = Image.fromarray(np.ascontiguousarray(to_rgb(image)))
    scale = side / max(picture.size)
    width, height = (max(1, round(scale * length)) for length in picture.size)
    return _encode(picture.resize((width, height), Image.Resampling.LANCZOS))


@functools.cache
def _format() -> tuple[str, dict]:
    webp = features.check("webp")
    return ("webp", {"quality": 80, "method": 3}) if webp else ("jpeg", {"quality": 85, "optimize": True})


def _encode(picture: Image.Image, format_: str | None = None, **options: object) -> str:
    name, defaults = (format_, options) if format_ else _format()
    buffer = io.BytesIO()
    picture.save(buffer, name, **defaults)
    return f"data:image/{name};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def tint_uri(strength: np.ndarray, colour: str) -> str:
    """Returns a map [h,w] in [0, 1] as a picture of one colour whose opacity is the map."""
    rgb = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)], np.uint8)
    return layer_uri(np.broadcast_to(rgb, (*np.shape(strength), 3)), strength)


def layer_uri(layer: np.ndarray, share: np.ndarray) -> str:
    """Returns an image [H,W,3], u8 or in [0, 1], as a picture whose opacity is a map [H,W] in [0, 1]."""
    opacity = np.round(255 * np.clip(share, 0, 1)).astype(np.uint8)
    return _encode(Image.fromarray(np.dstack([to_rgb(layer), opacity])), "png", optimize=True)


def crop(image: np.ndarray, box: tuple[float, float, float, float]) -> np.ndarray:
    """Returns the pixels of `box` (y0, x0, y1, x1 in [0, 1]), at least one a side."""
    image = np.asarray(image)
    height, width = image.shape[:2]
    top, left = int(box[0] * height), int(box[1] * width)
    return image[top : max(top + 1, round(box[2] * height)), left : max(left + 1, round(box[3] * width))]


def square_around(box: tuple[float, float, float, float], grow: float = 1.5, least: float = 0.4):
    """Returns a square box inside the image around `box`, `grow` times its longer side and at least `least`.

    >>> square_around((0.0, 0.4, 0.2, 0.6), grow=2.0, least=0.1)
    (0.0, 0.3, 0.4, 0.7)
    """
    side = min(1.0, max(least, grow * max(box[2] - box[0], box[3] - box[1])))
    starts = [min(max((low + high - side) / 2, 0.0), 1 - side) for low, high in zip(box[:2], box[2:])]
    return tuple(round(value, 6) for value in (*starts, starts[0] + side, starts[1] + side))


def _resampling(cells: int, points: int) -> np.ndarray:
    """The matrix [points, cells] of linear interpolation between the centres of cells, flat past the last."""
    at = np.clip((np.arange(points) + 0.5) / points * cells - 0.5, 0, cells - 1)
    return np.maximum(0.0, 1 - np.abs(at[:, None] - np.arange(cells)))


def upsample(maps: np.ndarray, points: int = FINE) -> np.ndarray:
    """Returns maps [...,h,w] resampled to [...,points,points].

    >>> upsample(np.array([[0.0, 1.0]]), 4)[0]
    array([0.  , 0.25, 0.75, 1.  ])
    """
    maps = np.asarray(maps, np.float64)
    rows, columns = (_resampling(cells, points) for cells in maps.shape[-2:])
    return rows @ maps @ columns.T


def leads(assignment: np.ndarray) -> np.ndarray:
    """Returns [K,h,w]: how far each part is ahead of all others and of the background; > 0 where it wins.

    The background's share of a location is what the parts leave of one.
    """
    assignment = np.asarray(assignment, np.float64)
    background = np.clip(1 - assignment.sum(0, keepdims=True), 0, None)
    stack = np.concatenate([assignment, background])
    top = np.sort(stack, axis=0)[-2:]
    rival = np.where(stack == top[-1], top[-2], top[-1])
    return (stack - rival)[:-1]


def regions(assignment: np.ndarray, parts: tuple[int, ...] | None = None) -> list[Region]:
    """Returns the regions of the parts (all, or the given ones) that win somewhere in assignment [K,h,w]."""
    cells = np.shape(assignment)[-2] * np.shape(assignment)[-1]
    ahead = leads(upsample(np.nan_to_num(np.asarray(assignment, np.float64))))
    found = [_region(k, ahead[k], SMALLEST / cells) for k in (range(len(ahead)) if parts is None else parts)]
    return [region for region in found if region is not None]


def reading_regions(assignment: np.ndarray, parts: Sequence[int], least: float = 0.25) -> list[Region]:
    """Returns where the given parts of assignment [K,h,w] are mostly read: where one wins, or else nearly does.

    A part that wins nowhere is drawn where it has half of its largest share or more, if that share is `least` at
    least: a part that shares every location with others is read from somewhere all the same. Of a part that has
    less of every location nothing is drawn. A single part, which shares with none, is measured by its largest share.
    """
    assignment = np.nan_to_num(np.asarray(assignment, np.float64))
    if len(assignment) == 1:
        assignment = assignment / max(float(assignment.max()), 1e-12)
    won = {region.part: region for region in regions(assignment, tuple(parts))}
    cells = assignment.shape[-2] * assignment.shape[-1]
    for k in parts:
        share = upsample(assignment[k])
        near = None if k in won or share.max() < least else _region(k, share - share.max() / 2, SMALLEST / cells)
        if near is not None:
            won[k] = near
    return [won[k] for k in sorted(won)]


def _region(part: int, ahead: np.ndarray, smallest: float) -> Region | None:
    """The region where `ahead` [n,n] is positive; None if it covers less than the share `smallest`."""
    wins = ahead > 0
    if wins.mean() < smallest:
        return None
    # A fence of the deepest negative lead closes the outlines at the image's edge.
    fenced = np.pad(ahead, 1, constant_values=-np.abs(ahead).max())
    loops = contourpy.contour_generator(z=fenced).lines(0.0)
    loops = [(np.asarray(loop) - 0.5) / len(ahead) for loop in loops]
    loops = [np.clip(loop, 0, 1) for loop in loops if _area(loop) >= smallest / 2]
    if not loops:
        return None
    # Distances to the region's edge; being half in at the image's edge keeps numbers readable there.
    depth = ndimage.distance_transform_edt(np.pad(wins, 1))[1:-1, 1:-1]
    y, x = np.unravel_index(np.argmax(depth), depth.shape)
    points = np.concatenate(loops)
    (x0, y0), (x1, y1) = points.min(0), points.max(0)
    anchor = ((x + 0.5) / len(ahead), (y + 0.5) / len(ahead))
    box = (float(y0), float(x0), float(y1), float(x1))
    return Region(part, _path(loops), anchor, box, float(wins.mean()))


def _area(loop: np.ndarray) -> float:
    x, y = loop.T
    return abs(float(np.dot(x[:-1], y[1:]) - np.dot(x[1:], y[:-1]))) / 2


def _path(loops: list[np.ndarray]) -> str:
    """Closed loops [n,2] in [0, 1] as an SVG path in thousandths: relative steps, every second point."""
    pieces = []
    for loop in loops:
        points = np.round(1000 * loop[:-1][:: 2 if len(loop) > 24 else 1]).astype(int)
        steps = [f"{x:d} {y:d}" for x, y in np.diff(points, axis=0) if x or y]
        pieces.append(f"M{points[0, 0]} {points[0, 1]}l{' '.join(steps)}Z".replace(" -", "-"))
    return "".join(pieces)
