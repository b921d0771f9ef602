"""The page that shows what was found for a photo, and which parts make each of the found photos alike."""

from __future__ import annotations

import base64
import dataclasses
import pathlib

import numpy as np

from partrep.report.explained import island
from partrep.report.page import _environment, write_page
from partrep.report.palette import ink_on, part_colour
from partrep.report.pictures import Region


@dataclasses.dataclass(frozen=True)
class Photo:
    """A photo of a query or of the index.

    Attributes:
        name: of the file.
        picture: the whole photo, a JPEG; None where it is no longer what was indexed.
        size: (height, width) of that picture.
        view: (y0, x0, y1, x1) in [0,1] of the whole photo: what the model was shown.
        regions: where parts are mostly read.
        note: a sentence, shown where there is no picture.
    """

    name: str
    picture: bytes | None
    size: tuple[int, int]
    view: tuple[float, float, float, float]
    regions: tuple[Region, ...]
    note: str = ""


@dataclasses.dataclass(frozen=True)
class Query:
    """One query and what was found.

    Attributes:
        photo: the query.
        parts: numbers of the parts that are listed, from 0.
        ranked: (number in `RetrievedPage.photos`, similarity, f32 [parts] what each listed part adds to it) of the
            found photos, the most similar first.
    """

    photo: Photo
    parts: tuple[int, ...]
    ranked: tuple[tuple[int, float, np.ndarray], ...]


@dataclasses.dataclass(frozen=True)
class RetrievedPage:
    """Everything on the page.

    Attributes:
        queries: in order of their names.
        photos: of the index, that were found for some query.
        skipped: (file, why) of queries that could not be read.
        indexed: how many photos were searched.
        left_out: how many further queries the page does not show.
        parts: K, how many parts the model has.
    """

    queries: tuple[Query, ...]
    photos: tuple[Photo, ...]
    skipped: tuple[tuple[str, str], ...]
    indexed: int
    left_out: int
    parts: int


def write_retrieved(path: pathlib.Path, page: RetrievedPage) -> pathlib.Path:
    """Writes the page to `path`, whole or not at all, and returns the path."""
    return write_page(path, render_retrieved(page))


def render_retrieved(page: RetrievedPage) -> str:
    """The page as HTML. Photos are data: a photo becomes part of the page when its query is turned to."""
    shared = {
        "colours": {part: [part_colour(part), ink_on(part_colour(part))] for part in range(page.parts)},
        "index": [query.photo.name for query in page.queries],
    }
    islands = {f"query-{n}": island(_query(query)) for n, query in enumerate(page.queries)}
    islands |= {f"photo-{n}": island(_photo(photo)) for n, photo in enumerate(page.photos)}
    template = _environment().get_template("retrieved.html.j2")
    return template.render(page=page, shared=island(shared), islands=islands)


def _photo(photo: Photo) -> dict:
    source = None
    if photo.picture is not None:
        source = "data:image/jpeg;base64," + base64.b64encode(photo.picture).decode()
    return {
        "name": photo.name,
        "src": source,
        "note": photo.note,
        "size": photo.size,
        "view": [round(value, 4) for value in photo.view],
        "parts": [
            {"k": region.part, "d": region.outline, "at": [round(x, 3) for x in region.anchor]}
            for region in photo.regions
        ],
    }


def _query(query: Query) -> dict:
    return {
        "photo": _photo(query.photo),
        "parts": query.parts,
        "ranked": [
            [number, round(similarity, 4), [round(float(value), 4) for value in adds]]
            for number, similarity, adds in query.ranked
        ],
    }
