"""The official Omniglot one-shot runs: every reader of a trained network, and the parts against real pen strokes."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from partrep.data import imageset
from partrep.data.imageset import ImageSet
from partrep.data.omniglot import Omniglot
from partrep.data.runs import OneShotRuns, Run
from partrep.data.source import ArraySource
from partrep.data.transforms import Warp, WarpSettings, fixed_warps
from partrep.evaluate.discovery import Found, baselines
from partrep.evaluate.fewshot import Head, compact
from partrep.evaluate.hausdorff import predict_runs_by_hausdorff
from partrep.evaluate.oneshot import error_difference, predict_runs, score_runs
from partrep.evaluate.readers import Choice, Standard, choose, standardise, standards
from partrep.evaluate.strokes import stroke_difference, stroke_scores
from partrep.evaluate.views import averaged
from partrep.metrics.intervals import Interval
from partrep.models.local import Local
from partrep.report.content import Discovery, FewshotPage, PartGallery, Result, Score
from partrep.tasks import readers
from partrep.tasks.batches import spaced
from partrep.tasks.fewshot import Fewshot, View, locals_of
from partrep.tasks.maps import Maps, Sampled, part_count
from partrep.tasks.oneshot_pictures import Matching, pictures
from partrep.tasks.outcome import Outcome, slug, with_interval
from partrep.tasks.readers import DENSE, NOTES, PARTS, POOLED
from partrep.train.settings import from_mapping
from partrep.train.state import Tree

HAUSDORFF = "modified Hausdorff"
LEVEL = (
    "Level 1: the numbers beside the parts are what each part adds to the logit, the mean over the warps that a "
    "drawing is seen under, and they sum to it exactly. The regions show where a part was read in the drawing as it "
    "is; a feature there also saw its surroundings."
)
# Where no validation alphabets are at hand, the heads that validation chose on the 25 others (README, "Results").
DEFAULT_HEAD = {POOLED: "mean", PARTS: "aligned by length"}


def evaluate_oneshot(task: Fewshot, variables: Tree, count: Callable[[int], int]) -> Outcome:
    """Scores a trained model on the official runs in the data folder; each reader is one evaluation of them.

    `count` is told of the readers that are about to see the runs, and returns how many ever did.
    """
    settings = task.config["data"]
    background = Sampled(task, variables, task.data.held_out)
    parts = part_count(task, variables)
    main = task.config["evaluation"]["reader"]
    views = readers.views(task, parts, background.maps["features"])
    heads = choose_heads(task, variables, views)
    strokes = stroke_table(task, background) if parts > 1 else {}  # a damaged file is met before the official runs
    shrunk, drawn = OneShotRuns(settings["dir"], settings["stored"]), OneShotRuns(settings["dir"])
    runs = [shrunk[i] for i in range(len(shrunk))]
    full = [drawn[i] for i in range(len(drawn))]
    evaluations = count(len(views))
    embeds = {n: functools.partial(_embed, task, variables, n, v, heads[n].standard) for n, v in views.items()}
    predicted = {n: predict_runs(runs, embeds[n], over_warps(task, heads[n].head)) for n in views}
    predicted = {HAUSDORFF: predict_runs_by_hausdorff(full)} | predicted
    tables = {name: score_runs(found, runs) for name, found in predicted.items()}
    leads = {name: error_difference(predicted[main], found, runs) for name, found in predicted.items() if name != main}
    rows = tuple(_row(task, name, table, heads, main, leads.get(name)) for name, table in tables.items())
    page = _page(task, rows, strokes, background, len(runs), main)
    if main == PARTS:
        head, maps = heads[main].head, functools.partial(_maps, task, variables)
        pairs = readers.pairing(task, variables, heads[main].name, head)
        matching = Matching(embeds[main], maps, head, pairs, _views(task))
        right, wrong = pictures(runs, predicted[main], matching, task.config["evaluation"]["pictures"])
        page = dataclasses.replace(page, episodes=right, failures=wrong, level="" if pairs is None else LEVEL)
    return Outcome(
        results=flat(tables, strokes, heads, main, leads),
        rows=rows,
        page=page,
        episodes={},
        fingerprints={"train": task.data.train.fingerprint, "runs": _fingerprint(runs)},
        test_evaluations=evaluations,
        measure="error",
    )


def _fingerprint(runs: Sequence[Run]) -> str:
    """Of the runs' drawings and answers."""
    arrays = (array for run in runs for array in (run.train, run.test, run.truth))
    return imageset.fingerprint(*(array.tobytes() for array in arrays))


def test_warps(task: Fewshot) -> Warp | None:
    """The warps that drawings are seen under at test time, drawn from those of training; None for none."""
    count = task.config["evaluation"]["warps"]
    return fixed_warps(count, from_mapping(WarpSettings, task.config["data"]["warp"])) if count else None


def over_warps(task: Fewshot, head: functools.partial) -> Head:
    """The head that reads a drawing under each of the warps."""
    return averaged(head, _views(task)) if _views(task) > 1 else head


def _views(task: Fewshot) -> int:
    return max(1, task.config["evaluation"]["warps"])


def choose_heads(task: Fewshot, variables: Tree, views: Mapping[str, View]) -> dict[str, Choice]:
    """Each reader's best head on the validation alphabets, or its default one, with no accuracy, without any."""
    moves, held_out, validation = test_warps(task), task.data.held_out, task.data.validation
    if validation is not None:
        drawings, (episodes,) = compact(readers.validation_episodes(task))
    made: dict[str, Choice] = {}
    for group in ([name for name in views if name != DENSE], [DENSE]):  # all locations are many: by themselves
        compared = tuple((name, views[name]) for name in group)
        base = locals_of(task, variables, held_out, compared, spaced(held_out, readers.STATISTICS), moves)
        if validation is None:
            made |= {name: _default_choice(task, variables, name, base[name]) for name in group}
            continue
        local = locals_of(task, variables, validation, compared, drawings, moves)
        for name in group:
            tried = readers.choices(task, variables, name)
            made[name] = choose(base[name], local[name], episodes, tried, _views(task))
    return made


def _default_choice(task: Fewshot, variables: Tree, name: str, base: Local) -> Choice:
    tried = readers.choices(task, variables, name)
    chosen = DEFAULT_HEAD.get(name, "mutual")
    chosen = chosen if chosen in tried else next(iter(tried))
    return Choice(chosen, tried[chosen], standards(base)[""], float("nan"))


def _embed(task: Fewshot, variables: Tree, name: str, view: View, standard: Standard, images: np.ndarray) -> Local:
    local = locals_of(task, variables, _drawings(task, images), ((name, view),), moves=test_warps(task))[name]
    return standardise(local, standard)


def _maps(task: Fewshot, variables: Tree, images: np.ndarray) -> Maps:
    """The images as the network sees them without a warp, and where it puts its parts."""
    return Sampled(task, variables, _drawings(task, images)).at(np.arange(len(images)))


def _drawings(task: Fewshot, images: np.ndarray) -> ImageSet:
    labels = np.zeros(len(images), np.int32)
    return imageset.of_arrays(ArraySource(images, labels, ["drawing"]), task.config["data"]["size"])


def stroke_table(task: Fewshot, background: Sampled) -> dict[str, dict[str, float]]:
    """Agreement of parts with pen strokes, per drawing: the model beside what needs no training; {} without strokes.

    All methods have as many regions as the model, one of them the paper's where the model has a background. The
    scores are over the ink, so the background is no answer: ink goes to the part with the greatest share of it.
    """
    settings, seed = task.config["data"], task.config["seed"]
    drawings = Omniglot(settings["dir"], settings["background"], settings["stored"])
    if not drawings.has_strokes:
        return {}
    strokes = np.stack([drawings.stroke_mask(int(i)) for i in background.indices])
    features, model = background.maps["features"], background.found
    found = {name: test for name, (_, test) in baselines(features, features, model, seed).items()}
    own = stroke_scores(Found(model.assignment), strokes)
    characters = drawings.labels[background.indices]
    table = {"model": own.means(characters)}
    for name, maps in found.items():
        scores = stroke_scores(Found(maps.assignment), strokes)
        difference = stroke_difference(own, scores, characters)
        table[name] = scores.means(characters) | {
            "model_minus_this_ami": difference.mean,
            "model_minus_this_ami_low": difference.low,
            "model_minus_this_ami_high": difference.high,
        }
    return table


def flat(
    tables: Mapping[str, Mapping[str, float]],
    strokes: Mapping[str, Mapping[str, float]],
    heads: Mapping[str, Choice],
    main: str,
    leads: Mapping[str, Interval | None],
) -> dict[str, float]:
    """`{name: number}`: the main reader's scores under their plain names, all others' with their own behind.

    `leads` are the main reader's error less the others', in percentage points.
    """
    made = dict(tables[main])
    for name, table in tables.items():
        made[f"oneshot_error/{slug(name)}"] = table["oneshot_error"]
    for name, lead in leads.items():
        if lead is not None:
            made |= with_interval(f"oneshot_error_minus/{slug(name)}", lead)
    for name, choice in heads.items():
        if not np.isnan(choice.accuracy):
            made[f"validation_error/{slug(name)}"] = 100 * (1 - choice.accuracy)
    for name, table in strokes.items():
        made |= {f"strokes/{name}/{score}": value for score, value in table.items()}
    return made


def _row(
    task: Fewshot, name: str, table: Mapping[str, float], heads: Mapping, main: str, lead: Interval | None
) -> Result:
    interval = None
    if "oneshot_error_low" in table:
        interval = (table["oneshot_error_low"] / 100, table["oneshot_error_high"] / 100)
    details = {"augmentation": "-" if name == HAUSDORFF else task.config["data"]["augmentation"]}
    if name in heads:
        details["head"] = heads[name].name
    note = NOTES.get(name, "distances of ink points, no training")
    difference = {} if lead is None else _difference(lead)
    value = table["oneshot_error"] / 100
    return Result(name, value, interval, note=note, reference=name == main, details=details, **difference)


def _difference(lead: Interval) -> dict[str, Any]:
    return {"difference": lead.mean / 100, "difference_interval": (lead.low / 100, lead.high / 100)}


def _chosen(task: Fewshot) -> str:
    if task.data.validation is None:
        return "no alphabet was left to choose heads on, so they are those that small1 had chosen"
    return "heads were chosen on background alphabets not trained on"


def _lead(table: Mapping[str, float]) -> str:
    """How far the model is ahead of another method in AMI, drawing by drawing."""
    if "model_minus_this_ami" not in table:
        return ""
    lead, low, high = (table[f"model_minus_this_ami{end}"] for end in ("", "_low", "_high"))
    return f"AMI of the model minus this: {lead:+.3f} [{low:+.3f}, {high:+.3f}]"


STROKE_COLUMNS = {"AMI": "stroke_ami", "ARI": "stroke_ari", "NMI": "stroke_nmi"}


def _page(
    task: Fewshot,
    rows: tuple[Result, ...],
    strokes: Mapping[str, Mapping[str, float]],
    background: Sampled,
    runs: int,
    main: str,
) -> FewshotPage:
    best = next(row for row in rows if row.reference)
    page = FewshotPage(
        title="One-shot recognition of characters: the official Omniglot runs",
        conclusion=(
            f"Shown one drawing of each of 20 new characters, the network errs on {100 * best.value:.1f} % of the "
            f"drawings of other people ({main}, {runs} official runs, each test drawing judged alone)."
        ),
        results=rows,
        facts={"runs": runs, "background": task.config["data"]["background"], "characters": task.data.held_out.classes},
        measure="error",
        lower_is_better=True,
        chance=0.95,
        results_note=f"Intervals by bootstrap over alphabets; {_chosen(task)}.",
    )
    if len(background.maps["assignment"][0]) == 1:
        return page
    maps = background.maps
    gallery = PartGallery(1 - maps["image"], maps["assignment"], maps["presence"], maps["label"])
    discovery = None
    if strokes:
        discovery = Discovery(
            tuple(
                Score(
                    name,
                    {column: table[key] for column, key in STROKE_COLUMNS.items()},
                    note=_lead(table),
                    reference=name == "model",
                )
                for name, table in strokes.items()
            ),
            descriptions={"AMI": "adjusted mutual information of parts and pen strokes over the ink of each drawing"},
            note="Per drawing, averaged; strokes lie apart, so even the fixed grid scores well above zero.",
        )
    return dataclasses.replace(page, gallery=gallery, discovery=discovery)
