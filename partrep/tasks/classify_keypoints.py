"""How well the parts of a classifier of photos agree with keypoints, where these are marked, beside the baselines."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from partrep.data.view_truth import ViewTruth
from partrep.evaluate.discovery import baselines
from partrep.evaluate.keypoints import has_keypoints, keypoint_table
from partrep.report.content import Discovery, Score
from partrep.tasks.maps import Sampled

COLUMNS = {
    "NMI": ("nmi_keypoints", "normalised mutual information of keypoints and the parts that win where they lie"),
    "ARI": ("ari_keypoints", "adjusted Rand index of the same: 0 is chance"),
    "AMI": ("ami_keypoints", "mutual information of the same, adjusted for chance"),
    "keypoint error": ("keypoint_error", "of a linear regression from part centres, in per cent of the box's side"),
}


def keypoint_scores(test: Sampled) -> dict[str, dict[str, float]]:
    """`{method: {score: value}}` of the model and of what needs no training; empty where no keypoints are marked.

    The regression and the baselines are fitted on training photos, as many as are scored at most.
    """
    images = test.task.data.train
    # The photos themselves need not be decoded: only what the model makes of their features is read.
    train = dataclasses.replace(test, images=dataclasses.replace(images, photos=None))
    fitted, scored = _marked(train), _marked(test)
    if fitted is None or scored is None or not (has_keypoints(fitted) and has_keypoints(scored)):
        return {}
    found = {"model": (train.found, test.found)}
    found |= baselines(train.maps["features"], test.maps["features"], train.found, test.task.config["seed"])
    return keypoint_table(found, fitted, scored, test.task.data.view.crop)


def _marked(sampled: Sampled) -> ViewTruth | None:
    images = sampled.images
    return None if images.annotations is None else images.annotations(sampled.indices)


def keypoint_page(table: Mapping[str, Mapping[str, float]]) -> Discovery:
    """The table as the report shows it."""
    rows = tuple(
        Score(name, {column: scores[key] for column, (key, _) in COLUMNS.items()}, reference=name == "model")
        for name, scores in table.items()
    )
    return Discovery(
        rows,
        lower_is_better=frozenset({"keypoint error"}),
        descriptions={column: text for column, (_, text) in COLUMNS.items()},
        note="Visible keypoints of test photos, equal numbers of regions for all; baselines read the same features.",
    )
