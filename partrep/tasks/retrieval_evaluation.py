"""What a retrieval run is scored on: things of novel classes that are found again, by several ways to search."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from partrep.data.imageset import ImageSet
from partrep.metrics.retrieval import retrieval_values
from partrep.report.content import MetricPage, Result
from partrep.search import ranking
from partrep.search.multiscale import combined_scales
from partrep.search.ranking import Ranking, Searched
from partrep.search.whitening import Whitening, learned_whitening, pca_whitening
from partrep.tasks.batches import spaced
from partrep.tasks.metric import RANKS
from partrep.tasks.metric_evaluation import CHANCE, MEASURE, UNTRAINED, Values, flat, of_groups, result_rows
from partrep.tasks.outcome import Outcome, compared, slug
from partrep.tasks.retrieval import Retrieval, described, descriptor, regions_of
from partrep.tasks.retrieval_pictures import Drawn, drawn
from partrep.train import sharding
from partrep.train.stages import init_key
from partrep.train.state import Tree

SOUGHT = {"individuals": "bird", "alphabets": "character", "photos": "class"}
DESCRIPTOR, CLASS = "descriptor", "class alone"
PAIRS = 10_000
"""Matching pairs that the whitening is learned from, at most."""

Settings = Mapping[str, Any]


def grid(**values: Sequence[Any]) -> tuple[Settings, ...]:
    """Every combination of the values.

    >>> grid(n=(1, 2), alpha=(3.0,))
    ({'n': 1, 'alpha': 3.0}, {'n': 2, 'alpha': 3.0})
    """
    return tuple(dict(zip(values, chosen)) for chosen in itertools.product(*values.values()))


WAYS: dict[str, tuple[Callable[..., Ranking], tuple[Settings, ...]]] = {
    "average expansion": (ranking.by_average_expansion, grid(n=(1, 2, 4))),
    "alpha expansion": (ranking.by_alpha_expansion, grid(n=(3, 10), alpha=(1.0, 3.0, 9.0))),
    "diffusion": (ranking.by_diffusion, grid(n=(1, 3), k=(5, 20), alpha=(0.5, 0.9))),
}
"""Ways to search the same descriptors, and the settings that are tried on validation images."""

WHITENINGS: dict[str, tuple[Settings, ...]] = {
    "PCA whitening": grid(power=(0.25, 0.5)),
    "learned whitening": grid(ridge=(1e-6, 1e-2)),
}
"""Whitenings of the descriptors of training images, and the settings that are tried on validation images."""

RESULTS_NOTE = (
    "Every image asked about looks for the others of the same thing among all images of the novel classes, itself "
    "excluded. MAP@R is the mean of precision at the ranks of hits among the first R, where R is how many others there "
    "are; R@k is whether any of the first k is one. Whitenings are fitted on images of the training classes; settings "
    "in brackets were chosen on validation images from a few, by MAP@R. Intervals are over {groups} (bootstrap)."
)


LEVEL = (
    "Level 1: beside each region is what it adds to the similarity of the two images together with the same region of "
    "the other; below, what pairs of different regions add, the query's first. All of them sum to the similarity "
    "exactly. The regions show where a vector was read; a feature there also saw its surroundings."
)


@dataclasses.dataclass(frozen=True)
class Found:
    """What a way to search found: the metrics of every query, and a few words on it."""

    values: Values
    note: str


def evaluate(task: Retrieval, variables: Tree, count: Callable[[int], int]) -> Outcome:
    """Scores a trained descriptor on the novel classes and gathers what the report shows.

    `count` is told of the ways to search that are about to see the novel classes, and returns how many ever did.
    """
    images, validation = task.data.novel, task.data.validation
    assert images is not None and validation is not None
    chosen = Chosen.of(task, variables, validation)
    evaluations = count(len(chosen.ways) + len(chosen.whitenings) + 4)
    kept = regions_of(task, variables, images)
    descriptors = descriptor(kept)
    found = dict(searched_by_all(task, variables, images, descriptors, chosen))
    groups, values = groups_of(images), {name: one.values for name, one in found.items()}
    rows = result_rows(groups, values, {name: one.note for name, one in found.items()})
    return Outcome(
        results={**flat(groups, values), **chosen.scores},
        rows=rows,
        page=_page(task, rows, drawn(task, variables, images, kept)),
        episodes=of_groups(groups, values),
        fingerprints={"train": task.data.train.fingerprint, "novel": images.fingerprint},
        test_evaluations=evaluations,
        measure=MEASURE,
    )


@dataclasses.dataclass(frozen=True)
class Chosen:
    """What was fitted on training images and chosen on validation images.

    Attributes:
        ways: settings of each of `WAYS`.
        whitenings: the chosen one of each of `WHITENINGS`, and its settings.
        mean: f64 [E], of the descriptors of training images.
        scores: `{name: number}`, the MAP@R on validation images that each was chosen with.
    """

    ways: Mapping[str, Settings]
    whitenings: Mapping[str, tuple[Whitening, Settings]]
    mean: np.ndarray
    scores: Mapping[str, float]

    @classmethod
    def of(cls, task: Retrieval, variables: Tree, validation: ImageSet) -> Chosen:
        """Fits on images of the training classes and tries every setting on the validation classes."""
        chosen = fitting_images(task.data.held_out, task.config["evaluation"]["fitting"])
        training = described(task, variables, task.data.held_out, indices=chosen)
        pairs = matching_pairs(task.data.held_out.labels[chosen], PAIRS, task.config["seed"])
        searched = Searched(described(task, variables, validation))

        def score(made: Ranking) -> float:
            return float(scored(task, validation, made)["map@r"].mean())

        scores = {f"validation/{DESCRIPTOR}/map@r": score(ranking.by_cosine(searched))}
        ways, whitenings = {}, {}
        for name, (way, settings) in WAYS.items():
            tried = [score(way(searched, **one)) for one in settings]
            ways[name] = settings[int(np.argmax(tried))]
            scores[f"validation/{slug(name)}/map@r"] = max(tried)
        for name, settings in WHITENINGS.items():
            made = [fitted(name, training, pairs, one) for one in settings]
            tried = [score(ranking.by_cosine(Searched(one(searched.database)))) for one in made]
            best = int(np.argmax(tried))
            whitenings[name] = made[best], settings[best]
            scores[f"validation/{slug(name)}/map@r"] = max(tried)
        return cls(ways, whitenings, training.mean(0), scores)


def fitted(name: str, training: np.ndarray, pairs: np.ndarray, settings: Settings) -> Whitening:
    """One of `WHITENINGS`, of training descriptors [n,E] and rows of matching pairs [m,2] of them."""
    if name == "PCA whitening":
        return pca_whitening(training, **settings)
    return learned_whitening(training, pairs, **settings)


def fitting_images(images: ImageSet, most: int) -> np.ndarray:
    """Rows of about `most` images: all those of evenly spaced labels."""
    names = np.unique(images.labels)
    share = min(1.0, most / len(images))
    kept = names[np.unique(np.linspace(0, len(names) - 1, max(2, round(share * len(names)))).astype(int))]
    return np.flatnonzero(np.isin(images.labels, kept))


def matching_pairs(labels: np.ndarray, most: int, seed: int) -> np.ndarray:
    """Rows int [m,2] of two different images of one label: all such pairs, or `most` drawn of them.

    >>> matching_pairs(np.array([0, 1, 0, 1, 1]), most=9, seed=0).tolist()
    [[0, 2], [1, 3], [1, 4], [3, 4]]
    """
    pairs = np.argwhere(np.triu(labels[:, None] == labels, 1))
    if len(pairs) <= most:
        return pairs
    return pairs[np.sort(np.random.default_rng(seed).permutation(len(pairs))[:most])]


def searched_by_all(
    task: Retrieval, variables: Tree, images: ImageSet, descriptors: np.ndarray, chosen: Chosen
) -> Iterator[tuple[str, Found]]:
    """(name of the row, what it found), the trained descriptor first."""
    bits = f"signs of its {descriptors.shape[1]} entries, by Hamming distance"

    def found(made: Ranking, note: str, settings: Settings | None = None) -> Found:
        words = ", ".join(f"{name} {value:g}" for name, value in (settings or {}).items())
        return Found(scored(task, images, made), f"{note} ({words})" if words else note)

    searched = Searched(descriptors)
    yield DESCRIPTOR, found(ranking.by_cosine(searched), METHODS[task.config["model"]["method"]["name"]])
    scales = task.config["evaluation"]["scales"]
    if len(scales) > 1:
        several = combined_scales([descriptors, *(described(task, variables, images, scale) for scale in scales[1:])])
        words = ", ".join(f"{scale:.2g}" for scale in scales)
        yield f"{len(scales)} scales", found(ranking.by_cosine(Searched(several)), f"mean at {words} of the size")
    for name, (whiten, settings) in chosen.whitenings.items():
        yield name, found(ranking.by_cosine(Searched(whiten(descriptors))), NOTES[name], settings)
    for name, settings in chosen.ways.items():
        yield name, found(WAYS[name][0](searched, **settings), NOTES[name], settings)
    yield "binary codes", found(ranking.by_bits(searched, chosen.mean), bits)
    if (groups := images.groups) is not None and task.config["data"]["name"] == "individuals":
        yield CLASS, found(lambda rows: (groups[rows][:, None] == groups).astype(np.float32), NOTES[CLASS])
    untrained = described(task, sharding.init_replicated(task.init, init_key(task.config["seed"])), images)
    yield UNTRAINED, found(ranking.by_cosine(Searched(untrained)), NOTES[UNTRAINED])
    yield CHANCE, found(lambda rows: np.zeros((len(rows), len(images)), np.float32), NOTES[CHANCE])


METHODS = {
    "gap": "mean of the features, whitened in the network",
    "gem": "generalised mean of the features, whitened in the network",
    "rmac": "sum over a fixed grid of regions, each whitened in the network",
    "slots": "sum over learned regions, each whitened in the network",
    "landmarks": "sum over learned regions, each whitened in the network",
}
NOTES = {
    "PCA whitening": "principal components of training descriptors",
    "learned whitening": "from matching pairs of training images",
    "average expansion": "the query averaged with what it finds first",
    "alpha expansion": "the same, weighted by similarity",
    "diffusion": "re-ranked along the graph of mutual neighbours",
    CLASS: "an oracle that knows the class of each bird and nothing else",
    UNTRAINED: "the same network before the first step",
    CHANCE: "the expectation where all images are alike",
}


def scored(task: Retrieval, images: ImageSet, made: Ranking) -> Values:
    """The metrics of the queries of a set: all images, or `evaluation.queries` evenly spaced ones."""
    asked = np.zeros(len(images), bool)
    asked[spaced(images, task.config["evaluation"]["queries"] or len(images))] = True
    return retrieval_values(made, images.labels, queries=asked, k=RANKS)


def groups_of(images: ImageSet) -> np.ndarray:
    """What intervals are over: the classes of individuals, the alphabets of characters, else what is looked for."""
    return images.labels if images.groups is None else images.groups


def _page(task: Retrieval, rows: tuple[Result, ...], found: Drawn) -> MetricPage:
    images = task.data.novel
    assert images is not None
    return MetricPage(
        title=f"The same thing elsewhere: {task.config['data']['name']}",
        conclusion=conclusion(rows),
        results=rows,
        facts={
            "things to find": images.classes,
            "images": len(images),
            "trained on": f"{task.data.train.classes} others",
            "loss": task.config["loss"]["name"],
        },
        measure=MEASURE,
        chance=rows[-1].value,
        results_note=RESULTS_NOTE.format(groups="the things" if images.groups is None else "their classes"),
        matches=found.matches,
        failures=found.failures,
        gallery=found.gallery,
        level=LEVEL if found.gallery else "",
        heading="retrieval report",
        sought=SOUGHT[task.config["data"]["name"]],
    )


def conclusion(rows: tuple[Result, ...]) -> str:
    """One sentence on the trained descriptor, beside the best way to search it."""
    main, *others = rows
    best = max((row for row in others if row.name not in (UNTRAINED, CHANCE, CLASS)), key=lambda row: row.value)
    assert best.difference_interval is not None
    first = main.further["R@1"][0]
    return (
        f"By one descriptor an image ({main.note}), {100 * first:.1f} % of the queries find the same thing first; "
        f"MAP@R is {100 * main.value:.1f}. The best further step, {best.name}, has {100 * best.value:.1f}: the plain "
        f"descriptor is {compared(best.difference_interval)} it."
    )
