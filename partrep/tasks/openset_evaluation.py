"""What an open-set run is scored on: every score of every method over the trials, the unknown part; and its page."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from partrep.data.imageset import Batch, ImageSet
from partrep.data.openset import NOVEL, RESERVED, UNKNOWN
from partrep.evaluate import openmax
from partrep.evaluate.openset import METRICS, known_scores, measure_all, most_unknown_part, part_of_each
from partrep.evaluate.predict import predict
from partrep.metrics.intervals import mean_interval
from partrep.metrics.openset import openness
from partrep.report.content import Discovery, Fooled, OpensetPage, Result, Score
from partrep.tasks.batches import eval_batches, spaced
from partrep.tasks.maps import Sampled, part_count
from partrep.tasks.openset import Openset, named_parts
from partrep.tasks.outcome import Outcome
from partrep.train.state import Tree

ALL = "all kinds"
CLASSES = (UNKNOWN, NOVEL)
"""Kinds of unknown images that are classes."""
MEASURE = "AUROC"
LOWER_IS_BETTER = frozenset({"FPR95, known", "FPR95, unknown"})
COLUMNS = {
    "AUROC": ("auroc", "chance that a known image scores above an unknown one; 50 is chance"),
    "AUPR, known": ("aupr_known", "average precision with known images positive"),
    "AUPR, unknown": ("aupr_unknown", "average precision with unknown images positive"),
    "FPR95, known": ("fpr95_known", "unknown images that pass where 95 % of known ones do"),
    "FPR95, unknown": ("fpr95_unknown", "known images that are rejected where 95 % of unknown ones are"),
    "OSCR": ("oscr", "correct classification of known images over the unknown ones that pass: the area"),
    "macro-F1": ("macro_f1", "over known classes and unknown, threshold at 95 % of known validation images"),
}


@dataclasses.dataclass(frozen=True)
class Scored:
    """What one method scores in one trial.

    Attributes:
        table: `{score: {kind of unknown: {metric: value}}}`.
        accuracy: on the known test images, among the known classes.
        named: share of the images with a reserved value whose most unknown part is the altered one; None where no
            part is altered, or the model has one part.
    """

    table: Mapping[str, Mapping[str, Mapping[str, float]]]
    accuracy: float
    named: float | None

    def value(self, score: str, metric: str, kind: str = ALL) -> float:
        """A metric of a score for one kind of unknown images, or the mean over all kinds."""
        kinds = self.table[score]
        return float(np.mean([kinds[name][metric] for name in (kinds if kind == ALL else [kind])]))


@dataclasses.dataclass(frozen=True)
class Read:
    """What a trained method says of the images of a trial.

    Attributes:
        logits: f32 [n,K] of the `validation` images, of the `known` test images and of each kind of unknown ones.
        openmax: fitted on training images.
        alpha: of `OpenMax.probabilities`.
    """

    logits: Mapping[str, np.ndarray]
    openmax: openmax.OpenMax
    alpha: int

    def scores(self, name: str) -> dict[str, np.ndarray]:
        """One score of being known of every image, f64 [n], by set; larger is more known."""
        return {images: known_scores(found, self.openmax, self.alpha)[name] for images, found in self.logits.items()}


def read(task: Openset, variables: Tree) -> Read:
    """Runs a trained method over the images of its trial; settings come from known images alone."""
    data, settings = task.data, task.config["evaluation"]
    fitted = spaced(data.train, settings["openmax_images"])
    still = dataclasses.replace(data.train, decode=data.validation.decode)  # unwarped, by the program of the others
    model = openmax.fit(logits_of(task, variables, still, fitted), data.train.labels[fitted], settings["tail"])
    sets = {"validation": data.validation, "known": data.known, **data.unknown}
    logits = {name: logits_of(task, variables, images) for name, images in sets.items()}
    return Read(logits, model, settings["alpha"])


def score(task: Openset, variables: Tree, read: Read) -> Scored:
    """Scores a trained method on the test images of its trial."""
    labels, unknown = task.data.known.labels, {kind: read.logits[kind] for kind in task.data.unknown}
    table = measure_all(read.logits, unknown, labels, read.openmax, read.alpha)
    right = read.logits["known"].argmax(1) == labels
    return Scored(table, float(right.mean()), named_share(task, variables))


def logits_of(task: Openset, variables: Tree, images: ImageSet, indices: np.ndarray | None = None) -> np.ndarray:
    """f32 [n,K] of every image of a set, or of those at `indices`."""
    batches = eval_batches(images, task.config["evaluation"]["batch_size"], indices)
    return predict(_logits(task, images.decode), variables, batches)


@functools.cache
def _logits(task: Openset, decode):
    """The function that `predict` compiles; sets of one renderer share it."""

    def apply(variables: Tree, batch: Batch) -> jax.Array:
        logits = task.outputs(variables, decode(batch, None)).logits
        assert logits is not None
        return logits

    return apply


def named_share(task: Openset, variables: Tree) -> float | None:
    """Of the images whose altered part can be seen, how many have it as the most unknown one."""
    data = task.data
    if data.altered is None or part_count(task, variables) < 2:
        return None
    held_out, altered = Sampled(task, variables, data.validation), Sampled(task, variables, data.unknown[RESERVED])
    places = true_parts(task, held_out)
    known, errors = (against(task, variables, each.images, each.indices) for each in (held_out, altered))
    found = places[most_unknown_part(errors, known)]
    true = data.altered[altered.indices]
    seen = altered.maps["visible"][np.arange(len(true)), true] > 0.5
    return float((found == true)[seen].mean())


def true_parts(task: Openset, held_out: Sampled[Openset]) -> np.ndarray:
    """int [K]: which true part each part of the model is; by its name, or by where it lies in images of a set."""
    names = task.data.part_names
    if named_parts(task.config["model"]):
        return np.arange(len(names))
    return part_of_each(held_out.maps["assignment"], held_out.maps["part_mask"], len(names))


def against(task: Openset, variables: Tree, images: ImageSet, indices: np.ndarray) -> np.ndarray:
    """f32 [n,K]: what each part of some images of a set speaks against the class they are taken for."""
    batches = eval_batches(images, task.config["evaluation"]["batch_size"], indices)
    return predict(_against(task, images.decode), variables, batches)


@functools.cache
def _against(task: Openset, decode):
    def apply(variables: Tree, batch: Batch) -> jax.Array:
        outputs = task.outputs(variables, decode(batch, None))
        assert outputs.contributions is not None and outputs.logits is not None
        taken = outputs.logits.argmax(-1)[:, None, None]
        return -jax.numpy.take_along_axis(outputs.contributions, taken, axis=2)[..., 0]

    return apply


Trials = Mapping[str, Sequence[Scored]]
"""What each method scores in each trial."""

Histories = Mapping[str, Sequence[Sequence[Mapping[str, object]]]]
"""By method, the log of each trial."""


def outcome(
    config: Mapping[str, Any],
    scored: Trials,
    first: Openset,
    evaluations: int,
    histories: Histories,
    fooled: tuple[Fooled, ...] = (),
) -> Outcome:
    """The numbers, the rows and the page of a run; `first` is a task of its first trial."""
    rows = result_rows(config, scored)
    return Outcome(
        results=flat(config["trials"], scored) | {"test/openness": _openness(first)},
        rows=rows,
        page=dataclasses.replace(_page(config, scored, rows, first), histories=histories, fooled=fooled),
        episodes={name: values(scored[method], score) for name, method, score in named_rows(config)},
        fingerprints={"train": first.data.train.fingerprint, "test": first.data.known.fingerprint},
        test_evaluations=evaluations,
        measure=MEASURE,
    )


def named_rows(config: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """(row of the results, the method that is trained for it, the score it goes by)."""
    own = config["methods"]
    return [(row, method, score) for method in config["compared"] for row, score in own[method]["scores"]]


def values(trials: Sequence[Scored], score: str, metric: str = "auroc", kind: str = ALL) -> np.ndarray:
    """f64 [T], a metric of a score in each trial."""
    return np.array([one.value(score, metric, kind) for one in trials])


def result_rows(config: Mapping[str, Any], scored: Trials) -> tuple[Result, ...]:
    """AUROC of each row over the trials; the last row's method is what the others are compared with."""
    named = named_rows(config)
    reference = values(scored[named[-1][1]], named[-1][2])
    rows = []
    for row, method, score in named:
        found, last = values(scored[method], score), row == named[-1][0]
        several = len(found) > 1
        fields: dict[str, Any] = {"seeds": tuple(found) if several else (), "reference": last}
        if several and not last:
            difference = mean_interval(reference - found, student=True)
            fields |= {"difference": difference.mean, "difference_interval": (difference.low, difference.high)}
        ends = mean_interval(found, student=True) if several else None
        interval = None if ends is None else (max(ends.low, 0.0), min(ends.high, 1.0))
        details = {"accuracy, known": f"{100 * np.mean([one.accuracy for one in scored[method]]):.1f} %"}
        rows.append(Result(row, float(found.mean()), interval, details=details, **fields))
    return tuple(rows)


def flat(numbers: Sequence[int], scored: Trials) -> dict[str, float]:
    """`{name: number}`: means over the trials, and every trial's AUROC under its own number."""
    made: dict[str, float] = {}
    for method, trials in scored.items():
        made[f"test/{method}/accuracy"] = float(np.mean([one.accuracy for one in trials]))
        if trials[0].named is not None:
            made[f"test/{method}/unknown_part_named"] = float(np.mean([one.named for one in trials]))
        for score, kinds in trials[0].table.items():
            for metric in METRICS:
                made[f"test/{method}/{score}/{metric}"] = float(values(trials, score, metric).mean())
                for kind in kinds if len(kinds) > 1 else ():
                    name = f"test/{method}/{score}/{kind.replace(' ', '_')}/{metric}"
                    made[name] = float(values(trials, score, metric, kind).mean())
            for trial, value in zip(numbers, values(trials, score), strict=True):
                made[f"trial{trial}/{method}/{score}/auroc"] = float(value)
    return made


def score_table(scored: Trials) -> Discovery:
    """Every score of every trained method by every metric, means over the trials."""
    rows = tuple(
        Score(f"{method}: {score.replace('_', ' ')}", {c: _percent(trials, score, m) for c, (m, _) in COLUMNS.items()})
        for method, trials in scored.items()
        for score in trials[0].table
    )
    note = (
        "Every score that the logits of a trained method give, in per cent; means over the trials. OpenMax takes "
        "logits back towards 0, and so says little where all are below 0, as those of parts are."
    )
    return Discovery(rows, LOWER_IS_BETTER, {c: text for c, (_, text) in COLUMNS.items()}, note)


def kind_table(scored: Trials) -> Discovery | None:
    """AUROC by the kind of unknown images, and how often the unknown part is named; None where there is one kind."""
    kinds = list(next(iter(next(iter(scored.values()))[0].table.values())))
    if len(kinds) < 2:
        return None
    rows = []
    for method, trials in scored.items():
        for score in trials[0].table:
            cells = {kind: 100 * float(values(trials, score, "auroc", kind).mean()) for kind in kinds}
            if trials[0].named is not None:
                cells["part named"] = 100 * float(np.mean([one.named for one in trials]))
            rows.append(Score(f"{method}: {score.replace('_', ' ')}", cells))
    about = {"part named": "images with a reserved value whose most unknown part is the altered one, where it is seen"}
    note = "AUROC in per cent by what is unknown; means over the trials."
    return Discovery(tuple(rows), descriptions=about, note=note)


def _percent(trials: Sequence[Scored], score: str, metric: str) -> float:
    return 100 * float(values(trials, score, metric).mean())


def _openness(task: Openset) -> float:
    """Of kinds that are classes: an altered bird, or none at all, is of no class that could be counted."""
    classes, kinds = task.data.train.classes, task.data.unknown
    return openness(classes, classes + max(images.classes for kind, images in kinds.items() if kind in CLASSES))


def _page(config: Mapping[str, Any], scored: Trials, rows: tuple[Result, ...], first: Openset) -> OpensetPage:
    data = first.data
    return OpensetPage(
        title=f"Open-set recognition: {config['data']['name']}",
        conclusion=conclusion(rows),
        results=rows,
        facts={
            "known classes": data.train.classes,
            "training images": len(data.train),
            "test images": f"{len(data.known)} known, {sum(map(len, data.unknown.values()))} unknown",
            "trials": len(config["trials"]),
            "openness": _openness(first),
        },
        measure=MEASURE,
        chance=0.5,
        results_note=(
            "Intervals are over the trials (Student's t). Of several kinds of unknown images the AUROC is the mean "
            "over the kinds. Which row is highest in the table says how these test images came out, and chose nothing."
        ),
        scores=score_table(scored),
        kinds=kind_table(scored),
        part_names=data.part_names if named_parts(config["methods"][named_rows(config)[-1][1]]["model"]) else (),
    )


def conclusion(rows: Sequence[Result]) -> str:
    """One sentence on the compared row, which was named before any was scored, and the one that came out highest.

    >>> conclusion([Result("softmax", 0.97), Result("parts", 0.991, reference=True)])
    'Known images score above unknown ones in 99.1 % of pairs by parts, the compared method, highest in this table.'
    >>> conclusion([Result("arpl", 0.992), Result("parts", 0.979, reference=True)]).partition("; ")[2]
    'highest in this table: arpl, 99.2 %.'
    """
    compared, best = next(row for row in rows if row.reference), max(rows, key=lambda row: row.value)
    said = f"Known images score above unknown ones in {100 * compared.value:.1f} % of pairs by {compared.name}"
    if len(rows) == 1:
        return f"{said}."
    if best.value == compared.value:
        return f"{said}, the compared method, highest in this table."
    return f"{said}, the compared method; highest in this table: {best.name}, {100 * best.value:.1f} %."
