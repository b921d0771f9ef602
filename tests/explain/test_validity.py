"""Validity of scores: right, reversed and random scores; means over resampled classes; a study where truth is known."""

import numpy as np
import pytest
from scipy import stats

from partrep import UserError
from partrep.explain import validity
from partrep.explain.effects import Effects

RNG = np.random.default_rng(0)
TRUTH = RNG.uniform(-1, 1, size=(20, 6))
GROUPS = np.arange(20) // 2


def test_a_score_of_the_same_order_agrees_and_one_of_the_reverse_does_not():
    same = validity.agreement(np.exp(TRUTH), TRUTH, GROUPS)
    assert all(interval.mean == pytest.approx(1) for interval in same[:2])
    exact = validity.agreement(2 * TRUTH + 1, TRUTH, GROUPS)
    assert all(interval.mean == pytest.approx(1) and interval.low == pytest.approx(1) for interval in exact)
    reverse = validity.agreement(-TRUTH, TRUTH, GROUPS)
    assert all(interval.mean == pytest.approx(-1) for interval in reverse)


def test_agreement_per_image_and_of_the_means_equal_loops_by_hand():
    score = TRUTH + RNG.normal(size=TRUTH.shape)
    found = validity.agreement(score, TRUTH, GROUPS)
    rows = [(stats.spearmanr(a, b).statistic, stats.kendalltau(a, b).statistic) for a, b in zip(score, TRUTH)]
    assert (found.spearman.mean, found.kendall.mean) == pytest.approx(np.mean(rows, axis=0))
    means = score.mean(0), TRUTH.mean(0)
    assert found.pooled_spearman.mean == pytest.approx(stats.spearmanr(*means).statistic)
    assert found.pooled_kendall.mean == pytest.approx(stats.kendalltau(*means).statistic)
    for interval in found:
        assert interval.low <= interval.mean <= interval.high


def test_resampled_means_are_of_whole_groups():
    values, groups = RNG.normal(size=(7, 2, 3)), np.array([5, 5, 9, 9, 9, 0, 0])
    made = validity._resampled_means(values, groups, seed=3)
    drawn = np.random.default_rng(3).integers(3, size=(validity.RESAMPLES, 3))
    assert np.allclose(made[0], values.mean(0))
    for draw, got in zip(drawn[:5], made[1:]):
        taken = np.concatenate([values[groups == [0, 5, 9][g]] for g in draw])
        np.testing.assert_allclose(got, taken.mean(0))


def test_a_score_of_noise_is_at_chance():
    truth = RNG.normal(size=(400, 6))
    found = validity.agreement(RNG.normal(size=truth.shape), truth, np.arange(400) // 4)
    assert found.spearman.low < 0 < found.spearman.high and found.kendall.low < 0 < found.kendall.high


def test_lower_is_better_is_turned_round_and_the_best_comes_first():
    names = "abcdef"
    truth = {name: TRUTH[:, i] for i, name in enumerate(names)}
    scores = {
        name: {"kept/black": RNG.normal(size=20), "deletion/black": -values, "insertion/black": -values}
        for name, values in truth.items()
    }
    found = validity.compare(scores, truth, GROUPS)
    assert list(found) == ["deletion/black", "kept/black", "insertion/black"]
    assert found["deletion/black"].spearman.mean == pytest.approx(1)
    assert found["insertion/black"].spearman.mean == pytest.approx(-1)
    assert validity.table(found).splitlines()[1].split()[:2] == ["deletion/black", "1.00"]
    with pytest.raises(UserError, match="expected the same"):
        validity.compare(scores, {"a": TRUTH[:, 0]}, GROUPS)


def additive_effects(images, masks, worth):
    """Effects of a model whose logit is the sum of what the parts are worth, [n,6]."""
    n = len(images)
    subsets = np.stack([((np.arange(64)[:, None] >> np.arange(6)) % 2) @ w for w in worth])
    nothing = np.zeros((n, 6))
    labels = np.arange(n, dtype=np.int32) % 2
    return Effects(
        images=images, masks=masks, labels=labels, predicted=np.zeros(n, np.int32), rivals=np.ones(n, np.int32),
        classes=np.zeros((2, 6), int), subsets=subsets, swap=nothing,
        swapped=np.zeros((n, 1, 1, 3)), swapped_masks=np.zeros((n, 1, 1)),
        swapped_part=np.zeros(n, np.int32), remove=worth, hide=worth,
        alone=nothing > -1, background=np.zeros(n), recolour=nothing, ring=np.zeros(n), twin=subsets, extrapolated=False,
    )  # fmt: skip


def test_where_parts_add_up_removing_them_orders_explanations_as_the_truth():
    masks = np.repeat(np.arange(8)[:, None], 8, axis=1)[None].repeat(4, axis=0)  # row r is region r
    worth = np.stack([RNG.permutation([0.2, 0.5, 1.0, 1.5, 2.0, 3.0]) for _ in range(4)])
    images = np.ones((4, 8, 8, 3), np.float32)
    by_pixel = np.concatenate([np.zeros((4, 2)), worth], 1)[:, :, None].repeat(8, axis=2)
    images[..., 0] = by_pixel / 3.0  # the model reads red

    def predict(shown):
        logit = 3.0 * shown[..., 0].sum((1, 2)) / 8 - 4
        return np.stack([logit, np.zeros_like(logit)], 1)

    effects = additive_effects(images, masks, worth)
    shuffled = by_pixel.copy()
    shuffled[:, [2, 7]] = shuffled[:, [7, 2]]
    explanations = {"true": by_pixel, "worse": shuffled, "noise": RNG.uniform(size=(4, 8, 8)), "reverse": 3 - by_pixel}
    assert np.allclose(validity.correctness(effects, by_pixel), 1)
    assert np.allclose(validity.correctness(effects, -by_pixel), -1)
    found = validity.study(predict, effects, explanations, fills=["black"], steps=8)
    for name in ("deletion/black", "insertion/black", "difference/black"):
        assert found[name].pooled_spearman.mean == pytest.approx(1)
        assert found[name].spearman.mean > 0.9
    assert {"road", "energy", "pointing", "drop"} < set(found)
