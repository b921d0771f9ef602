"""The scores of the revisited protocol, easy, medium and hard, by several ways to search, and the page of a run."""

from __future__ import annotations

import hashlib
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from PIL import Image

from partrep.data import revisited
from partrep.data.decode import decode_image
from partrep.data.revisited import GroundTruth
from partrep.metrics.intervals import bootstrap_interval
from partrep.metrics.revisited import SETTINGS, revisited_values
from partrep.report.content import EpisodePicture, MetricPage, Result
from partrep.search import ranking
from partrep.search.ranking import Ranking, Searched
from partrep.tasks.metric_pictures import SHOWN
from partrep.tasks.outcome import Outcome, compared, count_test_evaluations, slug, with_interval
from partrep.tasks.retrieval_evaluation import DESCRIPTOR, METHODS
from partrep.tasks.retrieval_pictures import SAME
from partrep.tasks.retrieval_revisited import Evaluation, described

MEASURE, MAIN = "mAP, medium", "medium/map"
RANKS = (1, 5, 10)
WAYS: dict[str, tuple[Callable[..., Ranking], dict[str, Any], str]] = {
    "average expansion": (ranking.by_average_expansion, dict(n=10), "the query averaged with the first 10"),
    "alpha expansion": (ranking.by_alpha_expansion, dict(n=50, alpha=3.0), "alpha 3, n 50 (Radenovic 2019)"),
    "diffusion": (ranking.by_diffusion, dict(n=10, k=50, alpha=0.99), "n 10, k 50, alpha 0.99 (Iscen 2017)"),
}
"""Ways to search, with the settings of their papers: there are no photos here to choose any with."""
RESULTS_NOTE = (
    "Queries are cropped to the building that is asked for. Medium: easy and hard photos are right; junk is taken out "
    "of the ranking. Average precision by trapezoids, means over queries, intervals by bootstrap over queries."
)
THUMBNAIL = 224


def evaluate(evaluation: Evaluation, workdir: pathlib.Path) -> Outcome:
    """Describes queries and gallery, searches in several ways and scores them; nothing is trained or kept."""
    evaluations = count_test_evaluations(workdir, len(WAYS) + (2 if len(evaluation.scales) > 1 else 1))
    one, several = described(evaluation)
    ranks: dict[str, tuple[Searched, Callable[..., Ranking], dict[str, Any], str]] = {}
    ranks[DESCRIPTOR] = (several, ranking.by_cosine, {}, _pooling(evaluation))
    if len(evaluation.scales) > 1:
        ranks["one scale"] = (one, ranking.by_cosine, {}, "the photo at its own size alone")
    ranks |= {name: (several, way, settings, note) for name, (way, settings, note) in WAYS.items()}
    rows: list[Result] = []
    values: dict[str, dict[str, np.ndarray]] = {}
    best: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for name, (searched, way, settings, note) in ranks.items():
        scores = way(searched, **settings)(np.arange(len(evaluation.truth.queries)))
        best[name] = scores, np.argsort(-scores, axis=1, kind="stable")
        values[name] = revisited_values(best[name][1], evaluation.truth.relevant, RANKS)
        rows.append(result_row(name, values, note))
    return Outcome(
        results=flat(values),
        rows=tuple(rows),
        page=_page(evaluation, tuple(rows), *best[DESCRIPTOR]),
        episodes={name: found[MAIN][~np.isnan(found[MAIN])] for name, found in values.items()},
        fingerprints={"train": "none", "truth": fingerprint(evaluation.truth)},
        test_evaluations=evaluations,
        measure=MEASURE,
    )


def _pooling(evaluation: Evaluation) -> str:
    method = METHODS[evaluation.config["model"]["method"]["name"]]
    method = method if evaluation.config["start_run"] else method.partition(",")[0] + ", not whitened"
    words = ", ".join(f"{scale:.2g}" for scale in evaluation.scales)
    mean = f"mean of power {evaluation.power:g}"
    return f"{method}; scales {words}, {mean}" if len(evaluation.scales) > 1 else method


def result_row(name: str, values: Mapping[str, Mapping[str, np.ndarray]], note: str) -> Result:
    """The row of a way to search: medium, with the others as further columns."""
    found, main = values[name], values[DESCRIPTOR][MAIN]
    counted = ~np.isnan(main)
    queries = np.flatnonzero(counted)

    def shown(column: str) -> str:
        known = found[column][~np.isnan(found[column])]
        return f"{100 * known.mean():.1f}" if len(known) else "-"

    difference = bootstrap_interval((main - found[MAIN])[counted], queries)
    return Result.measured(
        name,
        bootstrap_interval(found[MAIN][counted], queries),
        None if name == DESCRIPTOR else difference,
        note=note,
        reference=name == DESCRIPTOR,
        details={
            "easy": shown("easy/map"),
            "hard": shown("hard/map"),
            **{f"mP@{k}": shown(f"medium/mp@{k}") for k in RANKS},
        },
    )


def flat(values: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, float]:
    """`{name: number}` of everything measured; a setting in which no query has a positive is left out."""
    made: dict[str, float] = {}
    for name, found in values.items():
        for column, value in found.items():
            counted = ~np.isnan(value)
            if column == MAIN:
                mean = bootstrap_interval(value[counted], np.flatnonzero(counted))
                made |= with_interval(f"test/{slug(name)}/{column}", mean)
            elif counted.any():
                made[f"test/{slug(name)}/{column}"] = float(value[counted].mean())
    for setting in SETTINGS:
        made[f"test/{setting}/queries"] = float((~np.isnan(values[DESCRIPTOR][f"{setting}/map"])).sum())
    return made


def fingerprint(truth: GroundTruth) -> str:
    """Sixteen hex digits that change with what is asked for."""
    return hashlib.sha256(repr((truth.gallery, truth.queries, truth.boxes.tolist())).encode()).hexdigest()[:16]


def _page(evaluation: Evaluation, rows: tuple[Result, ...], scores: np.ndarray, order: np.ndarray) -> MetricPage:
    truth, main = evaluation.truth, rows[0]
    best = max(rows[1:], key=lambda row: row.value)
    assert best.difference_interval is not None
    drawn = [picture(evaluation, q, scores[q], order[q]) for q in range(len(truth.queries))]
    count = evaluation.config["evaluation"]["pictures"]
    right = [one for one in drawn[: 4 * count] if one is not None and one.label == one.predicted]
    wrong = [one for one in drawn[: 4 * count] if one is not None and one.label != one.predicted]
    return MetricPage(
        title=f"The same building elsewhere: {pathlib.Path(evaluation.config['data']['truth']).stem}",
        conclusion=(
            f"Medium mAP is {100 * main.value:.1f} by one descriptor a photo ({main.note}), which is "
            f"{compared(best.difference_interval)} {best.name} ({100 * best.value:.1f})."
        ),
        results=rows,
        facts={
            "queries": len(truth.queries),
            "gallery": len(truth.gallery),
            "longer side, px": evaluation.config["data"]["size"],
        },
        measure=MEASURE,
        results_note=RESULTS_NOTE,
        matches=tuple(right[:count]),
        failures=tuple(wrong[:count]),
        heading="retrieval report",
        sought="building",
    )


def picture(evaluation: Evaluation, query: int, scores: np.ndarray, order: np.ndarray) -> EpisodePicture | None:
    """A query beside the first photos found that are not junk; None where it has nothing to find."""
    one, truth = evaluation.truth.relevant[query], evaluation.truth
    positive = np.concatenate([one["easy"], one["hard"]])
    ranked = order[~np.isin(order, one["junk"])]
    if not len(positive):
        return None
    shown = ranked[:SHOWN].copy()
    if not np.isin(shown, positive).any():
        shown[-1] = ranked[np.isin(ranked, positive).argmax()]
    names = [truth.gallery[i] for i in shown]
    whole = np.ones((1 + len(shown), 1, 1, 1), np.float32)
    return EpisodePicture(
        support=np.stack([thumbnail(evaluation.paths[name]) for name in names]),
        query=thumbnail(evaluation.paths[truth.queries[query]], truth.boxes[query]),
        support_assignment=whole[1:],
        query_assignment=whole[0],
        logits=scores[shown],
        label=int(np.isin(shown, positive).argmax()),
        contributions=scores[shown][:, None],
        class_names=tuple(names),
        words=SAME,
    )


def thumbnail(path: pathlib.Path, box: np.ndarray | None = None) -> np.ndarray:
    """A photo, or what a box shows of it, as a square u8 [S,S,3] on white."""
    photo = decode_image(path.read_bytes(), str(path))
    image = Image.fromarray(photo if box is None else revisited.crop_query(photo, box))
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    square = Image.new("RGB", (THUMBNAIL, THUMBNAIL), "white")
    square.paste(image, ((THUMBNAIL - image.width) // 2, (THUMBNAIL - image.height) // 2))
    return np.asarray(square)
