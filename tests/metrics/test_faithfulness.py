"""Faithfulness of maps: by hand, trivial maps, the best of all orders on a linear model, exact areas."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from partrep import UserError
from partrep.metrics import faithfulness as f


def test_drop_gain_and_increase_by_hand():
    original, masked = [0.5, 0.8, 0.2, 1.0, 0.0], [0.25, 0.9, 0.2, 1.0, 0.5]
    assert f.average_drop(original, masked) == pytest.approx(100 * 0.5 / 5)
    assert f.average_gain(original, masked) == pytest.approx(100 * (0.1 / 0.2 + 0.5) / 5)
    assert f.average_increase(original, masked) == pytest.approx(40.0)


def test_a_mask_of_ones_drops_gains_and_increases_nothing():
    probability = np.random.default_rng(0).random(20)
    for metric in (f.average_drop, f.average_gain, f.average_increase):
        assert metric(probability, probability) == 0.0


def test_drop_and_gain_mirror_each_other():
    original, masked = np.random.default_rng(1).random((2, 30))
    assert f.average_drop(original, masked) == pytest.approx(f.average_gain(1 - original, 1 - masked))


def test_probabilities_of_nought_and_one_give_numbers():
    assert f.average_drop([0.0, 0.0], [0.0, 1.0]) == 0.0
    assert f.average_gain([1.0, 1.0], [0.0, 1.0]) == 0.0


def test_area_is_that_of_trapezoids():
    scores = np.random.default_rng(2).random((4, 9))
    assert f.curve_area(scores) == pytest.approx(np.trapezoid(scores, dx=1 / 8, axis=1))
    assert f.curve_area(np.linspace(0, 1, 7)[None] ** 1) == pytest.approx([0.5])


def deletion_curve(terms: np.ndarray, order) -> np.ndarray:
    return np.concatenate([[terms.sum()], terms.sum() - np.cumsum(terms[list(order)])])


def test_on_a_linear_model_the_true_order_is_best_of_all_orders():
    terms = np.array([0.3, 0.0, 1.2, 0.7, 0.05, 0.4])
    orders = list(itertools.permutations(range(6)))
    deletion = np.array([deletion_curve(terms, order) for order in orders])
    insertion = terms.sum() - deletion
    scores = f.insertion_deletion(insertion, deletion)
    true = orders.index(tuple(np.argsort(-terms)))
    assert scores.deletion[true] == scores.deletion.min() and (scores.deletion == scores.deletion[true]).sum() == 1
    assert scores.insertion[true] == scores.insertion.max()
    assert scores.difference[true] == scores.difference.max()
    assert scores.deletion[orders.index(tuple(np.argsort(terms)))] == scores.deletion.max()


def test_ignored_pixels_are_in_no_count():
    """Whatever they hold, and whatever the mask says of them: scores are those of the images without these columns."""
    rng = np.random.default_rng(0)
    maps, mask = rng.normal(size=(5, 6, 8)), rng.random((5, 6, 8)) < 0.4
    ignored = np.zeros((5, 6, 8), bool)
    ignored[..., 5:] = True
    maps[..., 5:] *= 50.0
    left = maps[..., :5], mask[..., :5]
    assert np.array_equal(f.pointing_game(maps, mask, ignored=ignored), f.pointing_game(*left))
    assert f.energy_inside(maps, mask, ignored) == pytest.approx(f.energy_inside(*left))
    assert f.threshold_iou(maps, mask, [0.3, 0.6], ignored) == pytest.approx(f.threshold_iou(*left, [0.3, 0.6]))
    assert f.mask_iou(maps > 0, mask, ignored) == pytest.approx(f.mask_iou(left[0] > 0, left[1]))
    everything = np.ones_like(ignored)
    for scores in (f.pointing_game(maps, mask, 2.0, everything), f.energy_inside(maps, mask, everything)):
        assert not scores.any()


def test_a_flat_map_points_and_overlaps_as_its_area():
    mask = np.zeros((1, 4, 5), bool)
    mask[0, :2, :2] = True
    flat = np.full((1, 4, 5), 0.7)
    assert f.pointing_game(flat + 1e-9 * np.arange(5), mask) == pytest.approx([0.2])  # a difference of rounding
    assert f.threshold_iou(flat, mask, [0.5, 1.0]).tolist() == [[0.2, 0.2]]
    assert f.pointing_game(flat, mask, tolerance=1.0) == pytest.approx([8 / 20])  # the square and four pixels beside


def test_overlap_of_a_cut_map_by_hand():
    maps, mask = np.array([[[4.0, 2.0, 1.0, -9.0]]]), np.array([[[True, True, False, False]]])
    assert f.threshold_iou(maps, mask, [1.0, 0.5, 0.25, 0.01]).tolist() == [[0.5, 1.0, 2 / 3, 2 / 3]]
    assert f.threshold_iou(-np.abs(maps), mask, [0.5]).tolist() == [[0.0]]  # nothing above zero is no region
    assert f.threshold_iou(maps * 7, mask, [0.5]) == f.threshold_iou(maps, mask, [0.5])
    assert f.mask_iou(~mask, mask).tolist() == [0.0] and f.mask_iou(mask & False, mask & False).tolist() == [0.0]
    for wrong in (0.0, 1.5, np.nan):
        with pytest.raises(UserError, match="expected shares of the maximum"):
            f.threshold_iou(maps, mask, [wrong])


def test_pointing_by_hand():
    maps = np.zeros((3, 5, 5))
    maps[0, 2, 2] = maps[1, 0, 0] = maps[1, 4, 4] = maps[2, 4, 0] = 1.0
    mask = np.zeros((3, 5, 5), bool)
    mask[0, 2, 2] = mask[1, 4, 4] = mask[2, 1, 4] = True
    assert f.pointing_game(maps, mask).tolist() == [1, 0.5, 0]  # one of two that are as strong
    assert f.pointing_game(maps, mask, tolerance=4.99).tolist() == [1, 0.5, 0]
    assert f.pointing_game(maps, mask, tolerance=5).tolist() == [1, 0.5, 1]  # 3, 4, 5
    assert not f.pointing_game(maps, np.zeros_like(mask), tolerance=9).any()


def test_energy_by_hand_and_of_trivial_maps():
    mask = np.zeros((1, 4, 4), bool)
    mask[0, :2, :2] = True
    assert f.energy_inside(np.ones((1, 4, 4)), mask) == pytest.approx([0.25])
    assert f.energy_inside(mask * 2.0, mask) == pytest.approx([1.0])
    assert f.energy_inside(-np.ones((1, 4, 4)), mask) == pytest.approx([0.0])
    assert f.energy_inside(np.where(mask, 1.0, -7.0), mask) == pytest.approx([1.0])


def test_relevance_is_a_count_among_the_strongest():
    generator = np.random.default_rng(3)
    maps, mask = generator.normal(size=(5, 6, 7)), generator.random((5, 6, 7)) < 0.4
    own = f.mask_relevance(maps, mask, share=0.25)
    for saliency, inside, value in zip(maps, mask, own):
        best = np.argsort(-saliency.ravel())[:11]  # 10.5 pixels, halves go up
        assert value == pytest.approx(inside.ravel()[best].mean())
    assert f.mask_relevance(maps, mask, share=1.0) == pytest.approx(mask.mean(axis=(1, 2)))


@pytest.mark.parametrize("share,count", [(1e-6, 1), (0.1, 2), (0.5, 10), (0.524, 10), (0.525, 11), (1.0, 20)])
def test_areas_are_exact_even_of_constant_and_repeated_maps(share, count):
    generator = np.random.default_rng(4)
    maps = np.stack([np.zeros((4, 5)), generator.integers(3, size=(4, 5)), generator.normal(size=(4, 5))])
    top = f.top_area_mask(maps, share)
    assert top.sum(axis=(1, 2)).tolist() == [count] * 3
    assert top[0].ravel().tolist() == [True] * count + [False] * (20 - count)
    for saliency, chosen in zip(maps[1:], top[1:]):
        assert chosen.all() or saliency[chosen].min() >= saliency[~chosen].max()


def test_equal_pixels_are_taken_in_reading_order_in_large_maps():
    maps = np.random.default_rng(7).integers(2, size=(2, 40, 40)).astype(float)
    for saliency, chosen in zip(maps, f.top_area_mask(maps, 0.8)):
        low = chosen.ravel()[saliency.ravel() == 0]
        assert 0 < low.sum() < len(low) and low[: low.sum()].all()


def test_matched_masks_have_the_other_areas_and_the_strongest_pixels():
    generator = np.random.default_rng(5)
    maps, masks = generator.normal(size=(6, 5, 5)), generator.random((6, 5, 5)) < np.linspace(0, 1, 6)[:, None, None]
    matched = f.at_matched_area(maps, masks)
    assert np.array_equal(matched.sum(axis=(1, 2)), masks.sum(axis=(1, 2)))
    assert not matched[0].any() and matched[5].all()
    assert all(m[c].min() > m[~c].max() for m, c in zip(maps[1:5], matched[1:5]))
    assert np.array_equal(f.at_matched_area(masks * 1.0, masks), masks)


def test_maps_count_by_their_order_alone():
    generator = np.random.default_rng(6)
    maps, mask = generator.normal(size=(4, 5, 5)), generator.random((4, 5, 5)) < 0.5
    other = np.exp(3 * maps) - 100
    assert np.array_equal(f.top_area_mask(maps, 0.3), f.top_area_mask(other, 0.3))
    assert np.array_equal(f.pointing_game(maps, mask, 1.0), f.pointing_game(other, mask, 1.0))


def test_mistakes_are_named():
    with pytest.raises(UserError, match=r"outside \[0, 1\]"):
        f.average_drop([0.5], [1.5])
    with pytest.raises(UserError, match=r"outside \[0, 1\]"):
        f.average_gain([np.nan], [0.5])
    with pytest.raises(UserError, match="found 1 scores"):
        f.curve_area([[0.5]])
    with pytest.raises(UserError, match="share 0"):
        f.top_area_mask(np.ones((1, 2, 2)), 0.0)
    with pytest.raises(UserError, match="not finite"):
        f.energy_inside(np.full((1, 2, 2), np.nan), np.ones((1, 2, 2)))
    with pytest.raises(ValueError, match="mask has shape"):
        f.pointing_game(np.ones((1, 2, 2)), np.ones((1, 2, 3)))
