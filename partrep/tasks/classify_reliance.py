"""On which parts the decisions of an additive classifier rest, and how it decides with one part switched off.

A part is off where what it contributes is its mean over the validation images. That takes away all that it says of an
image and nothing else: a number moved between a part and the bias changes nothing, as it would where the contribution
were left out, and no image is changed. Neither the ranking nor the mean reads a label.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping

import jax
import numpy as np

from partrep.data.imageset import Batch, ImageSet
from partrep.evaluate.discovery import cell_shares
from partrep.evaluate.predict import predict
from partrep.explain.contributions import level
from partrep.metrics.intervals import bootstrap_interval
from partrep.metrics.reliance import reliance
from partrep.metrics.sufficiency import accuracy_without_part
from partrep.report.cards import part_label
from partrep.report.content import Discovery, Score
from partrep.tasks.batches import eval_batches
from partrep.tasks.classify import Classify, correct
from partrep.tasks.maps import MOST_SHARED
from partrep.tasks.outcome import with_interval
from partrep.train.state import Tree

TEST = "test"
VALIDATION = "validation"
OFF = "accuracy without it"
OUTSIDE = "outside the bird"


@dataclasses.dataclass(frozen=True)
class Answers:
    """What a classifier answers to the images of one set.

    Attributes:
        logits: f32 [n,C].
        contributions: f32 [n,K,C], what the parts add to them.
        labels: i32 [n].
    """

    logits: np.ndarray
    contributions: np.ndarray
    labels: np.ndarray

    @property
    def right(self) -> np.ndarray:
        """bool [n]: whether each image is classified right."""
        return self.logits.argmax(1) == self.labels

    @property
    def bias(self) -> np.ndarray:
        """f64 [C]: what no part adds, the same for every image but for rounding."""
        return (self.logits - self.contributions.sum(1, dtype=np.float64)).mean(0)


def answers(task: Classify, variables: Tree, images: ImageSet) -> Answers:
    """The logits of every image of a set and what the parts add to them, from one pass."""
    batches = eval_batches(images, task.config["evaluation"]["batch_size"])
    logits, contributions = predict(_answers(task, images.decode), variables, batches)
    return Answers(logits, contributions, images.labels)


@functools.cache
def _answers(task: Classify, decode):
    """The function that `predict` compiles; sets of one renderer share it."""

    def apply(variables: Tree, batch: Batch) -> tuple[jax.Array, jax.Array]:
        outputs = task.outputs(variables, decode(batch, None))
        assert outputs.logits is not None and outputs.contributions is not None
        return outputs.logits, outputs.contributions

    return apply


@dataclasses.dataclass(frozen=True)
class Reliance:
    """How much the decisions rest on each part, and what becomes of them without it.

    Attributes:
        shares: f64 [K], see `partrep.metrics.reliance`, over the validation images.
        off: `{set: accuracy f64 [K]}` with each part switched off; "validation" among the sets.
        first: the part of the greatest share.
        right: `{set: bool [n]}`, whether each image is classified right with the first part off.
        labels: `{set: i32 [n]}`, of the images.
        accuracy: of all parts on the validation images.
    """

    shares: np.ndarray
    off: Mapping[str, np.ndarray]
    first: int
    right: Mapping[str, np.ndarray]
    labels: Mapping[str, np.ndarray]
    accuracy: float

    @property
    def tested(self) -> dict[str, np.ndarray]:
        """`right` of the test sets alone."""
        return {name: right for name, right in self.right.items() if name != VALIDATION}


def decide(task: Classify, variables: Tree, parts: int) -> tuple[dict[str, np.ndarray], Reliance | None]:
    """Which images of each test set are classified right, bool [n]; of an additive model of shared parts, its reliance.

    Both come from one pass over each set. `parts` is how many the model has.
    """
    sets = {TEST: task.data.test, **task.data.shifted}
    if not level(task.model) or not 1 < parts <= MOST_SHARED:
        return {name: correct(task, variables, images) for name, images in sets.items()}, None
    said = {name: answers(task, variables, images) for name, images in sets.items()}
    found = measure_reliance(answers(task, variables, task.data.validation), said)
    return {name: each.right for name, each in said.items()}, found


def measure_reliance(validation: Answers, others: Mapping[str, Answers]) -> Reliance:
    """Ranks the parts by the validation images, and switches off each in all sets."""
    shares = reliance(validation.contributions, validation.bias)
    mean = validation.contributions.mean(0, dtype=np.float64)
    bias = validation.bias + mean.sum(0)  # with what moves no decision taken out of every part and given to the bias
    first, off, right = int(shares.argmax()), {}, {}
    sets = {VALIDATION: validation, **others}
    for name, each in sets.items():
        moving = each.contributions - mean
        off[name] = accuracy_without_part(moving, bias, each.labels)
        right[name] = (bias + np.delete(moving, first, axis=1).sum(1)).argmax(1) == each.labels
    labels = {name: each.labels for name, each in sets.items()}
    return Reliance(shares, off, first, right, labels, float(validation.right.mean()))


def flat_reliance(found: Reliance) -> dict[str, float]:
    """`{name: number}` such as `parts/3/off/conflicting/accuracy`, parts counted from 0; intervals over classes."""
    made: dict[str, float] = {}
    for k, share in enumerate(found.shares):
        made[f"parts/{k}/reliance"] = float(share)
        made |= {f"parts/{k}/off/{name}/accuracy": float(values[k]) for name, values in found.off.items()}
    made["parts/first"] = found.first
    for name, right in found.right.items():
        made |= with_interval(f"parts/first_off/{name}/accuracy", bootstrap_interval(right, found.labels[name]))
    return made


def outside_share(assignment: np.ndarray, part_mask: np.ndarray) -> np.ndarray:
    """Of what each part covers, the share outside of the object: [n,K,h,w], int [n,H,W] -> f64 [K]; 0 for no mass.

    >>> outside_share(np.array([[[[3.0, 1.0]], [[0.0, 1.0]]]]), np.array([[[0, 1], [0, 2]]])).tolist()
    [0.75, 0.0]
    """
    cells = cell_shares(part_mask == 0, *assignment.shape[2:])
    covered = np.einsum("nkhw,nhw->k", assignment.astype(np.float64), cells)
    return covered / np.maximum(assignment.sum((0, 2, 3), dtype=np.float64), 1e-12)


def reliance_table(found: Reliance, outside: np.ndarray | None, names: tuple[str, ...] = ()) -> Discovery:
    """The parts ranked by reliance as the report shows them, beside the share of each outside of the bird [K].

    `names` are those of the parts, where they have some beside their numbers.
    """
    rows = []
    for k in np.argsort(-found.shares, kind="stable"):
        values = {"reliance": found.shares[k], OFF: found.off[VALIDATION][k]}
        if outside is not None:
            values[OUTSIDE] = outside[k]
        rows.append(Score(part_label(int(k), names), {name: float(value) for name, value in values.items()}))
    descriptions = {
        "reliance": "share of the covariance of what parts add to the logits with the decisions; below 0: against them",
        OFF: f"share of the validation images recognised with the part off; {found.accuracy:.3f} with all parts",
    }
    if outside is not None:
        descriptions[OUTSIDE] = "share of what the part covers, by the true masks, which the ranking does not read"
    note = (
        "Ranked on the validation images, without any label. A part is off where what it adds to the logits is its "
        "mean over these images."
    )
    directionless = frozenset(descriptions)
    return Discovery(tuple(rows), descriptions=descriptions, note=note, directionless=directionless, rows_are="Part")
