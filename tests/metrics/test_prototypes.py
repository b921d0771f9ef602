"""Consistency, stability and purity against loops over images as published, by hand, and where ours differ."""

from __future__ import annotations

import numpy as np
import pytest

from partrep import UserError
from partrep.metrics import prototypes as p


def drawn(n: int = 40, prototypes: int = 6, parts: int = 4, seed: int = 0):
    generator = np.random.default_rng(seed)
    visible = generator.random((n, parts)) < 0.6
    hit = (generator.random((n, prototypes, parts)) < generator.random((prototypes, parts))) & visible[:, None]
    labels = generator.integers(3, size=n)
    return hit, visible, labels, generator


def published_consistency(hit, visible, images, threshold=0.8) -> float:
    """One prototype after another, one part after another, as a loop."""
    verdicts = []
    for j in range(hit.shape[1]):
        rates = []
        for k in range(hit.shape[2]):
            seen = [hit[x, j, k] for x in range(len(hit)) if images[x, j] and visible[x, k]]
            rates.append(sum(seen) / max(len(seen), 1))
        verdicts.append(max(rates) >= threshold)
    return 100 * np.mean(verdicts)


def published_stability(hit, noisy, images) -> float:
    rates = []
    for j in range(hit.shape[1]):
        rates.append(np.mean([(hit[x, j] == noisy[x, j]).all() for x in range(len(hit)) if images[x, j]]))
    return 100 * np.mean(rates)


def test_hits_by_hand_with_edges_and_hidden_keypoints():
    places = np.array([[[0.5, 0.5], [0.0, 1.0]]])
    keypoints = np.array([[[0.25, 0.75], [0.5, 0.8125], [0.5, 0.5], [np.nan, np.nan]]])
    visible = np.array([[True, True, False, False]])
    assert p.hits(places, keypoints, visible, 0.25).tolist() == [[[True, False, False, False], [True, False, False, False]]]


def test_hits_do_not_depend_on_the_order():
    _, visible, _, generator = drawn()
    places, keypoints = generator.random((40, 6, 2)), generator.random((40, 4, 2))
    hit = p.hits(places, keypoints, visible, 0.2)
    turned = p.hits(places[:, ::-1], keypoints[:, [2, 0, 3, 1]], visible[:, [2, 0, 3, 1]], 0.2)
    assert np.array_equal(turned, hit[:, ::-1][:, :, [2, 0, 3, 1]]) and 0 < hit.mean() < 0.5


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_consistency_is_the_published_one(seed):
    hit, visible, labels, _ = drawn(seed=seed)
    images = p.own_class(labels, np.array([0, 0, 1, 1, 2, 2]))
    for threshold in (0.5, 0.8):
        score = p.consistency(hit, visible, images, threshold)
        assert score.percent == pytest.approx(published_consistency(hit, visible, images, threshold))


def test_consistency_by_hand_divides_by_the_images_where_the_part_is_visible():
    visible = np.array([[True, True], [True, False], [True, False], [True, False], [False, False]])
    hit = np.zeros((5, 1, 2), bool)
    hit[:3, 0, 0] = True
    hit[0, 0, 1] = True
    score = p.consistency(hit, visible)
    assert score.rate == pytest.approx([1.0])  # the second part, visible once
    assert p.consistency(hit, visible, least=2).rate == pytest.approx([0.75])
    assert (score.percent, p.consistency(hit, visible, least=2).percent) == (100.0, 0.0)


def test_hits_of_hidden_parts_and_of_other_images_do_not_count():
    visible = np.array([[False], [True], [True]])
    hit = np.ones((3, 1, 1), bool)
    images = np.array([[True], [False], [True]])
    assert p.consistency(hit, visible, images).rate == pytest.approx([1.0])
    hit[2] = False
    assert p.consistency(hit, visible, images).rate == pytest.approx([0.0])
    assert p.consistency(hit, visible, images).never_hit == 1.0


def test_prototypes_without_images_are_left_out():
    hit, visible, labels, _ = drawn()
    images = p.own_class(labels, np.array([0, 0, 1, 1, 2, 9]))
    score, part = p.consistency(hit, visible, images), p.consistency(hit[:, :5], visible, images[:, :5])
    assert score.percent == part.percent and score.scored.tolist() == [True] * 5 + [False]
    assert p.stability(hit, hit, images).percent == 100.0


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_stability_is_the_published_one_where_every_prototype_hits(seed):
    hit, visible, labels, generator = drawn(seed=seed)
    noisy = hit ^ ((generator.random(hit.shape) < 0.1) & visible[:, None])
    images = p.own_class(labels, np.array([0, 0, 1, 1, 2, 2]))
    score = p.stability(hit, noisy, images)
    assert score.never_hit == 0.0
    assert score.percent == pytest.approx(published_stability(hit, noisy, images))


def test_a_background_prototype_is_perfectly_stable_as_published_and_not_counted_here():
    hit, visible, _, generator = drawn()
    noisy = hit ^ ((generator.random(hit.shape) < 0.3) & visible[:, None])
    nothing = np.zeros((40, 6, 4), bool)
    images = np.ones((40, 12), bool)
    both, both_noisy = np.concatenate([hit, nothing], 1), np.concatenate([noisy, nothing], 1)
    alone, score = p.stability(hit, noisy), p.stability(both, both_noisy)
    assert published_stability(nothing, nothing, images) == 100.0
    assert 100 * score.rate.mean() == pytest.approx(published_stability(both, both_noisy, images))
    assert published_stability(both, both_noisy, images) == pytest.approx((alone.percent + 100) / 2)
    assert score.percent == pytest.approx(alone.percent) and score.never_hit == 0.5
    only = p.stability(nothing, nothing)
    assert np.isnan(only.percent) and np.isnan(only.percent_where_hit) and only.never_hit == 1.0


def test_background_prototypes_cannot_raise_consistency():
    hit, visible = np.ones((5, 1, 1), bool), np.ones((5, 1), bool)
    with_background = np.concatenate([hit, np.zeros((5, 3, 1), bool)], axis=1)
    assert p.consistency(hit, visible).percent == 100.0
    score = p.consistency(with_background, visible)
    assert (score.percent, score.never_hit) == (25.0, 0.75)


def test_stability_where_hit_leaves_out_images_without_a_hit():
    """Ten images: in one a hit stays, in one it goes, in one it comes, seven have none."""
    hit, noisy = np.zeros((2, 10, 1, 2), bool)
    hit[0, 0, 0] = noisy[0, 0, 0] = hit[1, 0, 1] = noisy[2, 0, 1] = True
    score = p.stability(hit, noisy)
    assert score.percent == pytest.approx(80.0) and score.percent_where_hit == pytest.approx(100 / 3)


def test_stability_needs_all_parts_alike():
    hit, noisy = np.zeros((2, 1, 1, 3), bool)
    hit[..., :2], noisy[..., 1:] = True, True
    assert p.stability(hit, noisy).percent == 0.0


def test_purity_is_a_loop_over_the_strongest_images():
    hit, visible, _, generator = drawn()
    scores = generator.random((40, 6))
    own = p.purity(hit, visible, scores, top=10)
    for j in range(6):
        best = sorted(range(40), key=lambda x: -scores[x, j])[:10]
        rates = [np.mean([hit[x, j, k] for x in best if visible[x, k]]) for k in range(4)]
        assert own.purity[j] == pytest.approx(max(rates)) and own.part[j] == int(np.argmax(rates))
    assert own.mean == pytest.approx(np.mean(own.purity)) and own.std == pytest.approx(np.std(own.purity))
    assert own.part_related == (own.purity > 0.5).sum()


def test_purity_of_equal_scores_takes_the_first_images_and_few_images_all():
    hit = np.array([True, True, False, False])[:, None, None]
    visible, scores = np.ones((4, 1), bool), np.ones((4, 1))
    assert p.purity(hit, visible, scores, top=2).purity.tolist() == [1.0]
    assert p.purity(hit, visible, scores, top=10).purity.tolist() == [0.5]


def test_purity_of_a_rare_part_can_be_refused():
    hit = np.zeros((4, 1, 2), bool)
    hit[0, 0, 0] = hit[:2, 0, 1] = True
    visible = np.array([[True, True], [False, True], [False, True], [False, True]])
    scores = np.ones((4, 1))
    assert p.purity(hit, visible, scores).purity.tolist() == [1.0]
    assert p.purity(hit, visible, scores, least=2).purity.tolist() == [0.5]
    assert p.purity(np.zeros_like(hit), visible, scores).purity.tolist() == [0.0]


def test_merged_parts_are_hit_or_visible_where_either_is():
    hit, visible, _, _ = drawn()
    merged, seen = p.merge_parts(hit, visible, [0, 1, 0, 2])
    assert np.array_equal(merged, np.stack([hit[..., 0] | hit[..., 2], hit[..., 1], hit[..., 3]], -1))
    assert np.array_equal(seen, np.stack([visible[:, 0] | visible[:, 2], visible[:, 1], visible[:, 3]], -1))


def test_mistakes_are_named():
    hit, visible, _, _ = drawn()
    with pytest.raises(UserError, match="no image for any of 6 prototypes"):
        p.consistency(hit, visible, np.zeros((40, 6), bool))
    with pytest.raises(UserError, match="top 0"):
        p.purity(hit, visible, np.ones((40, 6)), top=0)
    with pytest.raises(ValueError, match="hit_noisy has shape"):
        p.stability(hit, hit[:, :3])
