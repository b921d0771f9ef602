"""Encoded images to arrays, by Pillow; a file that is no image raises a `UserError` that names it."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageOps

from partrep import UserError

# What Pillow raises for bytes that are no image, cut short or too large.
DECODE_ERRORS = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)


def check_image(data: bytes, name: str) -> None:
    """Reads no more than the header."""
    try:
        Image.open(io.BytesIO(data)).close()
    except DECODE_ERRORS as error:
        raise not_an_image(name, error) from None


def decode_image(data: bytes, name: str, size: int | None = None, crop: bool = True) -> np.ndarray:
    """An encoded image as u8[H,W,3], upright as its EXIF tag says.

    With a `size` the result is size x size: the short side is resized to it and the centre cut out, or with
    `crop=False` both sides are resized.
    """
    try:
        file = Image.open(io.BytesIO(data))
        if size is not None:
            file.draft("RGB", (size, size))  # JPEG: decodes at the smallest of its scales that suffices
        image = ImageOps.exif_transpose(file).convert("RGB")
    except DECODE_ERRORS as error:
        raise not_an_image(name, error) from None
    if size is None:
        return np.asarray(image)
    if crop:
        return np.asarray(ImageOps.fit(image, (size, size), Image.Resampling.BICUBIC))
    return np.asarray(image.resize((size, size), Image.Resampling.BICUBIC))


def not_an_image(name: str, error: Exception) -> UserError:
    """The error of a file that cannot be decoded, without Pillow's note of its buffer's address."""
    reason = "no image format is recognised" if "BytesIO" in str(error) else str(error)
    return UserError(f"{name} is not a readable image ({reason}); expected PNG, JPEG or another of Pillow's")
