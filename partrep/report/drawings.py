"""Images with their parts as inline SVG: outlined and numbered, linked in pairs, cropped."""

from __future__ import annotations

import dataclasses

import numpy as np
from markupsafe import Markup

from partrep.report.palette import ink_on, part_colour
from partrep.report.pictures import Region
from partrep.report.svg import element, number

SIDE = 200  # units an image's width takes in a drawing
DISC = 10.0  # radius of a part's numbered disc
GAP = 60  # units between two linked images


@dataclasses.dataclass(frozen=True)
class Picture:
    """An image ready to draw: its data URI, its height over its width, and the regions of its parts."""

    uri: str
    aspect: float
    regions: tuple[Region, ...]

    @property
    def parts(self) -> set[int]:
        """The parts that have a region."""
        return {region.part for region in self.regions}

    @property
    def marks(self) -> dict[int, tuple[float, float]]:
        """Where the disc of each part stands, in units: deep in its region, whole inside the image, apart."""
        height = SIDE * self.aspect
        points = np.array([(r.anchor[0] * SIDE, r.anchor[1] * height) for r in self.regions]).reshape(-1, 2)
        room = np.array([SIDE, height]) - DISC - 1
        for _ in range(20):
            points = np.clip(_pushed_apart(points, 1.85 * DISC), DISC + 1, room)
        return {r.part: (float(x), float(y)) for r, (x, y) in zip(self.regions, points)}


def _pushed_apart(points: np.ndarray, least: float) -> np.ndarray:
    """Points [n,2] moved half of the way that those closer than `least` lack."""
    gaps = points[:, None] - points
    distance = np.maximum(np.linalg.norm(gaps, axis=-1, keepdims=True), 1e-6)
    return points + (gaps / distance * np.clip(least - distance, 0, None) / 4).sum(1)


def disc(part: int, x: float, y: float, radius: float = DISC) -> Markup:
    """Returns the numbered disc of a part (numbers start at 1)."""
    colour = part_colour(part)
    text = element("text", part + 1, x=x, y=y + 0.36 * radius * 1.15, fill=ink_on(colour), class_="disc-text")
    circle = element("circle", cx=x, cy=y, r=radius, fill=colour, class_="disc")
    return element("g", circle, text, class_="mark", data_part=part)


def outlined(picture: Picture, discs: bool = True) -> Markup:
    """Returns the image with its parts' regions, `SIDE` units wide: the inside of a drawing."""
    height = SIDE * picture.aspect
    image = element(
        "image", href=picture.uri, width=SIDE, height=height, preserveAspectRatio="none", class_="photo"
    )
    scale = f"scale({number(SIDE / 1000, 3)} {number(height / 1000, 3)})"
    shapes = [_shape(region) for region in picture.regions]
    marks = [disc(part, *point) for part, point in picture.marks.items()] if discs else []
    frame = element("rect", width=SIDE, height=height, class_="frame")
    return element("g", image, element("g", *shapes, transform=scale), frame, *marks)


def _shape(region: Region) -> Markup:
    """A region: a pale casing, so that its outline shows on any ground, then outline and tint."""
    colour = part_colour(region.part)
    casing = element("path", d=region.outline, class_="region-case")
    tint = element("path", d=region.outline, fill=colour, stroke=colour, class_="region")
    return element("g", casing, tint, class_="shape", data_part=region.part)


def part_picture(picture: Picture, alt: str, discs: bool = True) -> Markup:
    """Returns one image with the regions of its parts as a drawing of its own."""
    view = f"0 0 {SIDE} {number(SIDE * picture.aspect)}"
    return element(
        "svg", outlined(picture, discs), viewBox=view, class_="part-picture", role="img", aria_label=alt
    )


def pair(left: Picture, right: Picture, weights: np.ndarray, strong: set[int], alt: str) -> Markup:
    """Returns two images side by side, the same part of both joined by a line.

    Args:
        left, right: the query and a support image.
        weights: [K] in [0, 1], the width of each part's line.
        strong: the parts whose lines show; the others appear when pointed at.
        alt: what the drawing shows, in words.
    """
    height = SIDE * max(left.aspect, right.aspect)
    starts = left.marks
    ends = {part: (x + SIDE + GAP, y) for part, (x, y) in right.marks.items()}
    links = [
        _link(part, starts[part], ends[part], float(weights[part]), part in strong)
        for part in starts
        if part in ends
    ]
    marks = [disc(part, *point) for points in (starts, ends) for part, point in points.items()]
    second = element("g", outlined(right, discs=False), transform=f"translate({SIDE + GAP} 0)")
    return element(
        "svg",
        outlined(left, discs=False),
        second,
        *links,
        *marks,
        viewBox=f"0 0 {2 * SIDE + GAP} {number(height)}",
        class_="pair",
        role="img",
        aria_label=alt,
    )


def _link(
    part: int, start: tuple[float, float], end: tuple[float, float], weight: float, strong: bool
) -> Markup:
    """A curve between two discs, in the part's colour on a pale casing."""
    bend = 0.45 * (end[0] - start[0])
    points = (*start, start[0] + bend, start[1], end[0] - bend, end[1], *end)
    path = "M{} {}C{} {} {} {} {} {}".format(*map(number, points))
    width = 1.5 + 3.5 * weight
    strokes = [
        element("path", d=path, stroke_width=width + 2.0, class_="casing"),
        element("path", d=path, stroke_width=width, stroke=part_colour(part), class_="thread"),
    ]
    return element("g", *strokes, class_="link" if strong else "link faint", data_part=part)


def crop_picture(
    uri: str, outline: str, box: tuple[float, float, float, float], part: int, alt: str
) -> Markup:
    """Returns the crop `uri` of the square `box` of an image, all but the part's region dimmed."""
    size = 1000 * (box[3] - box[1]), 1000 * (box[2] - box[0])
    view = (1000 * box[1], 1000 * box[0], *size)
    frame = "M{0} {1}h{2}v{3}h-{2}Z".format(*map(number, view))
    shade = element("path", d=frame + outline, fill_rule="evenodd", class_="shade")
    line = element("path", d=outline, stroke=part_colour(part), class_="crop-line")
    image = element(
        "image", href=uri, x=view[0], y=view[1], width=size[0], height=size[1], preserveAspectRatio="none"
    )
    return element(
        "svg",
        image,
        shade,
        line,
        viewBox=" ".join(map(number, view)),
        class_="crop",
        role="img",
        aria_label=alt,
    )
