"""What a finished classifier made of a person's photos, for the page that shows it.

In: a finished run and a folder of photos. Out: the page's content; files that are no photos are listed, not fatal.
"""

from __future__ import annotations

import os
import pathlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from partrep import UserError
from partrep.data.archives import hidden
from partrep.data.decode import View, flattened, load_photo, open_image, orientation_of, photo_size, turned
from partrep.explain.contributions import level
from partrep.report.explained import Chance, ExplainedPage, PartSeen, PhotoSeen, jpeg
from partrep.report.pictures import reading_regions
from partrep.tasks.classify_evaluation import LEVELS
from partrep.tasks.finished import Finished

BATCH = 16
LISTED = 10
"""Parts listed of a photo at most."""
LIKELY = 3
ALIKE = 4
"""Patches shown of a part."""
SHORT_SIDE, LONG_SIDE = 300, 1200
"""Pixels of a photo on the page at most."""


class Photo(NamedTuple):
    """A photo that could be read: as the model sees it u8 [S,S,3], and as the page shows it."""

    name: str
    seen: np.ndarray
    whole: np.ndarray
    view: tuple[float, float, float, float]


def explain(finished: Finished, folder: pathlib.Path) -> ExplainedPage:
    """Reads every photo of a folder and explains it.

    Raises:
        UserError: no such folder, or no photo in it that can be read.
    """
    read: list[PhotoSeen] = []
    skipped: list[tuple[str, str]] = []
    patches: dict[tuple[int, int], int] = {}
    for batch in batches(folder, finished.view, skipped):
        read.extend(seen(finished, batch, patches))
    if not read:
        raise no_photo(folder, skipped)
    bank = finished.bank
    return ExplainedPage(
        photos=tuple(read),
        skipped=tuple(skipped),
        classes=finished.card.classes,
        patches=tuple((bank.patches[k, i], int(bank.labels[k, i])) for k, i in patches),
        about=about(finished, len(read)),
        level=LEVELS[level(finished.model)],
        additive=level(finished.model) > 0,
    )


def no_photo(folder: pathlib.Path, skipped: Sequence[tuple[str, str]]) -> UserError:
    """The mistake of a folder in which no file could be read as a photo; it says why not the first."""
    found = f"{len(skipped)} files, none of them a photo" if skipped else "no file"
    first = f" ({skipped[0][0]}: {skipped[0][1]})" if skipped else ""
    return UserError(f"{folder} has {found}{first}; expected photos such as JPEG or PNG")


def about(finished: Finished, photos: int) -> str:
    """What the page is about, in a sentence; the accuracy is that of the run's test images, rounded down."""
    card = finished.card
    right = f"{int(100 * card.accuracy + 1e-9)} of 100"
    said = f"{photos} photo{'' if photos == 1 else 's'}"
    known = f"named by a model that knows {len(card.classes)} classes"
    return f"{said}, {known}. Tested on other photos it was right for {right}."


def batches(folder: pathlib.Path, view: View, skipped: list[tuple[str, str]]) -> Iterator[list[Photo]]:
    """The photos of a folder and of the folders in it, by name; what is none goes to `skipped` with the reason."""
    yield from opened(folder, names_in(folder), view, skipped)


def names_in(folder: pathlib.Path) -> list[str]:
    """The files of a folder and of the folders in it, by name, without those that are hidden."""
    if not folder.is_dir():
        raise UserError(f"--images is {folder}; expected a folder of photos")
    files = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return sorted(name for name in files if not hidden(name))


def opened(
    folder: pathlib.Path, names: Sequence[str], view: View, skipped: list[tuple[str, str]]
) -> Iterator[list[Photo]]:
    """The photos among some files of a folder, `BATCH` at a time; what is none goes to `skipped` with the reason."""
    with ThreadPoolExecutor() as pool:
        waiting: list[Photo] = []
        for start in range(0, len(names), BATCH):
            for found in pool.map(lambda name: open_photo(folder, name, view), names[start : start + BATCH]):
                if isinstance(found, Photo):
                    waiting.append(found)
                else:
                    skipped.append(found)
            while len(waiting) >= BATCH:
                yield waiting[:BATCH]
                waiting = waiting[BATCH:]
        if waiting:
            yield waiting


def open_photo(folder: pathlib.Path, name: str, view: View) -> Photo | tuple[str, str]:
    """A photo, or (name, why it is none)."""
    shown = os.fsencode(name).decode("utf-8", "replace")
    try:
        data = (folder / name).read_bytes()
        region = view.region(photo_size(data, shown))
        box = tuple(float(x) for x in np.clip(region, 0, 1))
        return Photo(shown, load_photo(data, shown, view), thumbnail(data), box)  # type: ignore[arg-type]
    except UserError as error:
        return shown, str(error).removeprefix(f"{shown} is ").removeprefix(f"{shown}: ")
    except OSError as error:
        return shown, error.strerror or str(error)


def thumbnail(data: bytes) -> np.ndarray:
    """u8 [h,w,3]: a whole photo that could be read, upright and as small as the page shows it."""
    file = open_image(data)
    if file.format == "TIFF":  # which is turned upright when its pixels are read
        file.load()
    scale = min(1.0, SHORT_SIDE / min(file.size), LONG_SIDE / max(file.size))
    size = [max(1, round(scale * side)) for side in file.size]
    file.draft("RGB", (2 * size[0], 2 * size[1]))
    return np.asarray(turned(flattened(file).resize(size), orientation_of(file)).convert("RGB"))


def seen(finished: Finished, photos: list[Photo], patches: dict[tuple[int, int], int]) -> list[PhotoSeen]:
    """What the page shows of some photos; the patches that they name are counted in `patches`, (part, number)."""
    rows = np.minimum(np.arange(BATCH), len(photos) - 1)  # one shape, so that one program is compiled
    found = finished.read(np.stack([photos[i].seen for i in rows]))
    return [
        one_photo(finished, photo, {name: value[i] for name, value in found.items()}, patches)
        for i, photo in enumerate(photos)
    ]


def one_photo(
    finished: Finished, photo: Photo, found: dict[str, np.ndarray], patches: dict[tuple[int, int], int]
) -> PhotoSeen:
    """What the page shows of one photo, of which `found` has what the model said."""
    chances = finished.probabilities(found["logits"])
    order = np.argsort(-chances, kind="stable")[:LIKELY]
    likely = tuple((int(c), float(chances[c])) for c in order)
    listed = parts(finished, found, likely, patches)
    truth = class_of(photo.name, finished.card.classes)
    lead = turned = None
    if level(finished.model) > 0:
        lead = float(found["logits"][order[0]] - found["logits"][order[min(1, len(order) - 1)]])
        turned = turn(finished, found, [part.part for part in listed])
    shown = jpeg(photo.whole), photo.whole.shape[:2], photo.view
    return PhotoSeen(photo.name, *shown, likely, truth, lead, turned, listed)


def turn(
    finished: Finished, found: dict[str, np.ndarray], order: list[int]
) -> tuple[tuple[int, ...], Chance] | None:
    """How many parts of `order` must be taken for average ones before the answer is another, and that answer."""
    moves = found["contributions"] - finished.bank.mean_contributions  # [K,C]
    left = found["logits"] - np.cumsum(moves[order], axis=0)
    others = np.flatnonzero(left.argmax(1) != found["logits"].argmax())
    if not len(others):
        return None
    chances = finished.probabilities(left[others[0]])
    return tuple(order[: others[0] + 1]), (int(chances.argmax()), float(chances.max()))


def class_of(name: str, classes: tuple[str, ...]) -> int | None:
    """The class that the folder of a photo is called.

    >>> class_of("mine/tulip/1.jpg", ("daisy", "tulip")), class_of("tulip.jpg", ("daisy", "tulip"))
    (1, None)
    """
    folder = pathlib.PurePosixPath(name).parent.name
    return classes.index(folder) if folder in classes else None


def parts(
    finished: Finished, found: dict[str, np.ndarray], likely: tuple[Chance, ...], patches: dict[tuple[int, int], int]
) -> tuple[PartSeen, ...]:
    """The parts listed of one photo, the one that says most for the decision first."""
    first, second = likely[0][0], likely[min(1, len(likely) - 1)][0]
    moves = found["contributions"] - finished.bank.mean_contributions  # [K,C]
    additive = level(finished.model) > 0
    says = moves[:, first] - moves[:, second]
    strength = np.abs(says) if additive else found["presence"]
    listed = sorted(np.argsort(-strength, kind="stable")[:LISTED].tolist(), key=lambda k: -says[k])
    outlined = {region.part: region for region in reading_regions(found["assignment"], listed)}
    shares = found["assignment"].mean((1, 2))
    made = []
    for k in listed:
        alike = finished.bank.nearest(k, found["codes"][k], ALIKE)
        like = tuple(patches.setdefault((k, i), len(patches)) for i in alike)
        without = None
        if additive:
            chances = finished.probabilities(found["logits"] - moves[k])
            without = int(chances.argmax()), float(chances.max())
        said = float(says[k]) if additive else None
        made.append(PartSeen(k, outlined.get(k), float(shares[k]), said, without, like))
    return tuple(made)
