"""What a metric learning run is scored on: images of novel classes that look for their like, by several comparisons."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from partrep.data.imageset import ImageSet
from partrep.discovery.kmeans import fit_kmeans
from partrep.metrics.clustering import contingency_table, nmi
from partrep.metrics.intervals import Interval, bootstrap_interval
from partrep.metrics.retrieval import retrieval_values
from partrep.models.comparisons import COMPARISONS, Kept
from partrep.report.content import MetricPage, PartGallery, Result
from partrep.tasks.maps import Sampled, discovery_page, discovery_scores, flat_discovery, part_count
from partrep.tasks.metric import RANKS, Metric, block_function, kept_of
from partrep.tasks.metric_pictures import pictures
from partrep.tasks.outcome import Outcome, compared, slug, with_interval
from partrep.train import sharding
from partrep.train.stages import init_key
from partrep.train.state import Tree

MEASURE = "MAP@R"
RECALLS = {f"R@{rank}": f"recall@{rank}" for rank in RANKS}
"""Further columns of the results, and the metrics that they show."""
UNTRAINED, CHANCE = "untrained model", "any order"
NOTES = {
    UNTRAINED: "the same network and comparison before the first step",
    CHANCE: "the expectation where all images are alike",
    **{name.replace("_", " "): comparison.about for name, comparison in COMPARISONS.items()},
}
LEVEL = (
    "Level 1: the numbers beside the parts are what each part adds to the similarity of the two images, and they sum "
    "to it exactly. The regions show where a part was read; a feature there also saw its surroundings."
)
RESULTS_NOTE = (
    "Every image of the novel classes looks for the others of its class among all of them, itself excluded. MAP@R is "
    "the mean of precision at the ranks of hits among the first R, where R is how many others its class has; R@k is "
    "whether any of the first k is of its class. Intervals are over classes (bootstrap)."
)


FEW = 12
"""Parts that meet all parts of all images; with more it takes minutes, and such are cells of a grid as a rule."""


def comparisons(task: Metric, parts: int) -> tuple[str, ...]:
    """The trained comparison first, then the others of the same network that differ from it."""
    trained = task.config["comparison"]
    others = COMPARISONS if parts > 1 else ("embedding", "pooled")
    left_out = {trained, "best_match", *(("reciprocal",) if parts > FEW else ())}
    return (trained, *(name for name in others if name not in left_out))


Values = Mapping[str, np.ndarray]
"""Each metric of every query that has something to find, and `query`, which these are."""


def evaluate(task: Metric, variables: Tree, count: Callable[[int], int]) -> Outcome:
    """Scores a trained model on the novel classes and gathers what the report shows.

    `count` is told of the comparisons that are about to see the novel classes, and returns how many ever did.
    """
    images = task.data.novel
    assert images is not None
    parts = part_count(task, variables)
    names = comparisons(task, parts)
    evaluations = count(len(names) + 2)
    kept = kept_of(task, variables, images, names)
    untrained = sharding.init_replicated(task.init, init_key(task.config["seed"]))
    before = kept_of(task, untrained, images, names[:1])
    values = {name.replace("_", " "): scored(images, name, kept[name]) for name in names}
    values[UNTRAINED] = scored(images, names[0], before[names[0]])
    values[CHANCE] = retrieval_values(lambda rows: np.zeros((len(rows), len(images))), images.labels, k=RANKS)
    rows = result_rows(images.labels, values, NOTES)
    clusters = cluster_nmi(task, images, names[0], kept[names[0]])
    sampled = Sampled(task, variables, images)
    known = images.truth is not None and parts > 1
    discovery = discovery_scores(Sampled(task, variables, task.data.held_out), sampled) if known else {}
    return Outcome(
        results=flat(images.labels, values) | {"novel/nmi": clusters} | flat_discovery(discovery),
        rows=rows,
        page=_page(task, rows, sampled, names[0], kept[names[0]], discovery, clusters),
        episodes=of_groups(images.labels, values),
        fingerprints={"train": task.data.train.fingerprint, "novel": images.fingerprint},
        test_evaluations=evaluations,
        measure=MEASURE,
    )


def scored(images: ImageSet, name: str, kept: Kept) -> Values:
    """The metrics of every query of a set by one comparison."""
    return retrieval_values(block_function(COMPARISONS[name], kept), images.labels, k=RANKS)


def by_group(groups: np.ndarray, values: Values) -> dict[str, np.ndarray]:
    """The mean of each metric over the queries of each group, f64 [G]; `groups` int [N], of all images."""
    labels = np.unique(groups[values["query"]], return_inverse=True)[1]
    count = np.bincount(labels)
    metrics = {name: value for name, value in values.items() if name not in ("query", "relevant")}
    return {name: np.bincount(labels, value) / count for name, value in metrics.items()}


def of_groups(groups: np.ndarray, values: Mapping[str, Values]) -> dict[str, np.ndarray]:
    """MAP@R and the recalls of each group under the names of the rows and of their further settings, f64 [G]."""
    made: dict[str, np.ndarray] = {}
    for name, found in values.items():
        means = by_group(groups, found)
        made[name] = means["map@r"]
        made |= {Result.further_name(name, heading): means[metric] for heading, metric in RECALLS.items()}
    return made


def interval(groups: np.ndarray, values: Values, metric: str, other: Values | None = None) -> Interval:
    """The mean of a metric over queries, or of its difference to another's, with its interval over groups of images."""
    measured = values[metric] if other is None else values[metric] - other[metric]
    return bootstrap_interval(measured, groups[values["query"]])


def result_rows(groups: np.ndarray, values: Mapping[str, Values], notes: Mapping[str, str]) -> tuple[Result, ...]:
    """One row a comparison; the others carry the paired difference of the first to them."""
    main = next(iter(values))
    rows = []
    for name, found in values.items():
        other = None if name == main else found
        rows.append(
            Result.measured(
                name,
                interval(groups, found, "map@r"),
                None if other is None else interval(groups, values[main], "map@r", other),
                note=notes[name],
                reference=name == main,
                further={heading: interval(groups, found, metric) for heading, metric in RECALLS.items()},
                further_differences={
                    heading: interval(groups, values[main], metric, other)
                    for heading, metric in RECALLS.items()
                    if other is not None
                },
            )
        )
    return tuple(rows)


def cluster_nmi(task: Metric, images: ImageSet, name: str, kept: Kept) -> float:
    """NMI of the classes with as many clusters of one vector an image (k-means)."""
    vectors = np.asarray(COMPARISONS[name].vector(kept), np.float32)
    vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-6)
    centres = fit_kmeans(vectors, images.classes, task.config["seed"])
    nearest = (vectors @ centres.T - (centres**2).sum(1) / 2).argmax(1)
    return float(nmi(contingency_table(images.labels, nearest, (images.classes, images.classes))))


def flat(groups: np.ndarray, values: Mapping[str, Values]) -> dict[str, float]:
    """`{name: number}` of every comparison."""
    made: dict[str, float] = {}
    main = next(iter(values))
    for name, found in values.items():
        made |= with_interval(f"novel/{slug(name)}/map@r", interval(groups, found, "map@r"))
        for metric in ("r_precision", *(f"recall@{rank}" for rank in RANKS)):
            made[f"novel/{slug(name)}/{metric}"] = float(found[metric].mean())
        if name != main:
            difference = interval(groups, values[main], "map@r", found)
            made |= with_interval(f"novel/{slug(main)}_minus_{slug(name)}", difference)
    return made


def _page(
    task: Metric,
    rows: tuple[Result, ...],
    sampled: Sampled[Metric],
    name: str,
    kept: Kept,
    discovery: Mapping[str, Mapping[str, float]],
    clusters: float,
) -> MetricPage:
    images = sampled.images
    page = MetricPage(
        title=f"Images that find their like: {task.config['data']['name']}",
        conclusion=conclusion(rows),
        results=rows,
        facts={
            "novel classes": images.classes,
            "novel images": len(images),
            "trained classes": task.data.train.classes,
            "loss": task.config["loss"]["name"],
            "NMI of clusters": f"{clusters:.2f}",
        },
        measure=MEASURE,
        chance=rows[-1].value,
        results_note=RESULTS_NOTE,
        discovery=discovery_page(discovery),
    )
    if COMPARISONS[name].shares is None:
        return page
    right, wrong = pictures(sampled, COMPARISONS[name], kept, task.config["evaluation"]["pictures"])
    maps: Any = sampled.maps
    gallery = PartGallery(maps["image"], maps["assignment"], maps["presence"], maps["label"])
    return dataclasses.replace(page, matches=right, failures=wrong, gallery=gallery, level=LEVEL)


def conclusion(rows: tuple[Result, ...]) -> str:
    """One sentence on the trained comparison, beside the best other one of the same network."""
    main, *others = rows
    best = max((row for row in others if row.name not in (UNTRAINED, CHANCE)), key=lambda row: row.value)
    assert best.difference_interval is not None
    verdict, first = compared(best.difference_interval), main.further["R@1"][0]
    return (
        f"Compared by {main.name} ({main.note}), {100 * first:.1f} % of the images of new classes find one of "
        f"their class first; MAP@R is {100 * main.value:.1f}, {verdict} {best.name} ({100 * best.value:.1f}) of the "
        "same network."
    )
