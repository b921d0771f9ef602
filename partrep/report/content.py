"""What a report is told: frozen records of numbers and NumPy arrays, checked when they are made."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

Interval = tuple[float, float]


class Measured(Protocol):
    """A mean with the ends of its interval, such as `partrep.metrics.intervals.Interval`."""

    @property
    def mean(self) -> float: ...

    @property
    def low(self) -> float: ...

    @property
    def high(self) -> float: ...


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


@dataclasses.dataclass(frozen=True)
class Result:
    """One method's row of the results table.

    Attributes:
        name: what the method is called in the table.
        value: the measure (accuracy, error), a share in [0, 1]; shown in per cent.
        interval: its 95 % interval (low, high), or None.
        vectors: how many local vectors an image the method compares.
        difference: the reference method's value minus this one's, paired over the same episodes.
        difference_interval: its 95 % interval (low, high).
        note: a few words under the name.
        reference: True for the method the page is about; it is set off, and differences are taken from it.
        seeds: the value under each seed, where several were run; drawn as small dots.
        details: further columns, `{heading: text}`, in order.
        further: the measure in further settings, `{heading: (value, low, high)}`; columns of the page.
        further_differences: the reference method's minus this one's there, `{heading: (value, low, high)}`.
    """

    name: str
    value: float
    interval: Interval | None = None
    vectors: int | None = None
    difference: float | None = None
    difference_interval: Interval | None = None
    note: str = ""
    reference: bool = False
    seeds: tuple[float, ...] = ()
    details: Mapping[str, str] = dataclasses.field(default_factory=dict)
    further: Mapping[str, tuple[float, float, float]] = dataclasses.field(default_factory=dict)
    further_differences: Mapping[str, tuple[float, float, float]] = dataclasses.field(default_factory=dict)

    @staticmethod
    def further_name(name: str, heading: str) -> str:
        """What the scores of a method in a further setting are called beside those of all methods."""
        return f"{name} ({heading})"

    @classmethod
    def measured(cls, name: str, measured: Measured, difference: Measured | None = None, **fields) -> Result:
        """Returns the row of a mean with its interval and, where given, a paired difference with its own."""
        if difference is not None:
            fields["difference"] = float(difference.mean)
            fields["difference_interval"] = (float(difference.low), float(difference.high))
        return cls(name, float(measured.mean), (float(measured.low), float(measured.high)), **fields)

    def __post_init__(self):
        _require(0 <= self.value <= 1, f"{self.name}: value {self.value} is not a share in [0, 1]")
        for pair in (self.interval, self.difference_interval):
            sound = pair is None or (len(pair) == 2 and pair[0] <= pair[1])
            _require(sound, f"{self.name}: interval {pair} is not (low, high)")


@dataclasses.dataclass(frozen=True)
class Score:
    """One method's row of the part discovery table; `values` and `intervals` are keyed by the column."""

    name: str
    values: Mapping[str, float]
    intervals: Mapping[str, Interval] = dataclasses.field(default_factory=dict)
    note: str = ""
    reference: bool = False


@dataclasses.dataclass(frozen=True)
class Discovery:
    """How well the parts found agree with the true ones.

    Attributes:
        rows: one a method.
        lower_is_better: the columns in which a smaller number is better.
        descriptions: `{column: one sentence}`, shown under the table.
        note: a sentence above the table (on which images, at which K).
        directionless: the columns in which neither a smaller nor a larger number is better; no best is marked there.
        rows_are: the heading of the rows' names.
    """

    rows: tuple[Score, ...]
    lower_is_better: frozenset[str] = frozenset()
    descriptions: Mapping[str, str] = dataclasses.field(default_factory=dict)
    note: str = ""
    directionless: frozenset[str] = frozenset()
    rows_are: str = "Method"

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns, in the order in which the rows bring them."""
        return tuple(dict.fromkeys(column for row in self.rows for column in row.values))


@dataclasses.dataclass(frozen=True)
class Words:
    """What a drawn prediction calls the likeliest candidate, the right one, and the number of each."""

    first: str = "predicted"
    right: str = "true"
    score: str = "logit"


OTHER_PAIRS = "other pairs of different parts"
"""The addend of all pairs of parts that are not named one by one."""

FOUND = Words("found first", "of its class", "similarity")
"""Of a query beside the images that it finds."""


@dataclasses.dataclass(frozen=True)
class EpisodePicture:
    """One query of one episode: what was compared, and how much each part counted.

    Attributes:
        support: [C,H,W,3] or [C,H,W,1], one support image a class; u8, or float in [0, 1].
        query: [H,W,3] or [H,W,1].
        support_assignment: [C,K,h,w] >= 0, the share of each location given to each part; what the parts
            leave of one is background.
        query_assignment: [K,h,w].
        logits: [C], one a class; the prediction is the largest.
        probabilities: [C], where there are more classes than the C shown, of which the softmax knows nothing; None:
            the softmax of the logits.
        label: the true class, an index into the C classes.
        contributions: [C,K], how much part k counted towards the logit of class c, with its sign; None where
            the head does not say.
        terms: further addends of the logits, `{name: [C]}`, such as a term for where the parts lie. What is
            left of a logit after parts and terms is shown as "not credited to parts".
        class_names: C names; "class 1", ... without them.
        title: a heading; "Episode 1", ... without it.
        words: what its candidates are called.
    """

    support: np.ndarray
    query: np.ndarray
    support_assignment: np.ndarray
    query_assignment: np.ndarray
    logits: np.ndarray
    label: int
    contributions: np.ndarray | None = None
    terms: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    class_names: tuple[str, ...] = ()
    title: str = ""
    probabilities: np.ndarray | None = None
    words: Words = Words()

    def __post_init__(self):
        classes, parts = np.shape(self.support_assignment)[:2]
        expected = {"support": (classes,), "logits": (classes,), "query_assignment": (parts,)}
        for name, shape in expected.items():
            found = np.shape(getattr(self, name))[:1]
            _require(found == shape, f"EpisodePicture.{name}: first axis {found}, expected {shape}")
        _require(
            0 <= self.label < classes, f"EpisodePicture.label {self.label} is not one of {classes} classes"
        )
        if self.contributions is not None:
            found = np.shape(self.contributions)
            _require(
                found == (classes, parts),
                f"EpisodePicture.contributions {found}, expected {(classes, parts)}",
            )
        if self.probabilities is not None:
            found = np.shape(self.probabilities)
            _require(found == (classes,), f"EpisodePicture.probabilities {found}, expected {(classes,)}")
        for name, term in self.terms.items():
            _require(
                np.shape(term) == (classes,), f"EpisodePicture term {name!r}: expected shape {(classes,)}"
            )
        _require(len(self.class_names) in (0, classes), f"EpisodePicture: expected {classes} class names")

    @property
    def predicted(self) -> int:
        """The class with the largest logit."""
        return int(np.argmax(self.logits))

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the classes."""
        return tuple(self.class_names) or tuple(f"class {c + 1}" for c in range(len(self.logits)))


@dataclasses.dataclass(frozen=True)
class PartGallery:
    """Images and their parts, from which the page shows where each part is strongest.

    Attributes:
        images: [N,H,W,3] or [N,H,W,1].
        assignment: [N,K,h,w], as in `EpisodePicture`.
        presence: [N,K] in [0, 1], how much of the part is in the image.
        labels: [N] class of each image; with it, the crops of one part come from different classes.
        captions: K short texts, such as "mostly the wing (IoU 0.52)".
    """

    images: np.ndarray
    assignment: np.ndarray
    presence: np.ndarray
    labels: np.ndarray | None = None
    captions: tuple[str, ...] = ()

    def __post_init__(self):
        count, parts = np.shape(self.assignment)[:2]
        _require(len(self.images) == count, f"PartGallery: {len(self.images)} images, {count} assignments")
        _require(
            np.shape(self.presence) == (count, parts), f"PartGallery.presence: expected {(count, parts)}"
        )
        _require(len(self.captions) in (0, parts), f"PartGallery: expected {parts} captions")


@dataclasses.dataclass(frozen=True)
class Painting:
    """An image beside what a generative model paints in its place, `painted = sum_k shares_k * layers_k`.

    Attributes:
        image: [H,W,3], values in [0, 1].
        painted: [H,W,3], about in [0, 1].
        shares: [K+1,H,W] >= 0, of each pixel; the last is the background's.
        layers: [K+1,H,W,3], what each part and the background would paint everywhere.
    """

    image: np.ndarray
    painted: np.ndarray
    shares: np.ndarray
    layers: np.ndarray

    def __post_init__(self):
        shape = np.shape(self.image)
        expected = {"painted": shape, "layers": (len(self.shares), *shape), "shares": (len(self.shares), *shape[:2])}
        for name, wanted in expected.items():
            found = np.shape(getattr(self, name))
            _require(found == wanted, f"Painting.{name} {found}, expected {wanted}")


@dataclasses.dataclass(frozen=True)
class Page:
    """What every report shows; a section whose record is empty is left out.

    Attributes:
        title, conclusion: the heading, and one sentence in plain words that says what came out.
        results: the rows of the main table.
        facts: a few `{what: value}` shown under the conclusion (data, episodes, ways, shots).
        measure, lower_is_better, chance: what `Result.value` is, its direction, and chance level in [0, 1].
        results_note: a sentence under the table.
        discovery: part discovery scores.
        notes: caveats, a sentence each.
        provenance: `{what: value}`: seed, versions, device, wall time, data fingerprint, test evaluations.
        command: the command that makes the page again.
    """

    title: str
    conclusion: str
    results: tuple[Result, ...] = ()
    facts: Mapping[str, object] = dataclasses.field(default_factory=dict)
    measure: str = "accuracy"
    lower_is_better: bool = False
    chance: float | None = None
    results_note: str = ""
    discovery: Discovery | None = None
    notes: tuple[str, ...] = ()
    provenance: Mapping[str, object] = dataclasses.field(default_factory=dict)
    command: str = ""


@dataclasses.dataclass(frozen=True)
class RunPage(Page):
    """What the report of one run shows besides.

    Attributes:
        history: the rows of `metrics.jsonl`.
        failures: predictions that went wrong, drawn; the predicted class beside the true one.
        gallery: what each part looks at.
        part_names: K names used beside the numbers of the parts.
        level: which level of explanation the pictures have, in a sentence.
        config: the run's config, shown folded.
    """

    history: Sequence[Mapping[str, object]] = ()
    failures: tuple[EpisodePicture, ...] = ()
    gallery: PartGallery | None = None
    part_names: tuple[str, ...] = ()
    level: str = ""
    config: Mapping[str, object] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class FewshotPage(RunPage):
    """Everything the few-shot report shows.

    Attributes:
        shots: support images a class, of which each episode's picture shows one.
        episodes: queries drawn beside the supports.
    """

    shots: int = 1
    episodes: tuple[EpisodePicture, ...] = ()


@dataclasses.dataclass(frozen=True)
class MetricPage(RunPage):
    """Everything the report of metric learning shows.

    Attributes:
        matches: queries drawn beside the images that they find; `failures` are those whose first is of another class.
        heading: what kind of report it is.
        sought: what images of the same one are to find each other.
    """

    matches: tuple[EpisodePicture, ...] = ()
    heading: str = "metric learning report"
    sought: str = "class"


@dataclasses.dataclass(frozen=True)
class ClassifyPage(RunPage):
    """Everything the report of a classifier shows.

    Attributes:
        audit: how far each explanation of this model agrees with what was measured on it.
        model_facts: a few `{what: value}` measured on the model itself, shown above the audit.
        predictions: predictions drawn, beside one example image of each likely class.
        reliance: the parts by how much the decisions rest on them.
        paintings: images and how a generative model paints them.
        localisation: how far parts and heat maps lie on what annotators marked.
    """

    audit: Discovery | None = None
    model_facts: Mapping[str, object] = dataclasses.field(default_factory=dict)
    predictions: tuple[EpisodePicture, ...] = ()
    reliance: Discovery | None = None
    paintings: tuple[Painting, ...] = ()
    localisation: Discovery | None = None


@dataclasses.dataclass(frozen=True)
class Misjudged:
    """A test image that was taken for known or unknown wrongly.

    Attributes:
        image: [H,W,3] or [H,W,1]; u8, or float in [0, 1].
        truth: the name of its class; empty where it has none.
        taken: the known class it was taken for.
        said: how it scores beside the images that it was confused with.
        assignment: [K,h,w], as in `EpisodePicture`; None without parts.
        part: the part that is most unknown in it.
    """

    image: np.ndarray
    truth: str
    taken: str
    said: str
    assignment: np.ndarray | None = None
    part: int | None = None

    def __post_init__(self):
        _require((self.part is None) == (self.assignment is None), "Misjudged: expected a part and maps, or neither")


@dataclasses.dataclass(frozen=True)
class Fooled:
    """Test images of one kind that fooled a method most."""

    title: str
    images: tuple[Misjudged, ...]


@dataclasses.dataclass(frozen=True)
class OpensetPage(RunPage):
    """Everything the report of open-set recognition shows.

    Attributes:
        scores: every score of every method by every metric.
        kinds: the same by what is unknown, where there are several kinds.
        histories: by method, the `metrics.jsonl` rows of each trial.
        fooled: images of the first trial that fooled the compared method most.
    """

    scores: Discovery | None = None
    kinds: Discovery | None = None
    histories: Mapping[str, Sequence[Sequence[Mapping[str, object]]]] = dataclasses.field(default_factory=dict)
    fooled: tuple[Fooled, ...] = ()


@dataclasses.dataclass(frozen=True)
class ComparePage(Page):
    """Presets by seeds: the rows carry `seeds`.

    Attributes:
        histories: by preset, the `metrics.jsonl` rows of each of its runs.
        sections: further tables by title.
    """

    histories: Mapping[str, Sequence[Sequence[Mapping[str, object]]]] = dataclasses.field(default_factory=dict)
    sections: tuple[tuple[str, Discovery], ...] = ()
