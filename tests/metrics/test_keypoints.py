"""Keypoint regression: exact on linear worlds, against scikit-learn, and what it must not depend on."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression
from sklearn.preprocessing import StandardScaler

from partrep import UserError
from partrep.metrics.keypoints import Placed, keypoint_error

PARTS, LANDMARKS = 3, 4


def world(seed: int = 0, n: int = 60, noise: float = 0.0) -> Placed:
    """Landmarks that are an affine function of the centroids, in coordinates of the box."""
    maps = np.random.default_rng(9).normal(size=(PARTS * 2, LANDMARKS * 2))
    generator = np.random.default_rng(seed)
    inside = generator.random((n, PARTS, 2))
    landmarks = (inside.reshape(n, -1) @ maps + 0.3).reshape(n, LANDMARKS, 2)
    landmarks = landmarks + noise * generator.normal(size=landmarks.shape)
    corner, side = generator.random((n, 2)), 0.2 + generator.random((n, 2))
    visible = generator.random((n, LANDMARKS)) < 0.7
    place = [corner[:, None] + side[:, None] * points for points in (inside, landmarks)]
    return Placed(*place, visible, np.concatenate([corner, corner + side], axis=1))


def test_exact_where_landmarks_are_affine_in_the_centroids():
    error = keypoint_error(world(0), world(1))
    assert error.mean < 1e-8 and (error.percent < 1e-8).all()
    assert (error.images == world(1).visible.sum(axis=0)).all()


@pytest.mark.parametrize("all_active", [True, False])
def test_equals_scikit_learn(all_active):
    train, test = world(0, noise=0.3), world(1, noise=0.3)
    active = [np.random.default_rng(i).random((60, PARTS)) < 0.8 for i in (5, 6)]
    if not all_active:
        train, test = train._replace(active=active[0]), test._replace(active=active[1])
    errors = []
    for p in range(LANDMARKS):
        sets = []
        for placed, on in zip((train, test), active):
            kept, corner = placed.visible[:, p], placed.box[:, None, :2]
            side = placed.box[:, None, 2:] - corner
            inputs = ((placed.centroid - corner) / side).reshape(60, -1)[kept]
            outputs = ((placed.keypoints - corner) / side)[kept, p]
            sets.append((inputs, outputs, np.repeat(on[kept], 2, axis=1) | all_active))
        scale_in, scale_out = StandardScaler().fit(sets[0][0]), StandardScaler().fit(sets[0][1])
        fit = LinearRegression(fit_intercept=False)
        fit.fit(scale_in.transform(sets[0][0]) * sets[0][2], scale_out.transform(sets[0][1]))
        guess = scale_out.inverse_transform(fit.predict(scale_in.transform(sets[1][0]) * sets[1][2]))
        errors += list(100 * np.linalg.norm(guess - sets[1][1], axis=1))
    assert keypoint_error(train, test).mean == pytest.approx(np.mean(errors), rel=1e-9)


def test_constant_centroids_give_the_spread_about_the_mean():
    """The centre of the box as the only part: 100 E|landmark - mean|, by hand on two training images."""
    box = np.tile([0.0, 0.0, 1.0, 2.0], (2, 1))
    centre = np.tile([[[0.5, 1.0]]], (2, 1, 1))
    landmark = np.array([[[0.2, 0.4]], [[0.4, 0.4]]])
    placed = Placed(centre, landmark, np.ones((2, 1), bool), box)
    assert keypoint_error(placed, placed).mean == pytest.approx(10.0)


def test_invisible_landmarks_and_the_order_of_parts_do_not_matter():
    train, test = world(0, noise=0.2), world(1, noise=0.2)
    expected = keypoint_error(train, test).percent
    hidden = [
        p._replace(keypoints=np.where(p.visible[..., None], p.keypoints, np.nan)) for p in (train, test)
    ]
    np.testing.assert_allclose(keypoint_error(*hidden).percent, expected)
    permuted = [p._replace(centroid=p.centroid[:, ::-1]) for p in (train, test)]
    np.testing.assert_allclose(keypoint_error(*permuted).percent, expected, rtol=1e-9)


def test_a_landmark_that_is_never_visible_is_left_out():
    train, test = world(0, noise=0.2), world(1, noise=0.2)
    train.visible[:, 1] = False
    error = keypoint_error(train, test)
    assert np.isnan(error.percent[1]) and error.images[1] == 0 and np.isfinite(error.mean)


def test_refusals():
    train, test = world(0), world(1)
    with pytest.raises(UserError, match="expected the same"):
        keypoint_error(train, test._replace(centroid=test.centroid[:, :1]))
    with pytest.raises(UserError, match="no landmark"):
        keypoint_error(train, test._replace(visible=np.zeros_like(test.visible)))
    with pytest.raises(UserError, match="empty boxes"):
        keypoint_error(train, test._replace(box=np.zeros((60, 4))))
