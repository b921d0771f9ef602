"""What a classification run is scored on: accuracy, the audit of its explanations, part discovery; and its page."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from partrep.explain import bound
from partrep.explain.auditing import AGREE, DIRECTIONLESS, LOWER_IS_BETTER, SCORES, Audit, score
from partrep.explain.contributions import level
from partrep.explain.credit import BASELINES
from partrep.explain.effects import measure
from partrep.metrics.intervals import Interval, bootstrap_interval
from partrep.report.comparison import WHOLE
from partrep.report.content import ClassifyPage, Discovery, PartGallery, Result, Score
from partrep.tasks.classify import Classify
from partrep.tasks.classify_codes import code_scores
from partrep.tasks.classify_isolated import isolation_scores
from partrep.tasks.classify_keypoints import keypoint_page, keypoint_scores
from partrep.tasks.classify_localisation import localisation_page, localise
from partrep.tasks.classify_pictures import paintings, pictures
from partrep.tasks.classify_reliance import (
    TEST,
    decide,
    flat_reliance,
    outside_share,
    reliance_table,
)
from partrep.tasks.maps import MOST_SHARED, Sampled, discovery_page, discovery_scores, flat_discovery, part_count
from partrep.tasks.outcome import Outcome, slug, with_interval
from partrep.train import sharding
from partrep.train.stages import init_key
from partrep.train.state import Tree

FIRST_OFF = "first part off"
NOTES = {FIRST_OFF: "without the part that decisions rest on most, which is found without labels"}
OWN = ("centred contributions", "location contributions", "contributions")
"""What a model says of itself, the finest first."""

AUDITED = "audit: "
"""Begins the names under which the correctness of explanations on each audited image is kept."""
LEVELS = (
    "None: the classifier is not a sum over parts.",
    "Level 1: what each part adds to the logit is exact, and with the bias sums to it. The regions show where a part "
    "was read; a feature there also saw its surroundings.",
    "Level 2: with the assignment of locations to parts as it is, what each location adds to the logit is exact. A "
    "feature there also saw its surroundings, and the assignment itself may change with the image.",
    "Level 3: what each part adds reads only the pixels shown for it: with the masks as they are, changing every "
    "other pixel leaves it bit for bit the same. How the masks were chosen may still tell something: see the leak.",
)
OF_THE_MODEL = {
    "agreement": "swap, remove and hide agree (rank correlation)",
    "interaction": "share of the effect that no sum over parts explains",
    "part_effect": "mean effect of another part value on the logit",
    "recolour_effect": "mean effect of one other colour of a part",
    "background_effect": "mean effect of another habitat",
    "ring_effect": "mean effect of the ring on the leg",
    "ceiling": "rank correlation with another bird of the class",
}


def evaluate(task: Classify, variables: Tree, count: Callable[[int], int]) -> Outcome:
    """Scores a trained model on the test images and gathers what the report shows.

    `count` is told of the evaluations of test images that are about to begin, and returns how many ever did.
    """
    data, settings = task.data, task.config["evaluation"]
    audits = data.world is not None and settings["audit_images"] > 0
    evaluations = count(1 + len(data.shifted) + audits)
    parts = part_count(task, variables)
    right, relied = decide(task, variables, parts)
    found = audit_model(task, variables) if audits else None
    held_out, test = (Sampled(task, variables, images) for images in (data.validation, data.test))
    shared = 1 < parts <= MOST_SHARED and data.test.truth is not None
    discovery = discovery_scores(held_out, test) if shared else {}
    keypoints = keypoint_scores(test) if 1 < parts <= MOST_SHARED else {}
    located = localise(task, variables, held_out, test)
    isolated = isolation_scores(task, variables) if task.model.readout is not None else {}
    codes = code_scores(task, variables) if data.world is not None and settings["codes"] else {}
    answered = {WHOLE: right}
    if relied is not None and data.shifted:
        answered[FIRST_OFF] = relied.tested
    rows = result_rows(answered, data.test.labels)
    page = _page(task, rows, found, discovery, part_names(task.config["model"]["method"], parts))
    if relied is not None:
        page = dataclasses.replace(page, reliance=reliance_table(relied, _outside(held_out), page.part_names))
    if keypoints:
        page = dataclasses.replace(page, discovery=keypoint_page(keypoints))
    if located is not None:
        page = dataclasses.replace(page, localisation=localisation_page(located))
    if parts > 1:
        page = _with_pictures(task, variables, test, page)
    return Outcome(
        results=flat(task, variables, rows[0], found, discovery or keypoints)
        | {"test/mean_per_class_accuracy": float(by_class(right[TEST], data.test.labels).mean())}
        | ({} if relied is None else flat_reliance(relied))
        | ({} if located is None else located.flat())
        | isolated
        | codes,
        rows=rows,
        page=page,
        episodes=by_row(answered, data.test.labels)
        | ({} if found is None else {f"{AUDITED}{name}": values for name, values in found.correctness.items()}),
        fingerprints={"train": data.train.fingerprint, "test": data.test.fingerprint},
        test_evaluations=evaluations,
    )


def part_names(method: Mapping[str, Any], count: int) -> tuple[str, ...]:
    """The names of `count` parts, where one is not like the others: the border is the last; else none.

    >>> part_names({"name": "slots", "border": 1}, 3), part_names({"name": "gap"}, 1)
    (('part 1', 'part 2', 'border'), ())
    """
    return (*(f"part {k + 1}" for k in range(count - 1)), "border") if method.get("border") else ()


def _outside(sampled: Sampled) -> np.ndarray | None:
    """Of what each part covers, the share outside of the object; None where objects are not known."""
    if sampled.images.truth is None:
        return None
    return outside_share(sampled.maps["assignment"], sampled.maps["part_mask"])


def own_explanation(names: Sequence[str]) -> str:
    """The explanation by which a model stands: what its locations contribute, else its parts; "" where it has none."""
    return next((name for name in OWN if name in names), "")


def of_the_model(names: Sequence[str]) -> list[str]:
    """Of the audited names, the explanations of the trained model: no baseline, no oracle, nothing untrained.

    >>> of_the_model(["random", "oracle", "contributions", "untrained: contributions", "grad-cam"])
    ['contributions', 'grad-cam']
    """
    return [name for name in names if name not in (*BASELINES, "oracle") and not name.startswith("untrained")]


def post_hoc(names: Sequence[str]) -> list[str]:
    """Of the audited names, the explanations of the trained model after the fact: not its own contributions.

    Nor `hires-cam` where there are contributions of locations, which are the same map.

    >>> post_hoc(["location contributions", "hires-cam", "occlusion"]), post_hoc(["contributions", "hires-cam"])
    (['occlusion'], ['hires-cam'])
    """
    own = (*OWN, "hires-cam") if "location contributions" in names else OWN
    return [name for name in of_the_model(names) if name not in own]


def by_class(values: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """f64 [C]: the mean of each class, the units that comparisons pair."""
    return np.bincount(labels, values) / np.bincount(labels)


def result_rows(answered: Mapping[str, Mapping[str, np.ndarray]], labels: np.ndarray) -> tuple[Result, ...]:
    """The rows of the results: `answered` is `{row: {set: bool [n]}}`, which images of each test set are right.

    Accuracy on the test images with its interval by bootstrap over classes, that in other surroundings, and what the
    first row, the model, is above each other one.
    """
    return tuple(_result_row(name, answered, labels) for name in answered)


def _result_row(name: str, answered: Mapping[str, Mapping[str, np.ndarray]], labels: np.ndarray) -> Result:
    right = _measured(answered[name], labels)
    if name == WHOLE:
        return Result.measured(name, right.pop(TEST), reference=True, further=right)
    pairs = {key: (answered[WHOLE][key], values) for key, values in answered[name].items()}
    lost = _measured({key: model.astype(float) - values for key, (model, values) in pairs.items()}, labels)
    difference = lost.pop(TEST)
    return Result.measured(
        name, right.pop(TEST), difference, note=NOTES[name], further=right, further_differences=lost
    )


def _measured(values: Mapping[str, np.ndarray], labels: np.ndarray) -> dict[str, Interval]:
    return {name: bootstrap_interval(each, labels) for name, each in values.items()}


def by_row(answered: Mapping[str, Mapping[str, np.ndarray]], labels: np.ndarray) -> dict[str, np.ndarray]:
    """Accuracy of each class under the names of the rows and of their further settings, so that runs can be paired."""
    return {
        name if key == TEST else Result.further_name(name, key): by_class(values, labels)
        for name, sets in answered.items()
        for key, values in sets.items()
    }


def audit_model(task: Classify, variables: Tree) -> Audit:
    """The audit of every configured explanation, and of the model's own before training (a given backbone apart)."""
    data, settings = task.data, task.config["evaluation"]
    assert data.world is not None
    predict = bound.predictor(task.model, variables)
    size = task.config["data"]["size"]
    effects = measure(predict, data.world, data.group, settings["audit_images"], size)
    explain = bound.explanations(task.model, variables, tuple(settings["explanations"]))
    before = bound.explanations(task.model, sharding.init_replicated(task.init, init_key(task.config["seed"])), ())
    if own := own_explanation(list(before)):
        explain[f"untrained: {own}"] = before[own]
    return score(effects, explain, data.world.informative, task.config["seed"])


def flat(
    task: Classify,
    variables: Tree,
    row: Result,
    found: Audit | None,
    discovery: Mapping[str, Mapping[str, float]],
) -> dict[str, float]:
    """`{name: number}` of everything measured."""
    assert row.interval is not None
    made = with_interval("test/accuracy", Interval(row.value, *row.interval))
    for name, interval in row.further.items():
        made |= with_interval(f"test/{name}/accuracy", Interval(*interval))
    made["model/parameters"] = parameter_count(variables)
    made["model/level"] = level(task.model)
    if found is not None:
        made |= {f"model/{name}": value for name, value in found.model.items()} | {"model/valid": float(found.valid)}
        for name, scores in found.scores.items():
            for what, interval in scores.items():
                made |= with_interval(f"audit/{slug(name)}/{what}", interval)
    return made | flat_discovery(discovery)


def parameter_count(variables: Tree) -> int:
    """How many numbers are trained."""
    return sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))


def audit_table(found: Audit) -> Discovery:
    """The scores of the explanations as the report shows them."""
    names = [name for name in SCORES if any(name in scores for scores in found.scores.values())]
    rows = tuple(
        Score(
            name,
            {head: scores[head].mean for head in names if head in scores},
            {head: (scores[head].low, scores[head].high) for head in names if _has_width(scores.get(head))},
            reference="contributions" in name and not name.startswith("untrained"),
        )
        for name, scores in found.scores.items()
    )
    note = (
        "Birds are rendered again with one thing changed, and the logit of the predicted class is read: that is what "
        "it depends on. Scores are of the credit that an explanation of this same model gives to each true part."
    )
    if not found.valid:
        note += (
            " NOT VALID here: three ways of taking a part away order the parts alike by "
            f"{found.model['agreement']:.3f} only; expected {AGREE} at least."
        )
    if found.extrapolated:
        note += " Shapley values rest on birds that lack more parts than any training image: extrapolated."
    return Discovery(rows, LOWER_IS_BETTER, {name: SCORES[name] for name in names}, note, DIRECTIONLESS)


def _has_width(interval: Interval | None) -> bool:
    return interval is not None and interval.low < interval.high


def _page(
    task: Classify,
    rows: tuple[Result, ...],
    found: Audit | None,
    discovery: Mapping[str, Mapping[str, float]],
    names: tuple[str, ...],
) -> ClassifyPage:
    data = task.data
    reached = level(task.model)
    facts: dict[str, Any] = {
        "data": task.config["data"]["name"],
        "classes": data.train.classes,
        "training images": len(data.train),
        "test images": len(data.test),
        "level of explanation": reached or "none",
    }
    return ClassifyPage(
        title=f"Classification by {task.config['model']['method']['name']}: {task.config['data']['name']}",
        conclusion=conclusion(rows[0], found),
        results=rows,
        facts=facts,
        chance=1 / data.train.classes,
        results_note="The interval is by bootstrap over classes.",
        audit=audit_table(found) if found else None,
        model_facts={text: found.model[name] for name, text in OF_THE_MODEL.items()} if found else {},
        discovery=discovery_page(discovery, "the test set"),
        level=LEVELS[reached],
        part_names=names,
    )


def conclusion(row: Result, found: Audit | None) -> str:
    """One sentence on the accuracy, and one on how far the model's own explanation and others agree with the truth."""
    said = f"{100 * row.value:.1f} % of the test images are recognised"
    if found is None:
        return f"{said}."
    if not found.valid:
        return f"{said}; its explanations could not be scored."
    value = {name: scores["correctness"].mean for name, scores in found.scores.items()}
    own, best = own_explanation(list(value)), max(post_hoc(list(value)), key=value.__getitem__, default="")
    if not own:
        return f"{said}."
    others = f", the best of {len(post_hoc(list(value)))} after the fact, {best}, {value[best]:.2f}" if best else ""
    return (
        f"{said}. With what its logits really depend on, its own {own} agree by a rank correlation of {value[own]:.2f}"
        f"{others} (chance 0)."
    )


def _with_pictures(task: Classify, variables: Tree, test: Sampled, page: ClassifyPage) -> ClassifyPage:
    most = task.config["evaluation"]["pictures"]
    right, wrong = pictures(task, variables, most)
    maps = test.maps
    gallery = PartGallery(maps["image"], maps["assignment"], maps["presence"], maps["label"])
    painted = paintings(task, variables, most)
    return dataclasses.replace(page, predictions=right, failures=wrong, gallery=gallery, paintings=painted)
