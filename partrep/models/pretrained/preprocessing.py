"""What the images of a pretrained network went through before it saw them."""

from __future__ import annotations

import dataclasses
from typing import Literal


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """The short side to `resize` px, the central `crop` x `crop` px, then `(image - mean) / std` by channel.

    Attributes:
        resize: short side in px; for drawn images of 32 px the same as `crop`.
        crop: side of the square in px.
        interpolation: of the resizing, antialiased as Pillow does it.
        mean: of the channels R, G, B of images in [0,1].
        std: of the same.

    >>> Preprocessing(resize=32, crop=32).interpolation
    'bilinear'
    """

    resize: int = 256
    crop: int = 224
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
