"""The official Omniglot one-shot runs: every reader of a trained network, and the parts against real pen strokes."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping

import numpy as np

from partrep.data import imageset
from partrep.data.omniglot import Omniglot
from partrep.data.runs import OneShotRuns
from partrep.data.source import ArraySource
from partrep.data.transforms import Warp, WarpSettings, fixed_warps
from partrep.discovery import DISCOVERY
from partrep.evaluate.discovery import Found
from partrep.evaluate.fewshot import compact
from partrep.evaluate.hausdorff import predict_runs_by_hausdorff
from partrep.evaluate.oneshot import predict_runs, score_runs
from partrep.evaluate.readers import Choice, Standard, choose, standardise, standards
from partrep.evaluate.strokes import stroke_scores
from partrep.evaluate.views import averaged
from partrep.models.local import Local
from partrep.report.content import Discovery, FewshotPage, PartGallery, Result, Score
from partrep.tasks import readers
from partrep.tasks.fewshot import Fewshot, View, locals_of, spaced
from partrep.tasks.maps import Sampled
from partrep.tasks.outcome import Outcome
from partrep.tasks.readers import DENSE, NOTES, PARTS, POOLED
from partrep.train.state import TrainState, Tree

HAUSDORFF = "modified Hausdorff"
# Where no validation alphabets are at hand, the heads that validation chose on the 25 others (README, "Results").
DEFAULT_HEAD = {POOLED: "mean", PARTS: "aligned by length"}


def evaluate_oneshot(task: Fewshot, state: TrainState) -> Outcome:
    """Scores a trained model on the official runs in the data folder; each reader is one evaluation of them."""
    variables = state.eval_variables
    settings = task.config["data"]
    background = Sampled(task, variables, task.data.held_out)
    parts = readers.part_count(task, variables)
    main = task.config["evaluation"]["reader"]
    views = readers.views(task, parts, background.maps["features"])
    heads = choose_heads(task, variables, views)
    shrunk, drawn = OneShotRuns(settings["dir"], settings["stored"]), OneShotRuns(settings["dir"])
    runs = [shrunk[i] for i in range(len(shrunk))]
    full = [drawn[i] for i in range(len(drawn))]
    tables = {HAUSDORFF: score_runs(predict_runs_by_hausdorff(full), full)}
    for name, view in views.items():
        embed = functools.partial(_embed, task, variables, name, view, heads[name].standard)
        tables[name] = score_runs(predict_runs(runs, embed, heads[name].head), runs)
    strokes = stroke_table(task, background, parts) if parts > 1 else {}
    rows = tuple(_row(task, name, table, heads, main) for name, table in tables.items())
    return Outcome(
        results=flat(tables, strokes, heads, main),
        rows=rows,
        page=_page(task, rows, strokes, background, len(runs), main),
        episodes={},
        fingerprints={"train": task.data.train.fingerprint},
        test_evaluations=len(views),
        measure="error",
    )


def test_warps(task: Fewshot) -> Warp | None:
    """The warps that drawings are seen under at test time, drawn from those of training; None for none."""
    count = task.config["evaluation"]["warps"]
    return fixed_warps(count, WarpSettings(**dict(task.config["data"]["warp"]))) if count else None


def choose_heads(task: Fewshot, variables: Tree, views: Mapping[str, View]) -> dict[str, Choice]:
    """Each reader's best head on the validation alphabets, or its default one, with no accuracy, without any."""
    moves, held_out, validation = test_warps(task), task.data.held_out, task.data.validation
    if validation is not None:
        drawings, episodes = compact(readers.validation_episodes(task))
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
            made[name] = choose(base[name], local[name], episodes, tried, max(1, task.config["evaluation"]["warps"]))
    return made


def _default_choice(task: Fewshot, variables: Tree, name: str, base: Local) -> Choice:
    chosen, count = DEFAULT_HEAD.get(name, "mutual"), task.config["evaluation"]["warps"]
    head = readers.choices(task, variables, name)[chosen]
    return Choice(chosen, averaged(head, count) if count else head, standards(base)[""], float("nan"))


def _embed(
    task: Fewshot, variables: Tree, name: str, view: View, standard: Standard, images: np.ndarray
) -> Local:
    labels = np.zeros(len(images), np.int32)
    drawings = imageset.of_arrays(ArraySource(images, labels, ["drawing"]), task.config["data"]["size"])
    return standardise(locals_of(task, variables, drawings, ((name, view),), moves=test_warps(task))[name], standard)


def stroke_table(task: Fewshot, background: Sampled, parts: int) -> dict[str, dict[str, float]]:
    """Agreement of parts with pen strokes, per drawing: the model beside what needs no training; {} without strokes."""
    settings = task.config["data"]
    drawings = Omniglot(settings["dir"], settings["background"], settings["stored"])
    if not drawings.has_strokes:
        return {}
    indices = background.indices
    strokes = np.stack([drawings.stroke_mask(int(i)) for i in indices])
    features = background.maps["features"]
    found = {"model": Found(background.maps["assignment"])}  # on ink, so background is no answer
    for name, discover in DISCOVERY.items():
        found[name] = Found(discover(features, parts, task.config["seed"])(features))
    characters = drawings.labels[indices]
    return {name: stroke_scores(maps, strokes).means(characters) for name, maps in found.items()}


def flat(
    tables: Mapping[str, Mapping[str, float]],
    strokes: Mapping[str, Mapping[str, float]],
    heads: Mapping[str, Choice],
    main: str,
) -> dict[str, float]:
    """`{name: number}`: the main reader's scores under their plain names, all others' with their own behind."""
    made = dict(tables[main])
    for name, table in tables.items():
        made[f"oneshot_error/{name.replace(' ', '_')}"] = table["oneshot_error"]
    for name, choice in heads.items():
        if not np.isnan(choice.accuracy):
            made[f"validation_error/{name.replace(' ', '_')}"] = 100 * (1 - choice.accuracy)
    for name, table in strokes.items():
        made |= {f"strokes/{name}/{score}": value for score, value in table.items()}
    return made


def _row(task: Fewshot, name: str, table: Mapping[str, float], heads: Mapping, main: str) -> Result:
    interval = None
    if "oneshot_error_low" in table:
        interval = (table["oneshot_error_low"] / 100, table["oneshot_error_high"] / 100)
    details = {"augmentation": "-" if name == HAUSDORFF else task.config["data"]["augmentation"]}
    if name in heads:
        details["head"] = heads[name].name
    note = NOTES.get(name, "distances of ink points, no training")
    return Result(name, table["oneshot_error"] / 100, interval, note=note, reference=name == main, details=details)


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
        results_note="Intervals by bootstrap over alphabets; heads were chosen on background alphabets not trained on.",
    )
    if len(background.maps["assignment"][0]) == 1:
        return page
    maps = background.maps
    gallery = PartGallery(1 - maps["image"], maps["assignment"], maps["presence"], maps["label"])
    discovery = None
    if strokes:
        discovery = Discovery(
            tuple(
                Score(name, {c: table[k] for c, k in STROKE_COLUMNS.items()}, reference=name == "model")
                for name, table in strokes.items()
            ),
            descriptions={"AMI": "adjusted mutual information of parts and pen strokes over the ink of each drawing"},
            note="Per drawing, averaged; strokes lie apart, so even the fixed grid scores well above zero.",
        )
    return dataclasses.replace(page, gallery=gallery, discovery=discovery)
