"""Modified Hausdorff: two points by hand, brute force, and the known score of the official runs."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from partrep import UserError
from partrep.evaluate import hausdorff, oneshot


def test_two_points_by_hand():
    """a: both nearest points are 0 and 3 away, mean 1.5; b: 0 and 4, mean 2."""
    first, second = np.array([[0.0, 0.0], [0.0, 3.0]]), np.array([[0.0, 0.0], [4.0, 0.0]])
    assert hausdorff.modified_hausdorff(first, second) == 2.0


def test_equals_brute_force_and_is_symmetric():
    generator = np.random.default_rng(0)
    first, second = generator.normal(size=(30, 2)), generator.normal(size=(17, 2))
    distance = cdist(first, second)
    expected = max(distance.min(axis=1).mean(), distance.min(axis=0).mean())
    assert hausdorff.modified_hausdorff(first, second) == pytest.approx(expected, rel=1e-12)
    assert hausdorff.modified_hausdorff(second, first) == hausdorff.modified_hausdorff(first, second)
    assert hausdorff.modified_hausdorff(first, first[::-1]) == 0.0


def test_ink_points_are_centred_so_shifts_do_not_matter():
    image = np.full((9, 9), 255, np.uint8)
    image[2, 3] = image[4, 7] = 0
    np.testing.assert_array_equal(hausdorff.ink_points(image), [[-1, -2], [1, 2]])
    shifted = np.roll(image, (1, -2), axis=(0, 1))[..., None]
    np.testing.assert_array_equal(hausdorff.ink_points(shifted), hausdorff.ink_points(image))


def test_refuses_a_blank_drawing():
    with pytest.raises(UserError, match="0 ink pixels"):
        hausdorff.ink_points(np.full((5, 5), 255))


def test_official_runs_score_38_per_cent(shared):
    from partrep.data.runs import OneShotRuns

    path = shared / "data" / "omniglot" / "runs01-10.zip"
    if not path.exists():
        pytest.skip("needs ../shared/data/omniglot/runs01-10.zip")
    runs = OneShotRuns(path)
    scores = oneshot.score_runs(hausdorff.predict_runs_by_hausdorff(runs), runs)
    assert scores["oneshot_error"] == 38.0 and scores["oneshot_trials"] == 200.0
