"""Found parts against keypoints, as part discovery on CUB is scored: which part lies on which, and where they are."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from partrep import UserError
from partrep.data.view_truth import ViewTruth
from partrep.evaluate.discovery import ACTIVE, Found, centroids, label_maps
from partrep.metrics.clustering import clustering_scores, contingency_table
from partrep.metrics.keypoints import Placed, keypoint_error


def has_keypoints(truth: ViewTruth) -> bool:
    """Whether there is a photo with a box of the whole object and a keypoint to be seen."""
    return bool(truth.boxed == "object" and _usable(truth).any())


def keypoint_table(
    methods: Mapping[str, tuple[Found, Found]], train: ViewTruth, test: ViewTruth, size: int
) -> dict[str, dict[str, float]]:
    """`{method: {score: value}}` for methods with equal numbers of regions; others are refused.

    Args:
        methods: name -> what it found in the photos of `train` and of `test`.
        train: of the photos that the keypoint regression is fitted on.
        test: of the photos scored.
        size: side of the view in pixels, at which parts are read off.

    Scores: `nmi_keypoints`, `ari_keypoints`, `ami_keypoints` of the name of a visible keypoint and the part (or the
    background) that wins at its pixel, over all of them; `keypoint_error` in per cent of the box's side, of a linear
    regression from the centroids of active parts.

    Raises:
        UserError: numbers of regions that differ; no keypoint that is visible in both.

    Source: van der Klis et al., PDiscoNet, ICCV 2023, section 4.3; Aniraj et al., PDiscoFormer, ECCV 2024, section 4.
    Departures: keypoints that the centre crop cuts off are not visible; their code resizes whole photos.
    """
    regions = {name: found.regions for name, (_, found) in methods.items()}
    if len(set(regions.values())) > 1:
        raise UserError(f"scores compare at equal numbers of regions only; found {regions}")
    table = {}
    for name, (fitted, scored) in methods.items():
        table[name] = {f"{s}_keypoints": v for s, v in clustering_scores(keypoint_counts(scored, test, size)).items()}
        table[name]["keypoint_error"] = keypoint_error(_placed(fitted, train), _placed(scored, test)).mean
    return table


def keypoint_counts(found: Found, truth: ViewTruth, size: int) -> np.ndarray:
    """int64 [P,K+1]: visible keypoints by name and by the label of the pixel they lie on (column 0: background)."""
    photo, name = np.nonzero(truth.visible)
    place = np.minimum((truth.keypoints[photo, name] * size).astype(int), size - 1)
    labels = label_maps(found, size, size)[photo, place[:, 0], place[:, 1]]
    return contingency_table(name, labels, (truth.visible.shape[1], found.assignment.shape[1] + 1))


def _usable(truth: ViewTruth) -> np.ndarray:
    """bool [n]: photos with a box and a visible keypoint."""
    return np.isfinite(truth.boxes).all(axis=1) & truth.visible.any(axis=1)


def _placed(found: Found, truth: ViewTruth) -> Placed:
    used = _usable(truth)
    maps = found.assignment[used]
    active = maps.max(axis=(2, 3)) > ACTIVE
    return Placed(centroids(maps), truth.keypoints[used], truth.visible[used], truth.boxes[used], active)
