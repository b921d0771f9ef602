"""Encoded images to arrays as a viewer would show them; a file that is no image raises a `UserError` that names it."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import struct
import threading
from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageOps

from partrep import UserError, lookup

# What Pillow raises for bytes that are no image, damaged or cut short.
DECODE_ERRORS = (
    *(OSError, SyntaxError, ValueError, EOFError, TypeError, LookupError, OverflowError, MemoryError),
    *(struct.error, Image.DecompressionBombError),
)
MAX_PIXELS = 200_000_000  # of a photo: 600 MB in RGB while it is decoded
LARGE = 80_000_000  # pixels; a little more, and Pillow warns of the photo
INTERPOLATIONS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}

# Of each EXIF orientation but 1: how Pillow turns the stored photo upright; and for the way back, whether the axes
# are exchanged, and which of the stored axes (y, x) then run backwards.
ORIENTATIONS = {
    2: (Image.Transpose.FLIP_LEFT_RIGHT, False, (False, True)),
    3: (Image.Transpose.ROTATE_180, False, (True, True)),
    4: (Image.Transpose.FLIP_TOP_BOTTOM, False, (True, False)),
    5: (Image.Transpose.TRANSPOSE, True, (False, False)),
    6: (Image.Transpose.ROTATE_270, True, (True, False)),
    7: (Image.Transpose.TRANSVERSE, True, (True, True)),
    8: (Image.Transpose.ROTATE_90, True, (False, True)),
}

_limit_lock = threading.Lock()


@dataclasses.dataclass(frozen=True)
class View:
    """The usual evaluation view of a photo: the short side brought to `resize` pixels, then the centre cut out.

    Sizes and offsets are rounded as torchvision rounds them. Smaller photos are enlarged.

    Attributes:
        resize: pixels of the short side.
        crop: side of the square that is cut out, in pixels; at most `resize`.
        interpolation: "bilinear" or "bicubic", with antialiasing.

    Raises:
        UserError: a crop larger than `resize` or below one pixel, an unknown interpolation.

    >>> View(resize=256, crop=224).region((256, 512))
    array([0.0625 , 0.28125, 0.9375 , 0.71875])
    """

    resize: int = 256
    crop: int = 224
    interpolation: str = "bilinear"

    def __post_init__(self):
        lookup(INTERPOLATIONS, self.interpolation, "interpolation")
        if not 1 <= self.crop <= self.resize:
            raise UserError(f"a crop of {self.crop} pixels; expected 1 to {self.resize}, the short side after resizing")

    def resized(self, size: tuple[int, int]) -> tuple[int, int]:
        """Height and width of a photo of `size` (height, width) before its centre is cut out.

        >>> View(256, 224).resized((375, 500))
        (256, 341)
        """
        height, width = map(int, size)
        if height <= width:
            return self.resize, int(self.resize * width / height)
        return int(self.resize * height / width), self.resize

    def region(self, size: tuple[int, int]) -> np.ndarray:
        """The part of a photo of `size` (height, width) that is seen: f64 [4], (y0, x0, y1, x1) in [0,1]."""
        resized = np.array(self.resized(size))
        start = np.array([round((side - self.crop) / 2) for side in resized.tolist()])
        return np.concatenate([start / resized, (start + self.crop) / resized])

    def in_view(self, points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """Points of the photo in the coordinates of the view; what is cut off lies outside [0,1].

        Args:
            points: [...,2], (y, x) in [0,1] over the photo; boxes [...,4] are two points and are taken too.
            size: height and width of the upright photo, in pixels.

        >>> View(256, 224).in_view(np.array([[0.5, 0.5], [0.0, 0.28125]]), (256, 512)).round(3).tolist()
        [[0.5, 0.5], [-0.071, 0.0]]
        """
        start, extent = self._frame(size)
        return ((_pairs(points) - start) / extent).reshape(np.shape(points))

    def from_view(self, points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """The inverse of `in_view`: points of the view in the coordinates of the photo."""
        start, extent = self._frame(size)
        return (_pairs(points) * extent + start).reshape(np.shape(points))

    def mask_in_view(self, mask: np.ndarray) -> np.ndarray:
        """A mask [H,W] of the photo's pixels in the view, [crop,crop], by the nearest pixel."""
        centres = (np.arange(self.crop) + 0.5) / self.crop
        places = self.from_view(np.stack([centres, centres], axis=-1), mask.shape)
        rows, columns = np.minimum((places * mask.shape).astype(int), np.array(mask.shape) - 1).T
        return mask[rows[:, None], columns]

    def _frame(self, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        region = self.region(size)
        return region[:2], region[2:] - region[:2]


def _pairs(points: np.ndarray) -> np.ndarray:
    return np.asarray(points, np.float64).reshape(*np.shape(points)[:-1], -1, 2)


def load_photo(data: bytes, name: str, view: View) -> np.ndarray:
    """An encoded photo in a view, upright and on white: u8 [crop,crop,3].

    Args:
        data: the file's bytes: greyscale, palette, CMYK, 16-bit and transparent photos too; the first frame of an
            animation. Colour profiles are not applied.
        name: of the file, for errors.
        view: what is seen of it.

    Raises:
        UserError: no image, damaged or cut short, or more than `MAX_PIXELS` pixels.

    >>> file = io.BytesIO()
    >>> Image.new("L", (300, 200), 7).save(file, "PNG")
    >>> load_photo(file.getvalue(), "grey.png", View(32, 28))[0, 0].tolist()
    [7, 7, 7]
    """
    with decoding(data, name):
        file = open_image(data)
        stored = file.size
        # A JPEG is decoded at the smallest of its scales that leaves the resize a factor of two, so that its own
        # filter, and not the JPEG's, sets the pixels. The last pixel may then stand for less than a whole one.
        drafted = file.draft("RGB", (2 * view.resize, 2 * view.resize))
        image, orientation = flattened(file), orientation_of(file)
        if drafted is None:
            stored = image.size  # Pillow turns a TIFF upright when it is loaded
        width, height = stored if drafted is None else drafted[1][2:]
        region = _stored_region(view.region(_upright(stored, orientation)), orientation)
        y0, x0, y1, x1 = region * (height, width, height, width)
        seen = image.resize((view.crop, view.crop), INTERPOLATIONS[view.interpolation], (x0, y0, x1, y1))
        return np.asarray(turned(seen, orientation).convert("RGB"))


def photo_size(data: bytes, name: str) -> tuple[int, int]:
    """Height and width of an upright photo, from its header."""
    with decoding(data, name):
        file = open_image(data)
        if file.format == "TIFF":
            load(file)  # Pillow turns these upright by itself, when they are loaded
        return _upright(file.size, orientation_of(file))


def check_image(data: bytes, name: str) -> None:
    """Reads no more than the header."""
    with decoding(data, name):
        open_image(data).close()


def decode_image(data: bytes, name: str, size: int | None = None, crop: bool = True) -> np.ndarray:
    """An encoded image as u8[H,W,3], upright as its EXIF tag says and on white.

    With a `size` the result is size x size: the short side is resized to it and the centre cut out, or with
    `crop=False` both sides are resized.
    """
    with decoding(data, name):
        file = open_image(data)
        if size is not None:
            file.draft("RGB", (size, size))  # JPEG: decodes at the smallest of its scales that suffices
        image = turned(flattened(file), orientation_of(file)).convert("RGB")
    if size is None:
        return np.asarray(image)
    if crop:
        return np.asarray(ImageOps.fit(image, (size, size), Image.Resampling.BICUBIC))
    return np.asarray(image.resize((size, size), Image.Resampling.BICUBIC))


@contextlib.contextmanager
def decoding(data: bytes, name: str) -> Iterator[None]:
    """What Pillow raises of `data` within it becomes a `UserError` of one line that names the file."""
    try:
        yield
    except DECODE_ERRORS as error:
        reason = str(error) or type(error).__name__
        if not data:
            reason = "the file is empty"
        elif "BytesIO" in reason:  # "cannot identify image file <_io.BytesIO object at ...>"
            reason = "no image format is recognised"
        elif "truncated" in reason.lower():
            reason = "the file is cut short"
        raise UserError(
            f"{name} is not a readable image ({reason}); expected PNG, JPEG or another of Pillow's"
        ) from None


def open_image(data: bytes) -> Image.Image:
    """The header of an image; one of more than `MAX_PIXELS` pixels raises a `ValueError`."""
    with _pixel_limit(None):
        file = Image.open(io.BytesIO(data))
    if file.width * file.height > MAX_PIXELS:
        raise ValueError(f"{file.width} x {file.height} pixels, more than {MAX_PIXELS // 1_000_000} million")
    return file


def load(image: Image.Image) -> None:
    """Reads the pixels of an opened image; large ones one at a time."""
    with _pixel_limit(MAX_PIXELS) if image.width * image.height > LARGE else contextlib.nullcontext():
        image.load()


@contextlib.contextmanager
def _pixel_limit(limit: int | None) -> Iterator[None]:
    """Sets how many pixels Pillow takes for an attack and warns of on stderr; it keeps one limit for the process."""
    with _limit_lock:
        before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, limit
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = before


def flattened(image: Image.Image) -> Image.Image:
    """Pixels of any mode as opaque greyscale or RGB of eight bits: transparent ones on white."""
    load(image)
    if image.mode == "F" or image.mode.startswith("I"):
        return Image.fromarray(eight_bits(np.asarray(image)))
    if image.has_transparency_data:
        colours, white = image.convert("RGBA"), Image.new("RGB", image.size, "white")
        white.paste(colours, mask=colours)
        return white
    return image.convert("L" if image.mode in ("1", "L") else "RGB")


def eight_bits(pixels: np.ndarray) -> np.ndarray:
    """Greys of 16 bits, or floats in [0,1] or [0,255], as u8; a `ValueError` names any other range.

    >>> eight_bits(np.array([0, 257, 65535], np.uint16)).tolist(), eight_bits(np.array([0.0, 0.5, 1.0])).tolist()
    ([0, 1, 255], [0, 128, 255])
    """
    low, high = pixels.min(), pixels.max()
    if pixels.dtype.kind == "f":
        if not (low >= 0 and high <= 255):
            raise ValueError(f"floats from {low} to {high}; known are those in [0,1] and in [0,255]")
        return (pixels * (255 if high <= 1 else 1) + 0.5).astype(np.uint8)
    if low < 0 or high > 65535:
        raise ValueError(f"greys from {low} to {high}; known are those of 16 bits, 0 to 65535")
    return ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)


def orientation_of(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1, upright, where there is none or the EXIF block is damaged."""
    try:
        return int(image.getexif().get(0x0112, 1))
    except DECODE_ERRORS:
        return 1


def turned(image: Image.Image, orientation: int) -> Image.Image:
    """The stored image upright."""
    return image.transpose(ORIENTATIONS[orientation][0]) if orientation in ORIENTATIONS else image


def _upright(size: tuple[int, int], orientation: int) -> tuple[int, int]:
    """Height and width of the upright image from the stored (width, height)."""
    width, height = size
    exchanged = orientation in ORIENTATIONS and ORIENTATIONS[orientation][1]
    return (width, height) if exchanged else (height, width)


def _stored_region(region: np.ndarray, orientation: int) -> np.ndarray:
    """A region (y0, x0, y1, x1) in [0,1] of the upright image, in the stored one."""
    if orientation not in ORIENTATIONS:
        return region
    _, exchanged, backwards = ORIENTATIONS[orientation]
    corners = region.reshape(2, 2)[:, ::-1] if exchanged else region.reshape(2, 2)
    return np.sort(np.where(backwards, 1 - corners, corners), axis=0).ravel()
