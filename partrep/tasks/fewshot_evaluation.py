"""What a few-shot run is scored on: readers of one network, part discovery, and the episodes that are drawn."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from partrep.data.imageset import Batch, ImageSet
from partrep.discovery.kmeans import fit_kmeans
from partrep.evaluate.discovery import Found, PartTruth, baselines, ceiling, discovery_table
from partrep.evaluate.fewshot import (
    Episodes,
    coarsen,
    draw_episodes,
    episode_accuracy,
    nearest_neighbour,
    paired_difference,
    pixel_local,
)
from partrep.evaluate.predict import predict
from partrep.evaluate.readers import CHOICES, Reading, read
from partrep.models import local_views
from partrep.models.heads.match import matches
from partrep.models.local import Local
from partrep.report.content import Discovery, EpisodePicture, FewshotPage, PartGallery, Result, Score
from partrep.tasks.fewshot import (
    NOVEL_SEED,
    VALIDATION_SEED,
    Fewshot,
    View,
    eval_batches,
    locals_of,
    sampler,
)
from partrep.tasks.outcome import Outcome
from partrep.train.state import TrainState, Tree

RAW, UNTRAINED = "raw pixels", "untrained model"
PARTS, POOLED, DENSE, GRID, KMEANS = "parts", "global pooling", "dense locations", "fixed grid", "k-means parts"
NOTES = {
    RAW: "nearest neighbour of grey-levelled pixels",
    UNTRAINED: "the same network before its first step",
    PARTS: "same part meets same part",
    POOLED: "mean over all locations of the same network",
    DENSE: "every location of the same network",
    GRID: "fixed cells of the same network's map",
    KMEANS: "clusters of the same network's features",
}


def evaluate(task: Fewshot, state: TrainState) -> Outcome:
    """Scores a trained model on the novel episodes and gathers what the report shows."""
    variables = state.eval_variables
    sets = task.data.validation, task.data.novel
    episodes = tuple(_episodes(task, images, i) for i, images in enumerate(sets))
    readings = {UNTRAINED: _untrained(task, episodes), **_readings(task, variables, episodes)}
    scores = {RAW: _raw_pixels(task, episodes[1]), **{name: r.scores for name, r in readings.items()}}
    main = PARTS if PARTS in readings else POOLED
    rows = tuple(
        _row(name, score, readings.get(name), None if name == main else scores[main]) for name, score in scores.items()
    )
    views = Views(task, variables)
    discovery = views.discovery() if task.data.novel.truth and main == PARTS else {}
    results = _flat(scores, readings, main) | {
        f"discovery/{method}/{name}": value for method, table in discovery.items() for name, value in table.items()
    }
    page = _page(task, rows, readings, views, episodes[1], discovery, main)
    return Outcome(
        results=results,
        rows=rows,
        page=page,
        episodes={name: score.accuracy for name, score in scores.items()},
        fingerprints={
            "train": task.data.train.fingerprint,
            "novel": task.data.novel.fingerprint,
            "episodes": episodes[1].fingerprint,
        },
        test_evaluations=len(scores),
    )


def _episodes(task: Fewshot, images: ImageSet, which: int) -> Episodes:
    settings = task.config["evaluation"]
    count = settings["episodes"] if which else settings["validation_episodes"]
    return draw_episodes(sampler(images, settings, NOVEL_SEED if which else VALIDATION_SEED), count)


def _readings(task: Fewshot, variables: Tree, episodes: tuple[Episodes, ...]) -> dict[str, Reading]:
    views = readers(task, variables)
    local = [locals_of(task, variables, images, tuple(views.items())) for images in (task.data.validation, task.data.novel)]
    return {name: read(local[0][name], local[1][name], episodes, _choices(task, variables, name)) for name in views}


def _choices(task: Fewshot, variables: Tree, reader: str) -> Mapping[str, Any]:
    """The heads a reader tries; parts must be told apart, and may have a head trained with them."""
    if reader != PARTS:
        return CHOICES
    choices = {name: head for name, head in CHOICES.items() if name != "mean"}
    if "episodes" in task.config["stages"] and task.config["stages"]["episodes"]["steps"]:
        choices[f"trained {task.config['head']['name']}"] = task.bound_head(variables)
    return choices


def readers(task: Fewshot, variables: Tree) -> dict[str, View]:
    """The views compared on one network; without parts (gap) the pooled one is the method itself."""
    settings = task.config["evaluation"]
    views: dict[str, View] = {POOLED: local_views.pooled, DENSE: functools.partial(_dense, settings["dense"] ** 2)}
    parts = _parts(task, variables)
    if parts > 1:
        views[GRID] = functools.partial(local_views.grid, cells=max(2, round(parts**0.5)))
        centroids = fit_kmeans(Views(task, variables).held_out["features"], parts)
        views[KMEANS] = functools.partial(local_views.nearest_centroid, centroids=jnp.asarray(centroids))
        views[PARTS] = local_views.parts
    return views


def _dense(most: int, outputs) -> Local:
    return coarsen(local_views.dense(outputs), most)


def _parts(task: Fewshot, variables: Tree) -> int:
    size, channels = task.config["data"]["size"], task.data.channels
    shape = jax.eval_shape(task.outputs, variables, jnp.zeros((1, size, size, channels)))
    return shape.codes.shape[1]


def _untrained(task: Fewshot, episodes: tuple[Episodes, ...]) -> Reading:
    variables = task.init(jax.random.key(task.config["seed"]))
    view = local_views.parts if _parts(task, variables) > 1 else local_views.pooled
    views = (("untrained", view),)
    local = [locals_of(task, variables, images, views)["untrained"] for images in (task.data.validation, task.data.novel)]
    return read(local[0], local[1], episodes)


def _raw_pixels(task: Fewshot, episodes: Episodes):
    images = task.data.novel

    def apply(variables: Tree, batch: Batch) -> jax.Array:
        return images.decode(batch, None)

    pixels = predict(apply, {}, eval_batches(images, task.config["evaluation"]["batch_size"]))
    return episode_accuracy(pixel_local(pixels, side=16), episodes, nearest_neighbour)


def _row(name: str, score, reading: Reading | None, main) -> Result:
    difference = None if main is None else paired_difference([main], [score])
    return Result(
        name,
        score.interval.mean,
        (score.interval.low, score.interval.high),
        vectors=None if reading is None else reading.vectors,
        difference=None if difference is None else difference.mean,
        difference_interval=None if difference is None else (difference.low, difference.high),
        note=NOTES[name],
        reference=main is None,
        details={} if reading is None else {"head": reading.head_name},
    )


def _flat(scores: Mapping, readings: Mapping[str, Reading], main: str) -> dict[str, float]:
    flat: dict[str, float] = {}
    for name, score in scores.items():
        slug = name.replace(" ", "_")
        mean, low, high = score.interval
        flat |= {f"novel/{slug}/accuracy": mean, f"novel/{slug}/low": low, f"novel/{slug}/high": high}
        if name in readings:
            flat[f"validation/{slug}/accuracy"] = readings[name].validation
            flat[f"novel/{slug}/vectors"] = readings[name].vectors
        if name != main:
            difference = paired_difference([scores[main]], [score])
            flat |= {f"novel/{main.replace(' ', '_')}_minus_{slug}": difference.mean,
                     f"novel/{main.replace(' ', '_')}_minus_{slug}/low": difference.low,
                     f"novel/{main.replace(' ', '_')}_minus_{slug}/high": difference.high}  # fmt: skip
    return flat


@dataclasses.dataclass(frozen=True)
class Views:
    """Whole maps of a sample of images, for what needs more than local vectors; computed when first read."""

    task: Fewshot
    variables: Tree

    @functools.cached_property
    def held_out(self) -> dict[str, np.ndarray]:
        """Of other images of the base classes."""
        return self._maps(self.task.data.held_out)

    @functools.cached_property
    def novel(self) -> dict[str, np.ndarray]:
        """Of images of the novel classes."""
        return self._maps(self.task.data.novel)

    def _maps(self, images: ImageSet) -> dict[str, np.ndarray]:
        count = min(self.task.config["evaluation"]["discovery_images"], len(images))
        return self.at(images, np.linspace(0, len(images) - 1, count).astype(np.int64))

    def at(self, images: ImageSet, indices: np.ndarray) -> dict[str, np.ndarray]:
        """Images, maps, local part vectors and, where known, the truth of the images at `indices`."""
        size = self.task.config["evaluation"]["batch_size"]
        batches = (images.load(indices[i : i + size]) for i in range(0, len(indices), size))
        return predict(_maps_of(self.task, images), self.variables, batches)

    def discovery(self) -> dict[str, dict[str, float]]:
        """Part discovery scores of the model and of what needs no training, on the novel classes."""
        train, test = self.held_out, self.novel
        found = {"model": (_found(train), _found(test))}
        found |= baselines(train["features"], test["features"], found["model"][0], self.task.config["seed"])
        return discovery_table(found, _truth(train), _truth(test), groups=test["label"])


@functools.cache
def _maps_of(task: Fewshot, images: ImageSet):
    def apply(variables: Tree, batch: Batch) -> dict[str, Any]:
        truth = None if images.truth is None else images.truth(batch)
        image = images.decode(batch, None) if truth is None else truth.image
        outputs = task.outputs(variables, image)
        maps = {
            "image": image,
            "label": batch["label"],
            "features": outputs.features.astype(jnp.float32),
            "assignment": outputs.parts.assignment,
            "background": outputs.parts.background,
            "presence": outputs.parts.presence,
            "parts": local_views.parts(outputs),
        }
        if truth is None:
            return maps
        return {**maps, "part_mask": truth.part_mask, "keypoints": truth.keypoints, "visible": truth.visible, "box": truth.box}

    return apply


def _found(maps: Mapping[str, np.ndarray]) -> Found:
    return Found(maps["assignment"], maps["background"])


def _truth(maps: Mapping[str, np.ndarray]) -> PartTruth:
    return PartTruth(maps["part_mask"], maps["keypoints"], maps["visible"] > 0, maps["box"])


DISCOVERY_COLUMNS = {
    "NMI": "nmi_foreground",
    "ARI": "ari_foreground",
    "AMI": "ami_foreground",
    "AMI, all": "ami_all",
    "keypoint error": "keypoint_error",
    "part IoU": "iou_mean",
}


def _discovery_page(table: Mapping[str, Mapping[str, float]]) -> Discovery | None:
    if not table:
        return None
    rows = tuple(
        Score(name, {c: scores[k] for c, k in DISCOVERY_COLUMNS.items()}, reference=name == "model")
        for name, scores in table.items()
    )
    return Discovery(
        rows,
        lower_is_better=frozenset({"keypoint error"}),
        descriptions={
            "NMI": "normalised mutual information of found and true parts over the pixels of true parts",
            "ARI": "adjusted Rand index over the same pixels: 0 is chance",
            "AMI": "mutual information adjusted for chance over the same pixels",
            "AMI, all": "the same over all pixels, body and background being labels too",
            "keypoint error": "of a linear regression from part centres, in per cent of the box's side",
            "part IoU": "overlap with the true parts, matched one to one",
        },
        note="Images of the novel classes, equal numbers of regions for all; the baselines read the same features.",
    )


def _page(
    task: Fewshot,
    rows: tuple[Result, ...],
    readings: Mapping[str, Reading],
    views: Views,
    episodes: Episodes,
    discovery: Mapping[str, Mapping[str, float]],
    main: str,
) -> FewshotPage:
    settings = task.config["evaluation"]
    right, wrong = _pictures(task, views, readings[PARTS], episodes) if main == PARTS else ((), ())
    novel = views.novel
    return FewshotPage(
        title=f"Few-shot recognition with parts: {task.config['data']['name']}",
        conclusion=conclusion(rows, settings),
        results=rows,
        facts={
            "task": f"{settings['ways']}-way {settings['shots']}-shot, {settings['queries']} queries a class",
            "episodes": settings["episodes"],
            "novel classes": task.data.novel.classes,
            "base classes": task.data.train.classes,
        },
        chance=1 / settings["ways"],
        results_note="Each reader's head was chosen on validation classes; every row saw the same episodes.",
        discovery=_discovery_page(discovery),
        episodes=right,
        failures=wrong,
        gallery=PartGallery(novel["image"], novel["assignment"], novel["presence"], novel["label"])
        if main == PARTS
        else None,
        level=(
            "Level 1: the numbers beside the parts are what each part adds to the logit, and they sum to it "
            "exactly. The regions show where a part was read; a feature there also saw its surroundings."
        )
        if main == PARTS
        else "",
    )


def conclusion(rows: tuple[Result, ...], settings: Mapping[str, Any]) -> str:
    """One sentence on the main row against the strongest other reader of the same network."""
    main = next(row for row in rows if row.reference)
    others = [row for row in rows if not row.reference and row.name not in (RAW, UNTRAINED)]
    best = max(others, key=lambda row: row.value)
    assert best.difference is not None and best.difference_interval is not None
    verdict = "about as well as"
    if best.difference_interval[0] > 0:
        verdict = "better than"
    elif best.difference_interval[1] < 0:
        verdict = "worse than"
    count = f"{main.vectors} vector{'s' if main.vectors != 1 else ''} an image"
    return (
        f"From {settings['shots']} example{'s' if settings['shots'] > 1 else ''} of each of {settings['ways']} new classes, "
        f"{main.name} ({count}) recognise {100 * main.value:.1f} % of the queries, {verdict} {best.name} "
        f"({best.vectors} vectors, {100 * best.value:.1f} %) of the same network."
    )


def _pictures(
    task: Fewshot, views: Views, reading: Reading, episodes: Episodes
) -> tuple[tuple[EpisodePicture, ...], tuple[EpisodePicture, ...]]:
    """The first query of each of the first episodes, drawn until there are enough right and wrong ones."""
    most = task.config["evaluation"]["pictures"]
    right: list[EpisodePicture] = []
    wrong: list[EpisodePicture] = []
    for e in range(min(len(episodes.query), 4 * most)):
        for picture in _draw(task, views, reading, jax.tree.map(lambda x, e=e: x[e], episodes)):
            kept = right if picture.predicted == picture.label else wrong
            if len(kept) < most:
                kept.append(picture)
                break
        if min(len(right), len(wrong)) >= most:
            break
    return tuple(right), tuple(wrong)


def _draw(task: Fewshot, views: Views, reading: Reading, episode: Episodes) -> list[EpisodePicture]:
    """Pictures of one query of each class of an episode."""
    images = task.data.novel
    ways, shots = episode.support.shape
    queries = episode.query.reshape(ways, -1)[:, 0]
    maps = views.at(images, np.concatenate([episode.support[:, 0], queries]))
    local = maps["parts"]
    support = jax.tree.map(lambda x: x[:ways, None], local)
    query = jax.tree.map(lambda x: x[ways:], local)
    pairs = _matches(reading, support, query, np.ones((ways, 1), bool))
    names = tuple(images.names[c] for c in maps["label"][:ways])
    return [
        EpisodePicture(
            support=maps["image"][:ways],
            query=maps["image"][ways + q],
            support_assignment=maps["assignment"][:ways],
            query_assignment=maps["assignment"][ways + q],
            logits=pairs[q].sum(-1),
            label=q,
            contributions=pairs[q],
            class_names=names,
        )
        for q in range(ways)
    ]


def _matches(reading: Reading, support: Local, query: Local, mask: np.ndarray) -> np.ndarray:
    """f32 [Q,C,K]: what each part of the query adds to each logit of the head that was reported."""
    head = reading.head
    settings = dict(getattr(head, "keywords", None) or {})
    name = "mutual" if "mutual" in reading.head_name else "aligned"
    return np.asarray(matches(name, support, query, jnp.asarray(mask), **settings).amount)
