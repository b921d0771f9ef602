"""The page that shows a person what a model looked at in their own photos."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import pathlib

import numpy as np
from PIL import Image

from partrep.report.page import _environment, write_page
from partrep.report.palette import ink_on, part_colour
from partrep.report.pictures import Region, data_uri

Chance = tuple[int, float]
"""A class and its probability."""


@dataclasses.dataclass(frozen=True)
class PartSeen:
    """One part in one photo.

    Attributes:
        part: its number, from 0.
        region: where it is mostly read; None where it has little of every location.
        share: of the photo as the model saw it, in [0,1], what is read through it.
        says: how far it moves the score of the decision above that of the second most likely class, measured from the
            average photo; None where parts do not sum.
        without: the decision with the part at its average and the decision's probability then; None as above.
        like: numbers of patches in `ExplainedPage.patches`, the most alike first.
    """

    part: int
    region: Region | None
    share: float
    says: float | None
    without: Chance | None
    like: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class PhotoSeen:
    """One photo and what the model made of it.

    Attributes:
        name: of the file.
        picture: the whole photo, a JPEG.
        size: (height, width) of that picture.
        view: (y0, x0, y1, x1) in [0,1] of the whole photo: what the model was shown.
        likely: the likeliest classes, the decision first.
        truth: the class whose name the photo's folder has; None where it has none of a class.
        lead: the score of the decision less that of the second most likely class; None where parts do not sum.
        turn: the fewest of the listed parts, those that say most first, without which together the answer would be
            another, and that answer; None where no number of them turns it, or where parts do not sum.
        parts: that are listed, the one that says most for the decision first.
    """

    name: str
    picture: bytes
    size: tuple[int, int]
    view: tuple[float, float, float, float]
    likely: tuple[Chance, ...]
    truth: int | None
    lead: float | None
    turn: tuple[tuple[int, ...], Chance] | None
    parts: tuple[PartSeen, ...]


@dataclasses.dataclass(frozen=True)
class ExplainedPage:
    """Everything on the page.

    Attributes:
        photos: in the order of their names.
        skipped: (file, why) of those that could not be read.
        classes: their names.
        patches: u8 [S,S,3] of training images, and the class of each.
        about: what the model is and how well it recognises test images, a sentence.
        level: which explanation holds, in words.
        additive: whether what parts say sums to the score.
    """

    photos: tuple[PhotoSeen, ...]
    skipped: tuple[tuple[str, str], ...]
    classes: tuple[str, ...]
    patches: tuple[tuple[np.ndarray, int], ...]
    about: str
    level: str
    additive: bool


def write_explained(path: pathlib.Path, page: ExplainedPage) -> pathlib.Path:
    """Writes the page to `path`, whole or not at all, and returns the path."""
    return write_page(path, render_explained(page))


def render_explained(page: ExplainedPage) -> str:
    """The page as HTML. Photos are data: a photo becomes part of the page when it is turned to."""
    listed = [seen for photo in page.photos for seen in photo.parts]
    parts = sorted({seen.part for seen in listed})
    shared = {
        "classes": page.classes,
        "patches": [[data_uri(patch, 72), label] for patch, label in page.patches],
        "colours": {part: [part_colour(part), ink_on(part_colour(part))] for part in parts},
        "additive": page.additive,
        "most": max([abs(seen.says or 0.0) for seen in listed], default=0.0),
        "index": [[photo.name, photo.likely[0][0], round(photo.likely[0][1], 6), photo.truth] for photo in page.photos],
    }
    photos = [island(_photo(photo)) for photo in page.photos]
    known = [photo for photo in page.photos if photo.truth is not None]
    wrong = sum(photo.truth != photo.likely[0][0] for photo in known)
    template = _environment().get_template("explained.html.j2")
    return template.render(page=page, shared=island(shared), photos=photos, known=len(known), wrong=wrong)


def island(value: object) -> str:
    """JSON that can stand inside a script element: no text in it can end the element.

    >>> island({"name": "</script><b>"})
    '{"name":"\\\\u003c/script>\\\\u003cb>"}'
    """
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")


def _photo(photo: PhotoSeen) -> dict:
    return {
        "src": "data:image/jpeg;base64," + base64.b64encode(photo.picture).decode(),
        "size": photo.size,
        "view": [round(value, 4) for value in photo.view],
        "likely": [[label, round(chance, 6)] for label, chance in photo.likely],
        "lead": None if photo.lead is None else round(photo.lead, 3),
        "turn": None if photo.turn is None else [photo.turn[0], photo.turn[1][0], round(photo.turn[1][1], 4)],
        "parts": [_part(seen) for seen in photo.parts],
    }


def _part(seen: PartSeen) -> dict:
    made: dict = {"k": seen.part, "like": seen.like, "share": round(seen.share, 3)}
    if seen.region is not None:
        made |= {"d": seen.region.outline, "at": [round(x, 3) for x in seen.region.anchor]}
        made["area"] = round(seen.region.area, 3)
    if seen.says is not None and seen.without is not None:
        made |= {"says": round(seen.says, 3), "without": [seen.without[0], round(seen.without[1], 4)]}
    return made


def jpeg(image: np.ndarray, quality: int = 80) -> bytes:
    """An image u8 [H,W,3] as a JPEG."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "jpeg", quality=quality, optimize=True)
    return buffer.getvalue()
