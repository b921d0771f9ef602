"""The revisited protocol on rankings made by hand, and against a loop that follows its text."""

from __future__ import annotations

import numpy as np
import pytest

from partrep import UserError
from partrep.metrics.revisited import revisited_scores, revisited_values

RNG = np.random.default_rng(0)


def one(ranks, easy=(), hard=(), junk=(), k=(1, 5, 10)):
    return revisited_scores([ranks], [{"easy": easy, "hard": hard, "junk": junk}], k)


def oracle(ranks, positive, junk, ks):
    """Walks down a list without its junk and adds up trapezoids of the precision-recall curve."""
    kept = [photo for photo in ranks if photo not in junk]
    area, found, precision = 0.0, 0, 1.0
    for rank, photo in enumerate(kept):
        if photo in positive:
            precision = found / rank if rank else 1.0
            found += 1
            area += (precision + found / (rank + 1)) / 2 / len(positive)
    last = max(rank + 1 for rank, photo in enumerate(kept) if photo in positive)
    return [area] + [sum(photo in positive for photo in kept[: min(k, last)]) / min(k, last) for k in ks]


@pytest.mark.parametrize("density", [0.1, 0.3, 0.9])
def test_against_a_walk_down_the_list(density):
    queries, photos, ks = 20, 40, (1, 5, 10)
    ranks = np.argsort(RNG.random((queries, photos)), axis=1)
    kinds = RNG.choice(4, size=(queries, photos), p=[1 - density, *[density / 3] * 3])
    truth = [{name: np.flatnonzero(row == i + 1) for i, name in enumerate(("easy", "hard", "junk"))} for row in kinds]
    found = revisited_values(ranks, truth, ks)
    settings = {"easy": ([1], [2, 3]), "medium": ([1, 2], [3]), "hard": ([2], [1, 3])}
    for setting, (good, bad) in settings.items():
        got = np.stack([found[f"{setting}/{name}"] for name in ("map", "mp@1", "mp@5", "mp@10")], axis=1)
        for row, order, kind in zip(got, ranks, kinds):
            positive, junk = set(np.flatnonzero(np.isin(kind, good))), set(np.flatnonzero(np.isin(kind, bad)))
            if positive:
                np.testing.assert_allclose(row, oracle(order, positive, junk, ks), atol=1e-12)
            else:
                assert np.isnan(row).all()
        scores = revisited_scores(ranks, truth, ks)
        assert scores[f"{setting}/map"] == pytest.approx(np.nanmean(got[:, 0]))
        assert scores[f"{setting}/mp@10"] == pytest.approx(np.nanmean(got[:, 3]))
        assert scores[f"{setting}/queries"] == np.isfinite(got[:, 0]).sum()


def test_trapezoids_by_hand():
    # Positives at ranks 0 and 2: (1 + 1) / 4 + (1/2 + 2/3) / 4.
    assert one([4, 7, 5, 6], easy=[4, 5])["easy/map"] == pytest.approx(0.5 + 7 / 24)
    # The only positive at rank 1: (0 + 1/2) / 2, not the 1/2 of the usual average precision.
    assert one([7, 4], easy=[4])["easy/map"] == 0.25


def test_junk_moves_positives_up():
    plain, junk = one([8, 3, 9, 4], easy=[3, 4]), one([8, 3, 9, 4], easy=[3, 4], junk=[8, 9])
    assert plain["easy/map"] < junk["easy/map"] == junk["easy/mp@1"] == junk["medium/map"] == 1


def test_hard_photos_are_junk_to_easy_and_the_other_way_round():
    scores = one([2, 1, 3], easy=[1], hard=[2])
    assert scores["easy/map"] == scores["hard/map"] == scores["medium/map"] == 1
    scores = one([3, 2, 1], easy=[1], hard=[2])
    assert scores["easy/map"] == scores["hard/map"] == 0.25
    assert scores["medium/map"] == pytest.approx((0 + 1 / 2 + 1 / 2 + 2 / 3) / 4)


def test_precision_stops_at_the_last_positive():
    # Both positives in the first three: of ten places only three count.
    scores = one([1, 9, 2, *range(10, 20)], easy=[1, 2])
    assert scores["easy/mp@10"] == scores["easy/mp@5"] == pytest.approx(2 / 3) and scores["easy/mp@1"] == 1


def test_queries_without_positives_are_skipped():
    truth = [{"easy": [0], "hard": [], "junk": []}, {"easy": [], "hard": [], "junk": [1]}]
    scores = revisited_scores([[1, 0], [0, 1]], truth)
    assert scores["easy/map"] == scores["medium/map"] == 0.25 and scores["easy/queries"] == 1
    assert np.isnan(scores["hard/map"]) and scores["hard/queries"] == 0


def test_positives_beyond_a_short_list_add_nothing():
    short, long = one([1, 5, 6], easy=[1, 2]), one([1, 5, 6, 7, 8, 9, 2], easy=[1, 2])
    assert short["easy/map"] == 0.5 < long["easy/map"] and short["easy/mp@5"] == 1
    none = one([5, 6], easy=[1])
    assert none["easy/map"] == none["easy/mp@1"] == none["easy/mp@10"] == 0


@pytest.mark.parametrize(
    "ranks, truth, k, message",
    [
        ([[0, 1]], [], (1,), r"shape \(1, 2\) .* expected ints \[0,n\]"),
        ([[0.0, 1.0]], [{}], (1,), "type float64"),
        ([[1, 1]], [{}], (1,), "ranked twice"),
        ([[0, 1]], [{"easy": [], "junk": []}], (1,), "query 0 has no list 'hard'"),
        ([[0, 1]], [{"easy": [], "hard": [], "junk": []}], (0,), r"ranks \[0\]"),
    ],
)
def test_mistakes(ranks, truth, k, message):
    with pytest.raises(UserError, match=message):
        revisited_scores(ranks, truth, k)
