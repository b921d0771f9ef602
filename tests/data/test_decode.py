"""Decoding: sizes, orientation, and files that are no image."""

import io

import numpy as np
import pytest
from PIL import Image

from partrep import UserError
from partrep.data.decode import check_image, decode_image

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 60, 3)).astype(np.uint8)


def test_plain_crop_and_squeeze(encode):
    data = encode(PIXELS)
    assert np.array_equal(decode_image(data, "x"), PIXELS)
    assert np.array_equal(decode_image(data, "x", 40), PIXELS[:, 10:50])
    assert decode_image(data, "x", 16, crop=False).shape == (16, 16, 3)
    flat = encode(np.full((300, 500, 3), 77, np.uint8), "JPEG")
    assert (decode_image(flat, "x", 32) == 77).all()


def test_grey_alpha_and_exif_become_upright_rgb(encode):
    grey = decode_image(encode(PIXELS[..., 0]), "x")
    assert grey.shape == (40, 60, 3) and np.array_equal(grey[..., 2], PIXELS[..., 0])
    file, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6  # lies on its side: turn by 270 degrees
    Image.fromarray(PIXELS).save(file, "PNG", exif=exif)
    assert np.array_equal(decode_image(file.getvalue(), "x"), np.rot90(PIXELS, 3))


def test_errors_name_the_file(encode):
    for data in (b"", b"hello", b"\x89PNG\r\n\x1a\n"):
        with pytest.raises(UserError, match=r"^a/b\.png is not a readable image \(no image format"):
            check_image(data, "a/b.png")
    cut = encode(PIXELS)[:500]
    check_image(cut, "a/b.png")  # the header is whole
    with pytest.raises(UserError, match=r"^a/b\.png is not a readable image"):
        decode_image(cut, "a/b.png")
