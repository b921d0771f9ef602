"""Stroke scores: each drawing by itself, by hand and against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import adjusted_mutual_info_score, adjusted_rand_score

from partrep import UserError
from partrep.data.omniglot import Omniglot
from partrep.discovery import DISCOVERY
from partrep.discovery.maps import one_hot_maps
from partrep.evaluate.discovery import Found
from partrep.evaluate.strokes import stroke_difference, stroke_scores

GENERATOR = np.random.default_rng(0)


def drawings(n: int = 6) -> np.ndarray:
    """Drawing i has 1 + i % 3 horizontal strokes on every second row of 8x8."""
    strokes = np.zeros((n, 8, 8), np.uint8)
    for i in range(n):
        for s in range(1 + i % 3):
            strokes[i, 2 * s] = s + 1
    return strokes


def test_true_strokes_score_one_whatever_their_numbers():
    strokes = drawings()
    parts = strokes.astype(int)
    parts[1] = (parts[1] + 2) % 4
    scores = stroke_scores(Found(one_hot_maps(parts, 4)), strokes)
    assert scores.drawings.tolist() == [1, 2, 4, 5]
    for values in (scores.nmi, scores.ari, scores.ami):
        np.testing.assert_allclose(values, 1.0)
    assert scores.means()["stroke_ami"] == pytest.approx(1.0) and scores.means()["stroke_drawings"] == 4.0


def test_equal_to_scikit_learn_over_the_ink_of_each_drawing():
    strokes, parts = drawings(), GENERATOR.integers(5, size=(6, 8, 8))
    scores = stroke_scores(Found(one_hot_maps(parts, 5)[:, 1:], one_hot_maps(parts, 5)[:, 0]), strokes)
    for row, i in enumerate(scores.drawings):
        ink = strokes[i] > 0
        pair = strokes[i][ink], parts[i][ink]
        assert scores.ari[row] == pytest.approx(adjusted_rand_score(*pair))
        assert scores.ami[row] == pytest.approx(adjusted_mutual_info_score(*pair))


def test_one_part_scores_zero_and_groups_give_an_interval():
    scores = stroke_scores(Found(np.ones((6, 1, 4, 4))), drawings())
    means = scores.means(groups=np.array([0, 0, 1, 1, 2, 2]))
    assert means["stroke_ami"] == means["stroke_ami_low"] == means["stroke_ari_high"] == 0.0


def test_differences_are_paired_by_drawing():
    strokes = drawings()
    good = stroke_scores(Found(one_hot_maps(strokes.astype(int), 4)), strokes)
    none = stroke_scores(Found(np.ones((6, 1, 4, 4))), strokes)
    assert stroke_difference(good, none, np.arange(6)) == pytest.approx((1.0, 1.0, 1.0))
    with pytest.raises(UserError, match="the same ones"):
        stroke_difference(good, stroke_scores(Found(np.ones((3, 1, 4, 4))), strokes[:3]), np.arange(6))


def test_real_drawings_between_chance_and_their_own_strokes(shared):
    folder = shared / "data" / "omniglot"
    if not (folder / "strokes_background_small1.zip").exists():
        pytest.skip("needs ../shared/data/omniglot/strokes_background_small1.zip")
    source = Omniglot(folder, "small1")
    strokes = np.stack([source.stroke_mask(i) for i in range(0, 200, 8)])
    own = np.stack([strokes == s for s in range(1, strokes.max() + 1)], axis=1).astype(np.float32)
    coarse = own.reshape(len(strokes), -1, 15, 7, 15, 7).mean(axis=(3, 5))
    features = np.zeros((len(strokes), 15, 15, 1))
    ami = {name: stroke_scores(Found(DISCOVERY[name](features, 8, 0)(features)), strokes).ami.mean()
           for name in ("random", "grid")}  # fmt: skip
    assert 0 < ami["random"] < ami["grid"] < 0.7 < stroke_scores(Found(coarse), strokes).ami.mean()


def test_refusals():
    with pytest.raises(UserError, match="no drawing of two strokes"):
        stroke_scores(Found(np.ones((1, 2, 4, 4))), drawings(1))
    with pytest.raises(UserError, match="6 stroke masks for maps of 2"):
        stroke_scores(Found(np.ones((2, 2, 4, 4))), drawings())
