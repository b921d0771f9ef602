"""Decoding: what a viewer would show, the evaluation view and its geometry, and files that are no image."""

import concurrent.futures
import io
import itertools
import random
import warnings

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps

from partrep import UserError
from partrep.data import decode
from partrep.data.decode import View, check_image, decode_image, load_photo, photo_size

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 60, 3)).astype(np.uint8)
SMOOTH = np.asarray(Image.fromarray(PIXELS[:6, :9]).resize((340, 260), Image.Resampling.BICUBIC))
ORANGE = (255, 128, 0)


def encoded(image, format, **options):
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def flat(mode, colour, size=(8, 6)):
    return Image.new(mode, size, colour)


def oriented(pixels, orientation, format="PNG", **options):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(Image.fromarray(pixels), format, exif=exif, **options)


def palette(transparent):
    image = flat("P", 1)
    image.putpalette([0, 0, 255, *ORANGE])
    return encoded(image, "PNG", **({"transparency": 1} if transparent else {}))


def animation(format):
    return encoded(flat("RGB", ORANGE), format, save_all=True, append_images=[flat("RGB", "blue")], lossless=True)


# name: the file, and the colour of all its pixels in a viewer.
VIEWED = {
    "grey": (lambda: encoded(flat("L", 77), "PNG"), (77, 77, 77)),
    "one bit": (lambda: encoded(flat("1", 1), "PNG"), (255, 255, 255)),
    "palette": (lambda: palette(False), ORANGE),
    "palette, transparent": (lambda: palette(True), (255, 255, 255)),
    "transparent colour": (lambda: encoded(flat("RGB", ORANGE), "PNG", transparency=ORANGE), (255, 255, 255)),
    "rgba, clear": (lambda: encoded(flat("RGBA", (*ORANGE, 0)), "PNG"), (255, 255, 255)),
    "rgba, half": (lambda: encoded(flat("RGBA", (0, 0, 0, 51)), "PNG"), (204, 204, 204)),
    "grey and alpha": (lambda: encoded(flat("LA", (0, 51)), "PNG"), (204, 204, 204)),
    "cmyk tiff": (lambda: encoded(flat("CMYK", (0, 127, 255, 0)), "TIFF"), ORANGE),
    "cmyk jpeg": (lambda: encoded(flat("CMYK", (0, 127, 255, 0)), "JPEG"), ORANGE),
    "16-bit png": (lambda: encoded(flat("I;16", 257 * 77), "PNG"), (77, 77, 77)),
    "16-bit tiff": (lambda: encoded(flat("I;16", 257 * 77), "TIFF"), (77, 77, 77)),
    "16-bit tiff, big-endian": (lambda: encoded(flat("I;16B", 257 * 77), "TIFF"), (77, 77, 77)),
    "32-bit tiff": (lambda: encoded(flat("I", 65535), "TIFF"), (255, 255, 255)),
    "float tiff": (lambda: encoded(flat("F", 0.5), "TIFF"), (128, 128, 128)),
    "gif": (lambda: animation("GIF"), ORANGE),
    "webp": (lambda: animation("WEBP"), ORANGE),
    "apng": (lambda: animation("PNG"), ORANGE),
    "one pixel": (lambda: encoded(flat("RGB", ORANGE, (1, 1)), "PNG"), ORANGE),
    "one grey pixel": (lambda: encoded(flat("L", 77, (1, 1)), "JPEG"), (77, 77, 77)),
    "panorama": (lambda: encoded(flat("L", 77, (20_000, 1)), "PNG"), (77, 77, 77)),
    "100 megapixels": (lambda: encoded(flat("1", 1, (10_000, 10_000)), "PNG"), (255, 255, 255)),
    "100 megapixels, tiff": (lambda: encoded(flat("1", 1, (10_000, 10_000)), "TIFF", compression="group4"), (255,) * 3),
    "100 megapixels, jpeg": (lambda: encoded(flat("L", 77, (10_000, 10_000)), "JPEG"), (77, 77, 77)),
}


@pytest.mark.parametrize("name", VIEWED)
def test_as_a_viewer_shows_it(name):
    make, colour = VIEWED[name]
    data = make()
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        check_image(data, name)
        photo = load_photo(data, name, View(32, 28))
    assert photo.shape == (28, 28, 3) and photo.dtype == np.uint8
    assert np.abs(photo - np.array(colour, int)).max() <= (2 if "JPEG" in str(data[:20]) else 0)
    if len(data) < 10_000:
        assert np.array_equal(decode_image(data, name, 28), photo)


def test_a_cmyk_jpeg_is_one_of_adobes():
    assert b"Adobe" in VIEWED["cmyk jpeg"][0]()  # which stores the inks inverted


def test_pillows_own_limit_is_left_as_it_was():
    before = Image.MAX_IMAGE_PIXELS
    check_image(VIEWED["grey"][0](), "x")
    with pytest.raises(UserError):
        check_image(b"", "x")
    assert Image.MAX_IMAGE_PIXELS == before is not None


def test_threads_leave_pillows_limit_as_it_was():
    before, data = Image.MAX_IMAGE_PIXELS, VIEWED["grey"][0]()
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        shapes = {photo.shape for photo in pool.map(lambda _: load_photo(data, "x", View(8, 8)), range(400))}
    assert shapes == {(8, 8, 3)} and Image.MAX_IMAGE_PIXELS == before


def damaged_exif():
    data = bytearray(oriented(PIXELS, 6, "JPEG"))
    place = data.index(b"Exif") + 6
    data[place : place + 8] = b"\xff" * 8
    return bytes(data)


def test_a_damaged_exif_block_leaves_the_photo_readable():
    assert decode_image(damaged_exif(), "x").shape == (40, 60, 3)


REFUSED = {
    "empty": (lambda: b"", "the file is empty"),
    "text": (lambda: b"hello, world\n" * 50, "no image format is recognised"),
    "html": (lambda: b"<!DOCTYPE html><html>404</html>", "no image format is recognised"),
    "half a header": (lambda: b"\x89PNG\r\n\x1a\n", "no image format is recognised"),
    "half a jpeg": (lambda: encoded(Image.fromarray(SMOOTH), "JPEG")[:4000], "the file is cut short"),
    "half a png": (lambda: encoded(Image.fromarray(PIXELS), "PNG")[:4000], "the file is cut short"),
    "half a tiff": (lambda: encoded(Image.fromarray(PIXELS), "TIFF")[:4000], "the file is cut short"),
    "half a gif": (lambda: encoded(Image.fromarray(PIXELS), "GIF")[:1500], "the file is cut short"),
    "too large": (lambda: encoded(flat("1", 1, (20_000, 10_001)), "PNG"), "20000 x 10001 pixels, more than 200 million"),
    "greys of 32 bits": (lambda: encoded(flat("I", 65536), "TIFF"), "greys from 65536 to 65536"),
    "floats below 0": (lambda: encoded(flat("F", -1.0), "TIFF"), "floats from -1.0 to -1.0"),
    "no number": (lambda: encoded(flat("F", float("nan")), "TIFF"), "floats from nan to nan"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_image_is_named_in_one_line(name):
    make, reason = REFUSED[name]
    data = make()
    for load in (lambda data, name: load_photo(data, name, View()), decode_image):
        with pytest.raises(UserError) as caught:
            load(data, name)
        message = str(caught.value)
        assert message.startswith(f"{name} is not a readable image ({reason}") and "\n" not in message
        assert "0x" not in message


def test_random_damage_never_ends_in_another_error():
    numbers = random.Random(0)
    for format in ("PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP"):
        whole = encoded(Image.fromarray(PIXELS[:12, :10]), format)
        for _ in range(60):
            data = bytearray(whole)
            for _ in range(3):
                data[numbers.randrange(min(len(data), 200))] = numbers.randrange(256)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Pillow's, of what it repairs
                try:
                    load_photo(bytes(data[: numbers.randrange(len(data))]), "x", View(8, 8))
                except UserError as error:
                    assert str(error).startswith("x is not a readable image")


def test_plain_crop_and_squeeze(encode):
    data = encode(PIXELS)
    assert np.array_equal(decode_image(data, "x"), PIXELS)
    assert np.array_equal(decode_image(data, "x", 40), PIXELS[:, 10:50])
    assert decode_image(data, "x", 16, crop=False).shape == (16, 16, 3)
    flat = encode(np.full((300, 500, 3), 77, np.uint8), "JPEG")
    assert (decode_image(flat, "x", 32) == 77).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_all_orientations_are_upright(orientation):
    pixels = SMOOTH[:200]
    for format, options in (("PNG", {}), ("JPEG", {"quality": 95}), ("TIFF", {})):
        data = oriented(pixels, orientation, format, **options)
        with Image.open(io.BytesIO(data)) as file:
            upright = np.asarray(ImageOps.exif_transpose(file))
        assert np.array_equal(decode_image(data, "x"), upright)
        assert photo_size(data, "x") == upright.shape[:2]
        view = View(50, 43)
        expected = load_photo(encoded(Image.fromarray(upright), "PNG"), "x", view)
        assert np.abs(load_photo(data, "x", view) - expected.astype(int)).max() <= (1 if format != "JPEG" else 6)


def reference(pixels, view):
    """The view in torchvision's steps, by Pillow: resize all of the photo, then cut out the centre."""
    height, width = pixels.shape[:2]
    short, long = min(height, width), max(height, width)
    new = (view.resize, int(view.resize * long / short))
    height, width = new if height <= width else new[::-1]
    whole = Image.fromarray(pixels).resize((width, height), decode.INTERPOLATIONS[view.interpolation])
    top, left = (round((side - view.crop) / 2.0) for side in (height, width))
    return np.asarray(whole)[top : top + view.crop, left : left + view.crop]


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("shape", [(260, 340), (340, 260), (101, 333), (20, 31), (260, 13), (64, 64)])
def test_the_view_is_torchvisions(shape, interpolation):
    # Not the full range: bicubic overshoot is clipped between Pillow's two passes, whose order may differ.
    pixels = np.random.default_rng(1).integers(64, 192, (*shape, 3)).astype(np.uint8)
    for view in (View(64, 56, interpolation), View(64, 64, interpolation), View(37, 24, interpolation)):
        found = load_photo(encoded(Image.fromarray(pixels), "PNG"), "x", view)
        assert np.abs(found - reference(pixels, view).astype(int)).max() <= 1


@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_the_reduced_scale_of_a_jpeg_is_not_seen(orientation):
    pixels = np.asarray(Image.fromarray(SMOOTH).resize((1333, 1001)))  # neither is a multiple of the scales
    data = oriented(pixels, orientation, "JPEG", quality=95)
    whole = decode_image(data, "x")
    for resize, scale in ((60, 8), (250, 2), (400, 1), (1200, 1)):
        view = View(resize, resize - 7)
        with Image.open(io.BytesIO(data)) as file:
            file.draft("RGB", (2 * resize, 2 * resize))
            assert file.height == -(-1001 // scale) and file.height >= min(2 * resize, 1001)
        difference = load_photo(data, "x", view) - reference(whole, view).astype(int)
        assert np.abs(difference).max() <= 3 and np.abs(difference).mean() < 0.6


def test_points_and_boxes_go_there_and_back():
    rng = np.random.default_rng(2)
    points, boxes = rng.uniform(-0.2, 1.2, (5, 7, 2)), rng.uniform(0, 1, (3, 4))
    for view, size in itertools.product((View(), View(64, 64), View(100, 1)), ((375, 500), (500, 375), (9, 180))):
        for given in (points, boxes):
            assert view.in_view(given, size).shape == given.shape
            assert np.allclose(view.from_view(view.in_view(given, size), size), given, atol=1e-9)
        seen = view.region(size)
        assert np.allclose(view.in_view(seen, size), [0, 0, 1, 1]) and 0 <= seen.min() and seen.max() <= 1
        assert np.allclose(view.in_view(boxes, size)[:, 2:], view.in_view(boxes[:, 2:], size))
    assert np.isnan(View().in_view(np.array([np.nan, 0.5]), (9, 9))).tolist() == [True, False]


@pytest.mark.parametrize("orientation", [1, 6, 7])
def test_a_marker_in_the_photo_is_found_where_its_point_says(orientation):
    for (height, width), view in itertools.product([(90, 160), (160, 90)], [View(64, 56), View(256, 224)]):
        for y, x in ((0.5, 0.5), (0.35, 0.6), (0.61, 0.37)):
            pixels = np.zeros((height, width, 3), np.uint8)
            row, column = int(y * height), int(x * width)
            pixels[row, column] = 255
            data = oriented(pixels, orientation)
            upright = decode_image(data, "x")[..., 0]
            place = np.array(np.unravel_index(upright.argmax(), upright.shape)) + 0.5
            expected = view.in_view(place / upright.shape, photo_size(data, "x"))
            weight = load_photo(data, "x", view)[..., 0].astype(float)
            grid = (np.arange(view.crop) + 0.5) / view.crop
            found = [weight.sum(1) @ grid / weight.sum(), weight.sum(0) @ grid / weight.sum()]
            assert np.abs(expected - found).max() < 0.5 / view.crop
            mask = view.mask_in_view((upright > 0).astype(np.uint8))
            assert mask.shape == (view.crop, view.crop)
            if mask.any():  # the nearest rule may skip one pixel where the view is coarser
                rows, columns = np.nonzero(mask)
                centre = (np.array([rows.mean(), columns.mean()]) + 0.5) / view.crop
                assert np.abs(centre - expected).max() < 1.5 / view.crop


def test_views_that_cannot_be_are_refused():
    with pytest.raises(UserError, match="a crop of 65 pixels; expected 1 to 64"):
        View(64, 65)
    with pytest.raises(UserError, match="a crop of 0 pixels"):
        View(64, 0)
    with pytest.raises(UserError, match="unknown interpolation 'area'; known: bicubic, bilinear"):
        View(interpolation="area")


@pytest.mark.parametrize("mode", ["L", "LAB"])
def test_colour_profiles_do_not_hinder(mode):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert load_photo(encoded(flat(mode, 77), "TIFF", icc_profile=profile), "x", View(8, 8)).shape == (8, 8, 3)


def test_errors_name_the_file_and_a_whole_header_suffices(encode):
    cut = encode(PIXELS)[:500]
    check_image(cut, "a/b.png")
    with pytest.raises(UserError, match=r"^a/b\.png is not a readable image"):
        decode_image(cut, "a/b.png")
    for name in ("a b.png", "it's \"x\".png", "<b>&amp;.png", "птица/鳥.png"):
        with pytest.raises(UserError) as caught:
            photo_size(b"", name)
        assert str(caught.value).startswith(f"{name} is not a readable image (the file is empty)")
