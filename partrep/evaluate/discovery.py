"""Part discovery scores: found parts against true masks and keypoints, beside training-free baselines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from partrep import UserError
from partrep.discovery import DISCOVERY
from partrep.discovery.maps import border_part
from partrep.metrics.clustering import clustering_scores, contingency_table
from partrep.metrics.keypoints import Placed, keypoint_error
from partrep.metrics.segments import part_overlap

SMALLEST_PART = 4.0
"""Grid cells that the median visible part must cover for the scores to say anything about the parts."""

ACTIVE = 0.5
"""A part is active in an image where its largest share of a location is above this (PDiscoNet)."""

BLOCK = 64
"""Images upsampled at once."""


class Found(NamedTuple):
    """Where a method puts its parts: shares of each location, as in `Parts`."""

    assignment: np.ndarray
    """f32 [n,K,h,w] >= 0"""
    background: np.ndarray | None = None
    """f32 [n,h,w] >= 0, or None where the method has none"""

    @property
    def regions(self) -> int:
        """How many labels a location can get: K, and one more with a background."""
        return self.assignment.shape[1] + (self.background is not None)


class PartTruth(NamedTuple):
    """The true parts of n images, coordinates (y, x) in [0,1].

    In the mask, part i is `first_part + i`; lower values (no object, a plain body) are no parts.
    """

    part_mask: np.ndarray
    """int [n,H,W]"""
    keypoints: np.ndarray
    """f32 [n,P,2]"""
    visible: np.ndarray
    """bool [n,P]"""
    box: np.ndarray
    """f32 [n,4] (y0,x0,y1,x1)"""
    first_part: int = 2
    names: tuple[str, ...] = ()
    """of the parts; empty: part0, part1, ..."""

    @property
    def labels(self) -> int:
        """Number of values of the mask."""
        return self.first_part + self.visible.shape[1]


def discovery_table(
    methods: Mapping[str, tuple[Found, Found]],
    train_truth: PartTruth,
    test_truth: PartTruth,
    groups: np.ndarray | None = None,
) -> dict[str, dict[str, float]]:
    """`{method: {score: value}}` for methods with equal numbers of regions; others are refused.

    Args:
        methods: name -> what it found in the training and in the test images.
        train_truth: of the images that the keypoint regression is fitted on.
        test_truth: of the images scored.
        groups: [n] class of each test image; with it `_low` and `_high` bound the clustering scores by
            bootstrap over classes, the same classes drawn for every method.
    """
    regions = {name: found.regions for name, (_, found) in methods.items()}
    if len(set(regions.values())) > 1:
        raise UserError(f"scores compare at equal numbers of regions only; found {regions}")
    table = {}
    for name, (train, test) in methods.items():
        counts = image_tables(test, test_truth)
        table[name] = discovery_scores(counts, train, test, train_truth, test_truth)
        if groups is not None:
            for score, draws in resampled_scores(counts, test_truth.first_part, groups).items():
                low, high = np.quantile(draws, [0.025, 0.975])
                table[name] |= {f"{score}_low": float(low), f"{score}_high": float(high)}
    return table


def baselines(
    train_features: np.ndarray, test_features: np.ndarray, model: Found, seed: int = 0
) -> dict[str, tuple[Found, Found]]:
    """What each method of `DISCOVERY` finds in the same features [n,h,w,D], regions as many as the model's.

    Where the model has a background, k-means and NMF get one too: the cluster with the greatest share of the
    border of the training images. The grid and chance have none, all their regions are parts.
    """
    found = {}
    for name, discover in DISCOVERY.items():
        finder = discover(train_features, model.regions, seed)
        train, test = finder(train_features), finder(test_features)
        border = border_part(train) if model.background is not None and name in ("kmeans", "nmf") else None
        found[name] = split(train, border), split(test, border)
    return found


def ceiling(truth: PartTruth, height: int, width: int) -> Found:
    """The true parts at the resolution of the grid, the best score to be had: P parts and a background."""
    parts = [cell_shares(truth.part_mask == p, height, width) for p in range(truth.first_part, truth.labels)]
    assignment = np.stack(parts, axis=1)
    return Found(assignment, 1 - assignment.sum(axis=1))


def cell_shares(mask: np.ndarray, height: int, width: int) -> np.ndarray:
    """The share of each cell of a grid that a mask bool [n,H,W] covers, f32 [n,h,w].

    >>> cell_shares(np.array([[[True, False], [True, True]]]), 1, 2).tolist()
    [[[1.0, 0.5]]]
    """
    return _area(mask.shape[1], height) @ mask.astype(np.float32) @ _area(mask.shape[2], width).T


def _area(size: int, cells: int) -> np.ndarray:
    """f32 [cells,size]: the share of each of `size` pixels in each of `cells` equal cells; rows sum to 1."""
    pixel, cell = np.arange(size) / size, np.arange(cells)[:, None] / cells
    overlap = np.minimum(pixel + 1 / size, cell + 1 / cells) - np.maximum(pixel, cell)
    return (np.maximum(overlap, 0) * cells).astype(np.float32)


def split(assignment: np.ndarray, background: int | None) -> Found:
    """Loads [n,K,h,w] as shares of each location, one of them taken out as the background."""
    shares = assignment / np.maximum(assignment.sum(axis=1, keepdims=True), 1e-12)
    if background is None:
        return Found(shares)
    return Found(np.delete(shares, background, axis=1), shares[:, background])


def label_maps(found: Found, height: int, width: int) -> np.ndarray:
    """u16 [n,H,W]: maps upsampled bilinearly, then the greatest share wins; 0 is background, k + 1 part k."""
    maps = found.assignment
    if found.background is not None:
        maps = np.concatenate([found.background[:, None], maps], axis=1)
    labels = np.empty((len(maps), height, width), np.uint16)
    for start in range(0, len(maps), BLOCK):
        labels[start : start + BLOCK] = upsampled(maps[start : start + BLOCK], height, width).argmax(axis=1)
    return labels + np.uint16(found.background is None)


def upsampled(maps: np.ndarray, height: int, width: int) -> np.ndarray:
    """Maps [...,h,w] in pixels, f32 [...,H,W]: bilinear between the centres of cells, the edge repeated beyond.

    >>> upsampled(np.array([[0.0, 1.0]]), 1, 4).tolist()
    [[0.0, 0.25, 0.75, 1.0]]
    """
    rows, columns = _interpolation(maps.shape[-2], height), _interpolation(maps.shape[-1], width)
    return rows @ np.asarray(maps, np.float32) @ columns.T


def _interpolation(size: int, new: int) -> np.ndarray:
    """f32 [new,size]: linear interpolation between centres (i + 0.5) / size, constant beyond the outer."""
    place = np.clip((np.arange(new) + 0.5) * size / new - 0.5, 0, size - 1)
    return np.maximum(1 - np.abs(place[:, None] - np.arange(size)), 0).astype(np.float32)


def image_tables(found: Found, truth: PartTruth) -> np.ndarray:
    """int64 [n,T,K+1]: pixels of each image by true label and found label (column 0 is the background)."""
    refuse_small_parts(truth, found.assignment.shape[2:])
    labels = label_maps(found, *truth.part_mask.shape[1:])
    shape = truth.labels, found.assignment.shape[1] + 1
    return np.stack([contingency_table(mask, label, shape) for mask, label in zip(truth.part_mask, labels)])


def refuse_small_parts(truth: PartTruth, grid: tuple[int, ...]) -> None:
    """Raises where the median visible part covers under four cells of the grid, which cannot resolve it."""
    images, height, width = truth.part_mask.shape
    area = np.stack([(truth.part_mask == p).sum(axis=(1, 2)) for p in range(truth.first_part, truth.labels)])
    if not area.any():
        raise UserError(
            f"found no pixel of any part in {images} masks; expected labels from {truth.first_part} up"
        )
    cells = float(np.median(area[area > 0])) * grid[0] * grid[1] / (height * width)
    if cells < SMALLEST_PART:
        raise UserError(
            f"the median visible part covers {cells:.1f} cells of the {grid[0]}x{grid[1]} grid; "
            f"expected at least {SMALLEST_PART:g} (a finer grid)"
        )


def discovery_scores(
    counts: np.ndarray, train: Found, test: Found, train_truth: PartTruth, test_truth: PartTruth
) -> dict[str, float]:
    """Flat scores of one method, from the tables of `image_tables(test, test_truth)`.

    `nmi_`, `ari_`, `ami_` over `foreground` (true part pixels) and over `all` pixels (no object and body are
    true labels too); `keypoint_error` in per cent of the box side with inactive parts silenced,
    `keypoint_error_every_part` with all centroids; `iou_mean` and one `iou_` for each part, matched one to
    one; `iou_object` of all parts together against the whole object, where the method has a background.
    """
    table, first = counts.sum(axis=0), test_truth.first_part
    parts = range(first, test_truth.labels)
    scores = _agreement(table, first)
    placed = [_placed(found, truth) for found, truth in ((train, train_truth), (test, test_truth))]
    scores["keypoint_error"] = keypoint_error(*placed).mean
    scores["keypoint_error_every_part"] = keypoint_error(*(p._replace(active=None) for p in placed)).mean
    overlap = part_overlap(table, parts, range(1, table.shape[1]))
    names = test_truth.names or [f"part{i}" for i in range(len(parts))]
    scores |= {"iou_mean": overlap.mean} | {f"iou_{n}": float(v) for n, v in zip(names, overlap.iou)}
    if test.background is not None and first > 0:
        scores["iou_object"] = float(table[1:, 1:].sum() / max(table.sum() - table[0, 0], 1))
    return scores


def _agreement(table: np.ndarray, first_part: int) -> dict[str, float]:
    pools = {"foreground": table[first_part:], "all": table}
    return {f"{s}_{pool}": v for pool, t in pools.items() for s, v in clustering_scores(t).items()}


def resampled_scores(
    counts: np.ndarray, first_part: int, groups: np.ndarray, seed: int = 0, resamples: int = 200
) -> dict[str, np.ndarray]:
    """`{score: f64 [resamples]}`: the clustering scores of resampled groups of images.

    The same seed draws the same groups, so that the differences of two methods' draws are paired.
    """
    names, inverse = np.unique(groups, return_inverse=True)
    if len(names) < 2 or len(inverse) != len(counts):
        raise UserError(
            f"found {len(names)} groups for {len(counts)} images; expected one an image, two at least"
        )
    grouped = np.zeros((len(names), *counts.shape[1:]), np.int64)
    np.add.at(grouped, inverse, counts)
    drawn = np.random.default_rng(seed).integers(len(names), size=(resamples, len(names)))
    draws = [_agreement(grouped[index].sum(axis=0), first_part) for index in drawn]
    return {score: np.array([draw[score] for draw in draws]) for score in draws[0]}


def _placed(found: Found, truth: PartTruth) -> Placed:
    active = found.assignment.max(axis=(2, 3)) > ACTIVE
    return Placed(centroids(found.assignment), truth.keypoints, truth.visible, truth.box, active)


def centroids(assignment: np.ndarray) -> np.ndarray:
    """f64 [n,K,2]: mean (y, x) of each map [n,K,h,w]; the image's centre where the map is empty."""
    assignment = np.asarray(assignment, np.float64)
    height, width = assignment.shape[2:]
    mass = assignment.sum(axis=(2, 3))
    offset = [
        assignment.sum(axis=3) @ ((np.arange(height) + 0.5) / height - 0.5),
        assignment.sum(axis=2) @ ((np.arange(width) + 0.5) / width - 0.5),
    ]
    return 0.5 + np.stack(offset, axis=-1) / np.where(mass > 1e-6, mass, np.inf)[..., None]
