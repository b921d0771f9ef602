"""From the records of episodes and galleries to what the templates draw: chosen, sorted and worded."""

from __future__ import annotations

import dataclasses

import numpy as np
from markupsafe import Markup

from partrep.report import drawings, figures, pictures
from partrep.report.content import OTHER_PAIRS, EpisodePicture, Misjudged, Painting, PartGallery, Words
from partrep.report.palette import ink_on, part_colour

MOST_ROWS = 12  # parts listed one by one; with more, those that count least share a row
MOST_CARDS = 16  # parts shown in the gallery
CROPS = 6
UNCREDITED = "not credited to parts"
REMAINDERS = (UNCREDITED, OTHER_PAIRS)  # addends of much at once, without a bar: it would dwarf the others


@dataclasses.dataclass(frozen=True)
class Row:
    """One addend of a logit: its bar and the text of each column; `part` is None for what is not one part."""

    part: int | None
    name: str
    bar: Markup | str
    cells: tuple[str, ...]
    seen: bool = True  # whether the part wins somewhere in the query


@dataclasses.dataclass(frozen=True)
class Candidate:
    """One class of the episode: its support image, logit and probability."""

    name: str
    uri: str
    logit: str
    probability: float
    is_label: bool
    is_predicted: bool


@dataclasses.dataclass(frozen=True)
class Card:
    """One drawn prediction."""

    title: str
    query_uri: str
    label: str
    predicted: str
    correct: bool
    candidates: tuple[Candidate, ...]
    pairs: tuple[tuple[Markup, str, str], ...]  # (drawing, name of the support's class, its role)
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    total: tuple[str, ...]
    words: Words


def signed(value: float) -> str:
    """Returns a number with its sign, two decimals under 100 and none above.

    >>> signed(0.5), signed(-0.001), signed(-123.4)
    ('+0.50', '0.00', '−123')
    """
    text = f"{value:+.0f}" if abs(value) >= 100 else f"{value:+.2f}"
    return text[1:] if float(text) == 0 else text.replace("-", "−")


def part_label(part: int, names: tuple[str, ...]) -> str:
    """Returns the name of a part, "part 3" where it has none."""
    return names[part] if part < len(names) else f"part {part + 1}"


def short_names(names: tuple[str, ...]) -> tuple[str, ...]:
    """Returns the names without the folders that all of them share.

    >>> short_names(("Greek/alpha", "Greek/beta")), short_names(("alpha", "Greek/beta"))
    (('alpha', 'beta'), ('alpha', 'Greek/beta'))
    """
    folders = {name.rpartition("/")[0] for name in names}
    return tuple(name.rpartition("/")[2] for name in names) if len(folders) == 1 else names


# ---- episodes


def episode_card(picture: EpisodePicture, contrast: bool, part_names: tuple[str, ...], fallback: str) -> Card:
    """Returns the card of a prediction; with `contrast`, the predicted class is set against the true one."""
    picture = dataclasses.replace(picture, class_names=short_names(picture.names))
    words = picture.words
    against = picture.label if contrast and picture.label != picture.predicted else None
    addends = _Addends.of(picture, against)
    listed = addends.listed() if addends else _largest(picture)
    query = draw(picture.query, picture.query_assignment, listed)
    return Card(
        title=picture.title or fallback,
        query_uri=pictures.data_uri(picture.query, 112),
        label=picture.names[picture.label],
        predicted=picture.names[picture.predicted],
        correct=picture.predicted == picture.label,
        candidates=_candidates(picture),
        pairs=_pairs(picture, query, against, addends, listed),
        columns=(words.first, "others, mean" if against is None else words.right, "difference") if addends else (),
        rows=addends.rows(listed, query.parts, part_names) if addends else (),
        total=addends.total() if addends else (),
        words=words,
    )


@dataclasses.dataclass(frozen=True)
class _Addends:
    """What the logits of an episode are made of: `values` [C,K+T], the parts first, then the named terms.

    `against` is the class that the predicted one is compared with; None stands for the mean of the others.
    """

    values: np.ndarray
    logits: np.ndarray
    names: tuple[str, ...]
    parts: int
    predicted: int
    against: int | None

    @classmethod
    def of(cls, picture: EpisodePicture, against: int | None) -> _Addends | None:
        """The addends of a picture, with what parts and terms leave of the logits as a term of its own."""
        if picture.contributions is None:
            return None
        logits = np.asarray(picture.logits, np.float64)
        terms = {name: np.asarray(term, np.float64) for name, term in picture.terms.items()}
        rest = logits - np.asarray(picture.contributions, np.float64).sum(1) - sum(terms.values())
        if np.abs(rest).max() > 1e-3 * max(1.0, np.abs(logits).max()):
            terms[UNCREDITED] = rest
        values = np.concatenate([picture.contributions, *(t[:, None] for t in terms.values())], axis=1)
        parts = np.shape(picture.contributions)[1]
        return cls(values, logits, tuple(terms), parts, picture.predicted, against)

    @property
    def mine(self) -> np.ndarray:
        return self.values[self.predicted]

    @property
    def other(self) -> np.ndarray:
        return self._rival(self.values)

    def _rival(self, rows: np.ndarray) -> np.ndarray:
        if self.against is not None:
            return rows[self.against]
        others = np.delete(rows, self.predicted, axis=0)
        return others.mean(0) if len(others) else np.zeros_like(rows[0])

    @property
    def lead(self) -> np.ndarray:
        """[K]: how much more each part counted for the predicted class."""
        return (self.mine - self.other)[: self.parts]

    def listed(self) -> tuple[int, ...]:
        """The parts that get a row of their own, the most telling first."""
        order = np.argsort(-self.lead if self.parts <= MOST_ROWS else -np.abs(self.lead), kind="stable")
        kept = order if self.parts <= MOST_ROWS else order[: MOST_ROWS - 1]
        return tuple(int(k) for k in sorted(kept, key=lambda k: -self.lead[k]))

    def rows(self, listed: tuple[int, ...], seen: set[int], part_names: tuple[str, ...]) -> tuple[Row, ...]:
        """A row for each listed part, one for the parts not listed, one for each term."""
        rest = [k for k in range(self.parts) if k not in listed]
        drawn = [*listed, *(self.parts + i for i, name in enumerate(self.names) if name not in REMAINDERS)]
        axis = figures.contribution_axis(np.concatenate([self.mine[drawn], self.other[drawn]]))
        rows = [self._row([k], part_label(k, part_names), axis, k, k in seen) for k in listed]
        # What is no single part or term has no bar: it would dwarf the others.
        rows += [self._row(rest, f"{len(rest)} other parts")] if rest else []
        for i, name in enumerate(self.names):
            rows.append(self._row([self.parts + i], name, None if name in REMAINDERS else axis))
        return tuple(rows)

    def _row(
        self,
        members: list[int],
        name: str,
        axis: figures.Axis | None = None,
        part: int | None = None,
        seen: bool = True,
    ) -> Row:
        mine, other = float(self.mine[members].sum()), float(self.other[members].sum())
        colour = "currentColor" if part is None else part_colour(part)
        bar = figures.contribution_bar(mine, axis, colour, other) if axis else ""
        return Row(part, name, bar, self._cells(mine, other), seen)

    def _cells(self, mine: float, other: float) -> tuple[str, ...]:
        return signed(mine), signed(other), signed(mine - other)

    def total(self) -> tuple[str, ...]:
        """The cells of the last row: the logits themselves."""
        mine, other = self.logits[self.predicted], float(self._rival(self.logits[:, None])[0])
        return self._cells(mine, other)


def _largest(picture: EpisodePicture) -> tuple[int, ...]:
    """The parts to draw where no contributions are known: those that hold most of the query."""
    mass = np.asarray(picture.query_assignment).sum((1, 2))
    return tuple(int(k) for k in np.argsort(-mass, kind="stable")[:MOST_ROWS])


def _candidates(picture: EpisodePicture) -> tuple[Candidate, ...]:
    logits, shares = np.asarray(picture.logits, np.float64), picture.probabilities
    if shares is None:
        shares = np.exp(logits - logits.max())
        shares /= shares.sum()
    side = 96 if len(logits) <= 10 else 64
    return tuple(
        Candidate(
            name,
            pictures.data_uri(image, side),
            signed(logit),
            float(share),
            c == picture.label,
            c == picture.predicted,
        )
        for c, (name, image, logit, share) in enumerate(zip(picture.names, picture.support, logits, shares))
    )


def _pairs(
    picture: EpisodePicture,
    query: drawings.Picture,
    against: int | None,
    addends: _Addends | None,
    listed: tuple[int, ...],
) -> tuple[tuple[Markup, str, str], ...]:
    """The query beside the predicted class's support; with `against`, also beside that class's."""
    lead = addends.lead if addends else np.zeros(np.shape(picture.query_assignment)[0])
    words = picture.words
    correct = f"{words.first}, correct" if picture.predicted == picture.label else words.first
    roles = [(picture.predicted, correct, lead)]
    if against is not None:
        roles.append((against, words.right, -lead))
    made = []
    for c, role, pull in roles:
        support = draw(picture.support[c], picture.support_assignment[c], listed)
        alt = _pair_alt(query, support, picture.names[c])
        shared = [k for k in listed if k in query.parts & support.parts]
        strong = _strong(pull, shared) if addends else set(shared[:6])
        weights = np.abs(lead) / (np.abs(lead).max() or 1.0)
        made.append((drawings.pair(query, support, weights, strong, alt), picture.names[c], role))
    return tuple(made)


def _strong(pull: np.ndarray, shared: list[int]) -> set[int]:
    """Up to four parts that speak most for a class; where none does, the one that speaks least against it."""
    order = sorted(shared, key=lambda k: -pull[k])
    return {k for k in order[:4] if pull[k] > 0} or set(order[:1])


def draw(image: np.ndarray, assignment: np.ndarray, parts: tuple[int, ...] | None = None) -> drawings.Picture:
    """Returns an image with the regions of its parts, ready to be drawn."""
    rgb = pictures.to_rgb(image)
    found = pictures.regions(assignment, None if parts is None else tuple(sorted(parts)))
    return drawings.Picture(pictures.data_uri(rgb, 224), rgb.shape[0] / rgb.shape[1], tuple(found))


def _pair_alt(left: drawings.Picture, right: drawings.Picture, name: str) -> str:
    both = ", ".join(str(k + 1) for k in sorted(left.parts & right.parts)) or "none"
    return f"The image asked about (left) and one of {name} (right) with part regions; in both: parts {both}"


# ---- gallery


@dataclasses.dataclass(frozen=True)
class PartCard:
    """What one part looks at: its crops, where it tends to lie, and how often it is there."""

    part: int
    name: str
    caption: str
    colour: str
    ink: str
    crops: tuple[Markup, ...]
    place_uri: str
    presence: float
    area: float


def part_cards(gallery: PartGallery, part_names: tuple[str, ...]) -> tuple[PartCard, ...]:
    """Returns a card for each part; of more than sixteen, for those most present."""
    mean = np.asarray(gallery.presence, np.float64).mean(0)
    kept = sorted(np.argsort(-mean, kind="stable")[:MOST_CARDS])
    return tuple(_part_card(gallery, int(k), float(mean[k]), part_names) for k in kept)


def _part_card(gallery: PartGallery, part: int, presence: float, part_names: tuple[str, ...]) -> PartCard:
    place = np.nan_to_num(np.asarray(gallery.assignment[:, part], np.float64)).mean(0)
    return PartCard(
        part=part,
        name=part_label(part, part_names).capitalize(),
        caption=gallery.captions[part] if gallery.captions else "",
        colour=part_colour(part),
        ink=ink_on(part_colour(part)),
        crops=_crops(gallery, part, part_label(part, part_names)),
        place_uri=pictures.tint_uri(place / max(place.max(), 1e-9), part_colour(part)),
        presence=presence,
        area=float(place.mean()),
    )


def _crops(gallery: PartGallery, part: int, name: str) -> tuple[Markup, ...]:
    """The part where it is most present and wins somewhere; from different classes where they are known."""
    made: list[Markup] = []
    for i in _strongest(gallery, part):
        found = pictures.regions(gallery.assignment[i], (part,))
        if found:
            box = pictures.square_around(found[0].box)
            uri = pictures.data_uri(pictures.crop(gallery.images[i], box), 96)
            made.append(
                drawings.crop_picture(uri, found[0].outline, box, part, f"{name}, example {len(made) + 1}")
            )
        if len(made) == CROPS:
            break
    return tuple(made)


def _strongest(gallery: PartGallery, part: int) -> list[int]:
    """Images by falling presence, the first of each class before the rest; enough for `CROPS`."""
    order = np.argsort(-np.asarray(gallery.presence)[:, part], kind="stable")
    if gallery.labels is not None:
        labels = np.asarray(gallery.labels)[order]
        first = np.zeros(len(order), bool)
        first[np.unique(labels, return_index=True)[1]] = True
        order = np.concatenate([order[first], order[~first]])
    return [int(i) for i in order[: 4 * CROPS]]


def overview(gallery: PartGallery, count: int) -> tuple[Markup, ...]:
    """Returns the first `count` images with the regions of all their parts."""
    drawn = [draw(image, found) for image, found in zip(gallery.images[:count], gallery.assignment[:count])]
    return tuple(
        drawings.part_picture(picture, f"Example {i + 1} with its part regions")
        for i, picture in enumerate(drawn)
    )


@dataclasses.dataclass(frozen=True)
class PaintedCard:
    """An image, the one painted in its place, and the layers of it: (part, None for the background; picture; name)."""

    image_uri: str
    painted_uri: str
    layers: tuple[tuple[int | None, str, str], ...]


def painted_card(painting: Painting, part_names: tuple[str, ...]) -> PaintedCard:
    """Returns what is drawn of a painting; of more than sixteen parts, those that paint most, then the background."""
    background = len(painting.shares) - 1
    area = np.asarray(painting.shares, np.float64)[:background].sum((1, 2))
    kept = [*sorted(np.argsort(-area, kind="stable")[:MOST_CARDS].tolist()), background]
    layers = tuple(
        (
            None if k == background else k,
            pictures.layer_uri(painting.layers[k], painting.shares[k]),
            "background" if k == background else part_label(k, part_names),
        )
        for k in kept
    )
    return PaintedCard(pictures.data_uri(painting.image), pictures.data_uri(painting.painted), layers)


@dataclasses.dataclass(frozen=True)
class MisjudgedCard:
    """An image with the region of its most unknown part, if there is one, and what is said of it."""

    drawing: Markup
    about: Misjudged
    part_name: str


def misjudged_card(about: Misjudged, part_names: tuple[str, ...]) -> MisjudgedCard:
    """Returns what is drawn of an image that was taken for known or unknown wrongly."""
    rgb = pictures.to_rgb(about.image)
    found = []
    if about.part is not None and about.assignment is not None:
        found = pictures.regions(about.assignment, (about.part,))
    picture = drawings.Picture(pictures.data_uri(rgb, 224), rgb.shape[0] / rgb.shape[1], tuple(found))
    name = "" if about.part is None else part_label(about.part, part_names)
    alt = f"{about.truth or 'An image'}, taken for {about.taken}" + (f", with the region of {name}" if found else "")
    return MisjudgedCard(drawings.part_picture(picture, alt), about, name)
