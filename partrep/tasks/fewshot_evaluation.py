"""What a few-shot run is scored on: every reader on the same novel episodes, part discovery, and the report's page."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from partrep.evaluate.fewshot import (
    Episodes,
    EpisodeScores,
    paired_difference,
)
from partrep.evaluate.readers import Reading
from partrep.metrics.intervals import Interval
from partrep.report.content import FewshotPage, PartGallery, Result
from partrep.tasks import readers
from partrep.tasks.fewshot import Fewshot
from partrep.tasks.fewshot_pictures import pictures
from partrep.tasks.maps import Sampled, discovery_page, discovery_scores, flat_discovery, part_count
from partrep.tasks.outcome import Outcome, compared, slug, with_interval
from partrep.tasks.readers import NOTES, PARTS, POOLED, RAW, UNTRAINED
from partrep.train import sharding
from partrep.train.stages import init_key
from partrep.train.state import Tree

LEVEL = (
    "Level 1: the numbers beside the parts are what each part adds to the logit, and they sum to it exactly. "
    "The regions show where a part was read; a feature there also saw its surroundings."
)

RESULTS_NOTE = "Each reader's head was chosen on validation classes; every row saw the same episodes."


def evaluate(task: Fewshot, variables: Tree, count: Callable[[int], int]) -> Outcome:
    """Scores a trained model on the novel episodes and gathers what the report shows.

    `count` is told of the readers that are about to see the novel classes, and returns how many ever did.
    """
    assert task.data.novel is not None
    held_out, novel = (Sampled(task, variables, images) for images in (task.data.held_out, task.data.novel))
    parts = part_count(task, variables)
    main = PARTS if parts > 1 else POOLED
    views = readers.views(task, parts, held_out.maps["features"])
    further = readers.further_episodes(task)
    more = len(further) * sum(name in readers.FURTHER for name in views)
    evaluations = count(len(views) + 2 + more)  # the untrained model and raw pixels besides
    untrained = sharding.init_replicated(task.init, init_key(task.config["seed"]))
    episodes = readers.novel_episodes(task)
    before = readers.embed(task, untrained, views, episodes, {})
    vectors = readers.embed(task, variables, views, episodes, further)
    readings = {
        UNTRAINED: readers.read_all(task, untrained, before, [main])[main],
        **readers.read_all(task, variables, vectors, list(views)),
    }
    scores = {RAW: readers.raw_pixels(vectors), **{name: reading.scores for name, reading in readings.items()}}
    rows = result_rows(scores, readings, main)
    discovery = discovery_scores(held_out, novel) if task.data.novel.truth and main == PARTS else {}
    return Outcome(
        results=flat(scores, readings, main, discovery),
        rows=rows,
        page=_page(task, rows, readings, novel, episodes, discovery),
        episodes={name: score.accuracy for name, score in scores.items()} | further_accuracy(readings),
        fingerprints={
            "train": task.data.train.fingerprint,
            "novel": task.data.novel.fingerprint,
            "episodes": episodes.fingerprint,
            **{f"{_heading(name)} episodes": kind.fingerprint for name, kind in further.items()},
        },
        test_evaluations=evaluations,
        further_note=further_notes(task.config["evaluation"].get("further", {})),
    )


def further_accuracy(readings: Mapping[str, Reading]) -> dict[str, np.ndarray]:
    """The accuracy of each further episode by `Result.further_name`, f64 [E]."""
    return {
        Result.further_name(reader, _heading(kind)): score.accuracy
        for reader, reading in readings.items()
        for kind, score in reading.further.items()
    }


def result_rows(scores: Mapping[str, EpisodeScores], readings: Mapping[str, Reading], main: str) -> tuple[Result, ...]:
    """One row a reader; the others carry the main one's paired difference to them."""
    rows = []
    for name, score in scores.items():
        difference = None if name == main else paired_difference([scores[main]], [score])
        reading = readings.get(name)
        rows.append(
            Result.measured(
                name,
                score.interval,
                difference,
                vectors=None if reading is None else reading.vectors,
                note=NOTES[name],
                reference=name == main,
                details={} if reading is None else {"head": reading.head_name},
                further={} if reading is None else _further(reading),
                further_differences={} if reading is None or name == main else _leads(readings[main], reading),
            )
        )
    return tuple(rows)


def _further(reading: Reading) -> dict[str, Interval]:
    return {_heading(name): score.interval for name, score in reading.further.items()}


def _leads(first: Reading, other: Reading) -> dict[str, Interval]:
    return {_heading(name): paired_difference([first.further[name]], [score]) for name, score in other.further.items()}


def _heading(name: str) -> str:
    return name.replace("_", "-")


def flat(
    scores: Mapping[str, EpisodeScores],
    readings: Mapping[str, Reading],
    main: str,
    discovery: Mapping[str, Mapping[str, float]],
) -> dict[str, float]:
    """`{name: number}` of everything measured."""
    made: dict[str, float] = {}
    for name, score in scores.items():
        made |= with_interval(f"novel/{slug(name)}/accuracy", score.interval)
        if name in readings:
            made[f"validation/{slug(name)}/accuracy"] = readings[name].validation
            made[f"novel/{slug(name)}/vectors"] = readings[name].vectors
            for kind, further in readings[name].further.items():
                made |= with_interval(f"novel/{slug(name)}/{kind}_accuracy", further.interval)
                if name != main:
                    lead = paired_difference([readings[main].further[kind]], [further])
                    made |= with_interval(f"novel/{slug(main)}_minus_{slug(name)}/{kind}", lead)
        if name != main:
            difference = paired_difference([scores[main]], [score])
            made |= with_interval(f"novel/{slug(main)}_minus_{slug(name)}", difference)
    return made | flat_discovery(discovery)


def further_notes(kinds: Mapping[str, Mapping[str, Any]]) -> str:
    """What each further kind of episodes is, a sentence each."""
    return " ".join(further_note(name, kind) for name, kind in kinds.items())


def further_note(name: str, kind: Mapping[str, Any]) -> str:
    """What a further kind of episodes is, in a sentence.

    >>> further_note("hard", dict(ways=5, shots=1, queries=15, episodes=600, shared_parts=2))
    'Hard: 600 episodes of 5 classes (chance 20 %), 1 shot, 15 queries each; the 4 others share 2 parts with the first.'
    >>> further_note("twenty_way", dict(ways=20, shots=5, queries=5, episodes=150, shared_parts=0))
    'Twenty-way: 150 episodes of 20 classes (chance 5 %), 5 shots, 5 queries each.'
    """
    shots = f"{kind['shots']} shot" + "s" * (kind["shots"] > 1)
    ways, count = kind["ways"], kind["shared_parts"]
    size = f"{kind['episodes']} episodes of {ways} classes (chance {100 / ways:.3g} %), {shots}"
    shared = f"; the {ways - 1} others share {count} parts with the first" if count else ""
    return f"{_heading(name).capitalize()}: {size}, {kind['queries']} queries each{shared}."


def _page(
    task: Fewshot,
    rows: tuple[Result, ...],
    readings: Mapping[str, Reading],
    novel: Sampled,
    episodes: Episodes,
    discovery: Mapping[str, Mapping[str, float]],
) -> FewshotPage:
    settings = task.config["evaluation"]
    page = FewshotPage(
        title=f"Few-shot recognition with parts: {task.config['data']['name']}",
        conclusion=conclusion(rows, settings),
        results=rows,
        facts={
            "task": f"{settings['ways']}-way {settings['shots']}-shot, {settings['queries']} queries a class",
            "episodes": settings["episodes"],
            "novel classes": novel.images.classes,
            "base classes": task.data.train.classes,
        },
        chance=1 / settings["ways"],
        shots=settings["shots"],
        results_note=f"{RESULTS_NOTE} {further_notes(settings.get('further', {}))}".strip(),
        discovery=discovery_page(discovery),
    )
    if PARTS not in readings:
        return page
    right, wrong = pictures(novel, readings[PARTS], episodes, settings["pictures"])
    level = LEVEL if all(picture.contributions is not None for picture in (*right, *wrong)) else ""
    maps = novel.maps
    gallery = PartGallery(maps["image"], maps["assignment"], maps["presence"], maps["label"])
    return dataclasses.replace(page, episodes=right, failures=wrong, gallery=gallery, level=level)


def conclusion(rows: tuple[Result, ...], settings: Mapping[str, Any]) -> str:
    """One sentence on the main row against the strongest other reader of the same network."""
    main = next(row for row in rows if row.reference)
    others = [row for row in rows if not row.reference and row.name not in (RAW, UNTRAINED)]
    best = max(others, key=lambda row: row.value)
    assert best.difference_interval is not None
    verdict = compared(best.difference_interval)
    examples = f"{settings['shots']} example{'s' if settings['shots'] > 1 else ''}"
    return (
        f"From {examples} of each of {settings['ways']} new classes, {main.name} ({_vectors(main)}) recognise "
        f"{100 * main.value:.1f} % of the queries, {verdict} {best.name} ({_vectors(best)}, {100 * best.value:.1f} %) "
        "of the same network."
    )


def _vectors(row: Result) -> str:
    return f"{row.vectors} vector{'' if row.vectors == 1 else 's'} an image"
