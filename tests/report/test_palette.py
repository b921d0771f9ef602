"""Part colours: distinct to the eye, also to colour-blind eyes for the first eight, and readable numbers."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from partrep.report.palette import PART_COLOURS, contrast, ink_on, luminance, part_colour

# Full-strength simulations of Machado, Oliveira and Fernandes (2009), on linear RGB.
VISION = {
    "usual": (1, 0, 0, 0, 1, 0, 0, 0, 1),
    "protanopia": (
        0.152286,
        1.052583,
        -0.204868,
        0.114503,
        0.786281,
        0.099216,
        -0.003882,
        -0.048116,
        1.051998,
    ),
    "deuteranopia": (
        0.367322,
        0.860646,
        -0.227968,
        0.280085,
        0.672501,
        0.047413,
        -0.01182,
        0.04294,
        0.968881,
    ),
    "tritanopia": (1.255528, -0.076749, -0.178779, -0.078411, 0.930809, 0.147602, 0.004733, 0.691367, 0.3039),
}
# To OKLab (Ottosson, 2020): linear RGB to cone responses, and their cube roots to the space itself.
TO_CONES = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
TO_LAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)


def oklab(colour: str, vision: str) -> np.ndarray:
    srgb = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(np.reshape(VISION[vision], (3, 3)) @ linear, 0, 1)
    return TO_LAB @ np.cbrt(TO_CONES @ seen)


def closest(colours, vision: str) -> float:
    points = [oklab(colour, vision) for colour in colours]
    return min(float(np.linalg.norm(a - b)) for a, b in itertools.combinations(points, 2))


def test_sixteen_colours_are_told_apart():
    assert len(set(PART_COLOURS)) == 16
    assert closest(PART_COLOURS, "usual") > 0.07


@pytest.mark.parametrize("vision", VISION)
def test_the_first_eight_are_told_apart_by_all(vision):
    assert closest(PART_COLOURS[:8], vision) > 0.07


def test_numbers_on_discs_are_readable():
    assert min(contrast(colour, ink_on(colour)) for colour in PART_COLOURS) >= 4.5


def test_luminance_by_hand():
    assert luminance("#ff0000") == pytest.approx(0.2126)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


def test_colours_repeat_after_the_last():
    assert part_colour(3 + 2 * len(PART_COLOURS)) == part_colour(3)
