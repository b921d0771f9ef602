"""Images with parts: the same part has the same colour and number; discs are whole and apart."""

from __future__ import annotations

import re

import numpy as np

from partrep.report import drawings, pictures
from partrep.report.palette import part_colour


def picture(assignment, aspect=1.0):
    return drawings.Picture("data:,", aspect, tuple(pictures.regions(assignment)))


def test_links_join_parts_that_both_images_have(quadrants):
    left, right = quadrants(2)
    right = right.copy()
    right[1] = 0
    drawn = drawings.pair(picture(left), picture(right), np.array([1.0, 0.5, 0.0]), {0}, "two images")
    links = re.findall(r'class="(link[^"]*)" data-part="(\d)"', drawn)
    assert links == [("link", "0"), ("link faint", "2")]
    assert 'aria-label="two images"' in drawn


def test_stronger_parts_have_wider_lines(quadrants):
    left, right = quadrants(2)
    drawn = drawings.pair(picture(left), picture(right), np.array([1.0, 0.5, 0.0]), {0, 1, 2}, "")
    widths = [float(w) for w in re.findall(r'stroke-width="([\d.]+)" stroke="#', drawn)]
    assert widths == sorted(widths, reverse=True) and widths[0] > widths[-1]


def test_colour_and_number_agree_everywhere(quadrants):
    drawn = drawings.part_picture(picture(quadrants(1)[0]), "one image")
    for k in range(3):
        assert f'fill="{part_colour(k)}" class="disc"' in drawn
        assert f'fill="{part_colour(k)}" stroke="{part_colour(k)}" class="region"' in drawn
        assert f'class="disc-text">{k + 1}</text>' in drawn


def test_discs_are_whole_and_apart():
    regions = [
        pictures.Region(k, "M0 0Z", anchor, (0, 0, 1, 1), 0.1)
        for k, anchor in enumerate([(0.5, 0.5), (0.51, 0.5), (0.5, 0.52), (0.0, 1.0)])
    ]
    points = np.array(list(drawings.Picture("", 0.5, tuple(regions)).marks.values()))
    assert points.min() >= drawings.DISC
    assert (points <= np.array([drawings.SIDE, 0.5 * drawings.SIDE]) - drawings.DISC).all()
    gaps = np.linalg.norm(points[:, None] - points, axis=-1) + 1e3 * np.eye(4)
    assert gaps.min() > 1.6 * drawings.DISC


def test_image_without_regions_is_drawn():
    assert drawings.Picture("", 1.0, ()).marks == {}
    assert "<image" in drawings.part_picture(drawings.Picture("data:,", 1.0, ()), "bare")


def test_crop_shows_the_box():
    drawn = drawings.crop_picture("data:,", "M1 2L3 4Z", (0.25, 0.5, 0.75, 1.0), 2, "a crop")
    assert 'viewBox="500 250 500 500"' in drawn
    assert part_colour(2) in drawn
