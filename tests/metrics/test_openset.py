"""Open-set metrics against loops over pairs and thresholds, ties among them."""

import itertools

import numpy as np
import pytest

from partrep import UserError
from partrep.metrics.openset import aupr, auroc, fpr_at_tpr, known_threshold, macro_f1, openness, oscr

RNG = np.random.default_rng(0)
FEW = [RNG.integers(0, 5, 40) + 1.0, RNG.integers(0, 5, 27).astype(float)]  # many ties
MANY = [RNG.normal(0.5, 1, 40), RNG.normal(0, 1, 27)]
CASES = pytest.mark.parametrize("known, unknown", [FEW, MANY, ([1.0], [1.0]), ([2.0, np.inf], [-np.inf])])
RIGHT = RNG.integers(0, 4, 40) > 0


def points(known, unknown, positive):
    """(true positive rate, false positive rate, precision) at every threshold, the strictest first."""
    sign = 1 if positive == "known" else -1
    good, bad = (sign * np.asarray(x, float) for x in ((known, unknown) if sign > 0 else (unknown, known)))
    for threshold in sorted({*good, *bad}, reverse=True):
        true, false = sum(good >= threshold), sum(bad >= threshold)
        yield true / len(good), false / len(bad), true / (true + false)


@CASES
def test_auroc_is_the_share_of_pairs_in_order(known, unknown):
    pairs = [(a > b) + (a == b) / 2 for a, b in itertools.product(known, unknown)]
    assert auroc(known, unknown) == pytest.approx(np.mean(pairs), abs=1e-12)


@CASES
def test_auroc_of_the_two_orders_sums_to_one(known, unknown):
    assert auroc(known, unknown) + auroc(unknown, known) == pytest.approx(1)
    assert auroc(-np.asarray(unknown), -np.asarray(known)) == pytest.approx(auroc(known, unknown))


@CASES
@pytest.mark.parametrize("positive", ["known", "unknown"])
def test_aupr_and_fpr_are_those_of_a_loop_over_thresholds(known, unknown, positive):
    found = list(points(known, unknown, positive))
    recalls = [0.0, *(true for true, _, _ in found)]
    area = sum((after - before) * p for before, after, (_, _, p) in zip(recalls, recalls[1:], found))
    assert aupr(known, unknown, positive) == pytest.approx(area, abs=1e-12)
    for rate in (0.3, 0.95, 1.0):
        first = next(false for true, false, _ in found if true >= rate - 1e-12)
        assert fpr_at_tpr(known, unknown, positive, rate) == first


def oscr_by_thresholds(known, right, unknown):
    known, unknown = np.asarray(known), np.asarray(unknown)
    found = [(0.0, 0.0)] + [
        (np.sum((known >= t) & right) / len(known), np.mean(unknown >= t))
        for t in sorted({*known, *unknown}, reverse=True)
    ]
    return sum((b[1] - a[1]) * (a[0] + b[0]) / 2 for a, b in itertools.pairwise(found))


def oscr_as_published(known, right, unknown):
    """The convention of the public code: every image its own cut, the known image at it out, the unknown one in."""
    scores = np.concatenate([known, unknown])
    order = scores.argsort(kind="stable")
    hit = np.concatenate([right, np.zeros(len(unknown), bool)])[order]
    other = np.concatenate([np.zeros(len(known), bool), np.ones(len(unknown), bool)])[order]
    found = [(0.0, 0.0), (1.0, 1.0)]
    for cut in range(len(scores) - 1):
        found.append((hit[cut + 1 :].sum() / len(known), other[cut:].sum() / len(unknown)))
    found.sort(key=lambda point: (point[1], point[0]), reverse=True)
    return sum((a[1] - b[1]) * (a[0] + b[0]) / 2 for a, b in itertools.pairwise(found))


@pytest.mark.parametrize("known, unknown", [FEW, MANY])
def test_oscr_is_that_of_a_loop_over_thresholds(known, unknown):
    assert oscr(known, RIGHT, unknown) == pytest.approx(oscr_by_thresholds(known, RIGHT, unknown), abs=1e-12)


@pytest.mark.parametrize("known, unknown", [FEW, MANY])
def test_oscr_is_at_most_the_accuracy_and_auroc_where_all_are_right(known, unknown):
    assert oscr(known, np.ones(40, bool), unknown) == pytest.approx(auroc(known, unknown))
    assert oscr(known, np.zeros(40, bool), unknown) == 0
    assert oscr(known, RIGHT, unknown) <= RIGHT.mean()


def test_the_published_convention_of_oscr_is_near_without_ties():
    known, unknown = RNG.normal(1, 1, 400), RNG.normal(0, 1, 300)
    right = RNG.uniform(size=400) < 0.9
    ours, published = oscr(known, right, unknown), oscr_as_published(known, right, unknown)
    assert ours - 2 / 400 < published <= ours + 1e-3


@pytest.mark.parametrize("known, unknown", [FEW, MANY])
def test_only_the_order_counts(known, unknown):
    def everything(known, unknown):
        sides = [(f, p) for f in (aupr, fpr_at_tpr) for p in ("known", "unknown")]
        return [auroc(known, unknown), oscr(known, RIGHT, unknown), *(f(known, unknown, p) for f, p in sides)]

    mixed = RNG.permutation(40), RNG.permutation(27)
    moved = everything(np.exp(known) - 3, np.exp(unknown) - 3)
    assert moved == everything(known, unknown)
    assert everything(known[mixed[0]], unknown[mixed[1]])[0] == moved[0]


def test_by_hand():
    # 2 > 1, 2 > 0, 1 = 1, 1 > 0: 3.5 of 4 pairs.
    assert auroc([2.0, 1.0], [1.0, 0.0]) == 3.5 / 4
    # Known first: 1 of 1, then 2 of 3. Unknown first: 1 of 1, then 2 of 3.
    assert aupr([2.0, 1.0], [1.0, 0.0], "known") == pytest.approx(0.5 + 0.5 * 2 / 3)
    assert fpr_at_tpr(np.arange(1, 101), [5.0, 6.0], "known") == 0.5  # 95 of 100 are at or over 6
    assert fpr_at_tpr([0.0, 1.0, 9.0], np.arange(20), "unknown") == 1.0


def test_all_alike_is_chance():
    assert auroc(np.ones(3), np.ones(5)) == 0.5
    assert aupr(np.ones(3), np.ones(5), "known") == pytest.approx(3 / 8)
    assert fpr_at_tpr(np.ones(3), np.ones(5), "unknown") == 1
    assert oscr(np.ones(4), [True, True, True, False], np.ones(5)) == pytest.approx(3 / 8)


def test_the_threshold_keeps_the_share_it_is_asked_for():
    scores = RNG.normal(size=200)
    threshold = known_threshold(scores)
    assert np.mean(scores >= threshold) == 0.95 and threshold in scores
    assert known_threshold(scores, 1.0) == scores.min()
    assert known_threshold([2.0, 2.0, 2.0, 1.0], 0.75) == 2.0


@pytest.mark.parametrize("dtype", [int, float, np.uint8])
def test_right_may_be_told_by_0_and_1(dtype):
    assert oscr(FEW[0], RIGHT.astype(dtype), FEW[1]) == oscr(FEW[0], RIGHT, FEW[1])


@pytest.mark.parametrize("dtype", [float, np.uint64])
def test_whole_numbers_of_any_type_are_classes(dtype):
    predicted, labels = np.array([0, 1, 0], dtype), np.array([0, 1, 2], dtype)
    assert macro_f1(predicted, labels, [3.0, 2.0, 0.0], 1.0, 2) == 1


def f1_loop(answers, labels, classes):
    found = []
    for c in range(classes + 1):
        true = sum(a == c == y for a, y in zip(answers, labels))
        wrong, missed = sum(answers == c) - true, sum(labels == c) - true
        if true + wrong + missed:
            precision, recall = true / max(true + wrong, 1), true / max(true + missed, 1)
            found.append(2 * precision * recall / (precision + recall) if true else 0.0)
    return np.mean(found)


def test_macro_f1_is_the_mean_of_harmonic_means():
    labels, predicted, scores = RNG.integers(0, 4, 80), RNG.integers(0, 3, 80), RNG.integers(0, 6, 80)
    predicted = np.where(RNG.uniform(size=80) < 0.7, np.minimum(labels, 2), predicted)
    for threshold in (-1, 2, 3, 9):
        answers = np.where(scores >= threshold, predicted, 3)
        found = macro_f1(predicted, labels, scores, threshold, classes=3)
        assert found == pytest.approx(f1_loop(answers, labels, 3), abs=1e-12)


def test_openness():
    assert openness(6, 10) == pytest.approx(1 - (12 / 16) ** 0.5)
    assert openness(4, 14, 4) == openness(4, 14)
    assert openness(3, 3) == openness(10, 15, 5) == 0


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: auroc([], [1.0]), r"known scores have shape \(0,\)"),
        (lambda: auroc([[1.0]], [1.0]), r"shape \(1, 1\)"),
        (lambda: oscr([1.0], [True], [np.nan]), "1 of the unknown scores are NaN"),
        (lambda: aupr([1.0], [0.0], "ood"), "positive is 'ood'; expected known or unknown"),
        (lambda: fpr_at_tpr([1.0], [0.0], "known", 0.0), "tpr is 0.0"),
        (lambda: known_threshold([1.0], 95), "tpr is 95"),
        (lambda: oscr([1.0, 2.0], [True], [0.0]), r"expected \(2,\)"),
        (lambda: macro_f1([0, 2], [0, 1], [1.0, 1.0], 0.0, 2), "predicted from 0 to 2; expected 0 to 1"),
        (lambda: macro_f1([0], [0, 1], [1.0, 1.0], 0.0, 2), "expected the same"),
        (lambda: oscr([1.0, 2.0], [1, 3], [0.0]), "correct has 3 among its values; expected bool, or 0 and 1"),
        (lambda: oscr([1.0, 2.0], [1, np.nan], [0.0]), "correct has nan"),
        (lambda: macro_f1([0, 0.5], [0, 1], [1.0, 1.0], 0.0, 2), "predicted with 0.5 among them; expected integers"),
        (lambda: macro_f1([0, 1], [0, np.nan], [1.0, 1.0], 0.0, 2), "labels with nan among them"),
        (lambda: macro_f1([0, 1], [0, 1], [1.0, np.nan], 0.0, 2), "1 of the image scores are NaN"),
        (lambda: macro_f1([0, 1], [0, 1], [1.0, 1.0], np.nan, 2), "threshold is NaN; expected a number"),
        (lambda: openness(6, 4), "expected test >= target"),
        (lambda: openness(10, 5, 5), r"5 test, 5 target classes; .* test \+ target >= 2 \* training"),
    ],
)
def test_mistakes(call, message):
    with pytest.raises(UserError, match=message):
        call()
