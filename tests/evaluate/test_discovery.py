"""Part discovery scores: truth scores one, chance zero, upsampling as JAX does it, and the refusals."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from partrep import UserError
from partrep.discovery.maps import one_hot_maps
from partrep.evaluate import discovery
from partrep.evaluate.discovery import Found, PartTruth

PARTS, CELLS, SIDE = 3, 8, 16


def world(seed: int = 0, n: int = 12):
    """Images with three parts, blocks of 3x2 cells on a plain body; the mask is twice as fine as the grid."""
    generator = np.random.default_rng(seed)
    cells, keypoints = np.zeros((n, CELLS, CELLS), int), np.zeros((n, PARTS, 2))
    box = np.zeros((n, 4))
    for i in range(n):
        y, x = generator.integers(0, 5), generator.integers(0, 2)
        cells[i, y : y + 3, x : x + 6] = 1
        box[i] = np.array([y, x, y + 3, x + 6]) / CELLS
        for p in range(PARTS):
            cells[i, y : y + 3, x + 2 * p : x + 2 * p + 2] = 2 + p
            keypoints[i, p] = (y + 1.5) / CELLS, (x + 2 * p + 1) / CELLS
    mask = cells.repeat(2, axis=1).repeat(2, axis=2)
    return cells, PartTruth(mask, keypoints, np.ones((n, PARTS), bool), box, names=("a", "b", "c"))


def perfect(cells: np.ndarray) -> Found:
    return Found(one_hot_maps(cells, 5)[:, 2:], (cells < 2).astype(np.float32))


def score(method, train_world, test_world):
    return discovery.discovery_table({"x": method}, train_world[1], test_world[1])["x"]


def test_truth_scores_one():
    train, test = world(0), world(1)
    scores = score((perfect(train[0]), perfect(test[0])), train, test)
    for name in ("nmi", "ari", "ami"):
        assert scores[f"{name}_foreground"] == pytest.approx(1.0) and scores[f"{name}_all"] == pytest.approx(
            1.0
        )
    assert [scores[f"iou_{n}"] for n in ("a", "b", "c", "mean", "object")] == [1.0] * 5
    assert scores["keypoint_error"] == pytest.approx(0, abs=1e-6)
    assert scores["keypoint_error_every_part"] == pytest.approx(0, abs=1e-6)
    assert all(isinstance(value, float) for value in scores.values())


def test_numbering_of_parts_does_not_matter():
    train, test = world(0), world(1)
    noisy = [
        Found(f.assignment + 0.9 * np.random.default_rng(i).random(f.assignment.shape), f.background)
        for i, f in enumerate((perfect(train[0]), perfect(test[0])))
    ]
    turned = [Found(found.assignment[:, [2, 0, 1]], found.background) for found in noisy]
    assert score(turned, train, test) == pytest.approx(score(noisy, train, test))
    assert score(noisy, train, test)["ami_foreground"] < 1


def test_chance_scores_zero_and_less_than_truth():
    train, test = world(0, 40), world(1, 40)
    features = np.eye(5)[test[0]] + 0.1 * np.random.default_rng(0).normal(size=(40, CELLS, CELLS, 5))
    methods = discovery.baselines(features, features, perfect(test[0]))
    methods["model"] = perfect(train[0]), perfect(test[0])
    table = discovery.discovery_table(methods, train[1], test[1], groups=np.arange(40) % 8)
    assert set(table) == {"grid", "kmeans", "nmf", "random", "model"}
    assert abs(table["random"]["ami_foreground"]) < 0.05 and abs(table["random"]["ari_all"]) < 0.05
    assert table["kmeans"]["ami_foreground"] > 0.95 > table["grid"]["ami_foreground"]
    assert table["kmeans"]["iou_object"] > 0.8 and "iou_object" not in table["grid"]
    for scores in table.values():
        assert (
            scores["ami_all_low"] <= scores["ami_all"] + 0.02
            and scores["ami_all"] - 0.02 <= scores["ami_all_high"]
        )


def test_other_numbers_of_regions_are_refused():
    train, test = world(0), world(1)
    without = Found(perfect(test[0]).assignment)
    with pytest.raises(UserError, match="equal numbers of regions"):
        discovery.discovery_table(
            {"a": (perfect(train[0]), perfect(test[0])), "b": (without, without)}, train[1], test[1]
        )


def test_small_parts_are_refused():
    _, truth = world(0)
    coarse = np.ones((12, PARTS, 4, 4))
    with pytest.raises(UserError, match=r"covers 1\.5 cells of the 4x4 grid"):
        discovery.image_tables(Found(coarse), truth)
    with pytest.raises(UserError, match="no pixel of any part"):
        discovery.refuse_small_parts(truth._replace(part_mask=np.ones_like(truth.part_mask)), (8, 8))


@pytest.mark.parametrize("background", [True, False])
def test_label_maps_equal_bilinear_resizing(background):
    generator = np.random.default_rng(0)
    maps = generator.random((70, 4, 5, 6)).astype(np.float32)
    large = jax.image.resize(maps, (70, 4, 15, 21), "bilinear")
    found = Found(maps[:, 1:], maps[:, 0]) if background else Found(maps)
    labels = discovery.label_maps(found, 15, 21)
    assert (labels == np.asarray(large).argmax(axis=1) + (not background)).mean() > 0.999
    assert labels.dtype == np.uint16 and labels.min() == (not background)


def test_tables_count_every_pixel_once():
    cells, truth = world(0)
    tables = discovery.image_tables(perfect(cells), truth)
    assert tables.shape == (12, 5, 4) and (tables.sum(axis=(1, 2)) == SIDE**2).all()


def test_resampling_is_seeded_and_keeps_groups():
    cells, truth = world(0)
    noisy = perfect(cells)._replace(assignment=np.random.default_rng(0).random((12, PARTS, CELLS, CELLS)))
    tables = discovery.image_tables(noisy, truth)
    draws = [discovery.resampled_scores(tables, 2, np.arange(12) % 3, seed, 20) for seed in (0, 0, 1)]
    assert (draws[0]["ari_all"] == draws[1]["ari_all"]).all() and (
        draws[0]["ari_all"] != draws[2]["ari_all"]
    ).any()
    assert len(np.unique(draws[0]["ari_all"].round(12))) <= 10
    with pytest.raises(UserError, match="1 groups for 12 images"):
        discovery.resampled_scores(tables, 2, np.zeros(12))


def test_ceiling_is_the_truth_at_the_resolution_of_the_grid():
    cells, truth = world(0)
    found = discovery.ceiling(truth, CELLS, CELLS)
    np.testing.assert_allclose(found.assignment, perfect(cells).assignment, atol=1e-6)
    np.testing.assert_allclose(found.background, perfect(cells).background, atol=1e-6)
    uneven = discovery.ceiling(truth, 5, 3)
    share = (truth.part_mask == 2).mean(axis=(1, 2))
    np.testing.assert_allclose(uneven.assignment[:, 0].mean(axis=(1, 2)), share, atol=1e-6)


def test_centroids_by_hand():
    maps = np.zeros((1, 2, 2, 4))
    maps[0, 0, 1, 2:] = 1, 3
    np.testing.assert_allclose(discovery.centroids(maps)[0], [[0.75, 0.8125], [0.5, 0.5]])


def test_loads_become_shares():
    found = discovery.split(np.array([[[[2.0]], [[6.0]], [[0.0]]]]), 0)
    assert found.assignment.ravel().tolist() == [0.75, 0.0] and found.background.ravel().tolist() == [0.25]
    assert np.isfinite(discovery.split(np.zeros((1, 2, 1, 1)), None).assignment).all() and found.regions == 3
