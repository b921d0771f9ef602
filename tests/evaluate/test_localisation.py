"""Maps against marked regions: what is chosen on validation, what is scored on test, and maps that know nothing."""

from __future__ import annotations

import numpy as np
import pytest

from partrep.data.photos import BACKGROUND, IGNORED, OBJECT
from partrep.data.view_truth import ViewTruth
from partrep.evaluate import localisation
from partrep.evaluate.discovery import Found
from partrep.evaluate.localisation import Choice, LinearCam, box_mask, centre, localisation_table, noise, targets_of

CELLS, SIDE = 8, 16


def world(n: int = 6, seed: int = 0):
    """An animal of 4x6 cells of which the left two columns are the head; and parts: rest, head, ground."""
    rng = np.random.default_rng(seed)
    cells, boxes = np.full((n, CELLS, CELLS), 2), np.full((n, 4), np.nan)
    for i in range(n):
        y, x = rng.integers(0, 4), rng.integers(0, 2)
        cells[i, y : y + 4, x : x + 6], cells[i, y : y + 4, x : x + 2] = 0, 1
        boxes[i] = np.array([y, x, y + 4, x + 2]) / CELLS
    masks = np.where(cells < 2, OBJECT, BACKGROUND).astype(np.uint8).repeat(2, 1).repeat(2, 2)
    truth = ViewTruth(boxes, np.zeros((n, 0, 2)), np.zeros((n, 0), bool), masks, "head")
    return Found((cells[:, None] == np.arange(3)[:, None, None]).astype(np.float32)), truth


def test_the_true_parts_are_chosen_and_score_high():
    (found, truth), (other, unseen) = world(), world(5, seed=1)
    table = localisation_table({"x": (found, other)}, targets_of(truth, SIDE), targets_of(unseen, SIDE))["x"]
    assert table.choices["head"].parts == (1,) and sorted(table.choices["object"].parts) == [0, 1]
    assert table.scores["head_pointing"] == (1, 1, 1) and table.scores["object_pointing"].mean == 1
    assert table.scores["head_iou_hard"].mean == pytest.approx(1) and table.scores["object_iou_hard"].mean == 1
    assert table.scores["object_energy"].mean > 0.9 and table.scores["head_iou"].mean > 0.6  # bilinear edges


def test_test_photos_choose_nothing():
    """Maps whose parts are exchanged in the test photos are scored with the part that the validation photos chose."""
    found, truth = world()
    swapped = Found(found.assignment[:, [1, 0, 2]])
    target = targets_of(truth, SIDE)
    scores = localisation_table({"x": (found, swapped)}, target, target)["x"].scores
    assert scores["head_pointing"].mean == 0 and scores["head_iou_hard"].mean == 0
    assert scores["object_iou_hard"].mean == 1  # the set of both is the same


def test_undecided_pixels_count_nowhere():
    found, truth = world()
    wrong = truth.masks.copy()
    wrong[:, ::2] = np.where(wrong[:, ::2] == OBJECT, BACKGROUND, OBJECT)  # every other row is a lie
    wrong[:, ::2] = IGNORED
    target = targets_of(truth._replace(masks=wrong), SIDE)["object"]
    scores = localisation.scores_of(found, Choice((0, 1), 0.5), target)
    assert (scores["iou_hard"] == 1).all() and (scores["pointing"] == 1).all()


def test_photos_without_a_region_are_left_out_and_too_few_give_no_score():
    found, truth = world()
    boxes = truth.boxes.copy()
    boxes[2:] = np.nan
    boxes[1] += 1.0  # cut off by the view
    few = targets_of(truth._replace(boxes=boxes), SIDE)
    assert few["head"].known.tolist() == [True] + [False] * 5
    full = targets_of(truth, SIDE)
    table = localisation_table({"x": (found, found)}, full, few)["x"]
    assert set(table.choices) == {"object"} and not any(name.startswith("head") for name in table.scores)
    none = truth._replace(boxes=np.full_like(boxes, np.nan), masks=np.full_like(truth.masks, IGNORED))
    assert targets_of(none, SIDE) == {}


def test_a_box_is_the_object_where_there_is_no_mask():
    _, truth = world()
    found = targets_of(truth._replace(masks=None, boxed="object"), SIDE)
    assert list(found) == ["object"] and found["object"].several
    np.testing.assert_array_equal(found["object"].inside[0], box_mask(truth.boxes[0], SIDE))
    assert targets_of(truth, SIDE)["head"].several is False


def test_the_best_threshold_is_chosen():
    hill = centre(4, (CELLS, CELLS))
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE + 0.5 / SIDE - 0.5
    disc = np.broadcast_to(y**2 + x**2 < 0.09, (4, SIDE, SIDE))
    target = localisation.Target(disc, np.zeros_like(disc), True)
    chosen = localisation.choose(hill, target)
    assert chosen.parts == (0,) and chosen.threshold == pytest.approx(np.exp(-8 * 0.09), abs=0.1)
    assert localisation.scores_of(hill, chosen, target)["iou"].min() > 0.8


def test_noise_points_at_chance_and_repeats():
    _, truth = world(400)
    found, again = (noise(400, 2, (CELLS, CELLS), seed=3) for _ in range(2))
    np.testing.assert_array_equal(found.assignment, again.assignment)
    scores = localisation.scores_of(found, Choice((0,), 0.5), targets_of(truth, SIDE)["object"])
    area = 24 / CELLS**2
    assert scores["energy"].mean() == pytest.approx(area, abs=0.03)
    assert scores["pointing"].mean() == pytest.approx(area, abs=0.08)


@pytest.mark.parametrize("classes", [2, 3])
def test_the_map_of_a_linear_classifier_sums_to_its_logit(classes):
    rng = np.random.default_rng(0)
    labels = np.arange(30) % classes
    features = rng.normal(size=(30, 3, 4, 5)).astype(np.float32) + np.eye(classes, 5)[labels][:, None, None] * 3
    linear = LinearCam(features.mean((1, 2)), labels + 4)
    maps = linear(features).assignment
    assert maps.shape == (30, 1, 3, 4)
    scores = linear.fitted.decision_function(features.mean((1, 2))).reshape(30, -1)
    own = np.abs(scores[:, 0]) if classes == 2 else scores.max(1)  # the predicted class is the greatest
    taken_off = own - maps.mean((1, 2, 3))
    predicted = linear.fitted.predict(features.mean((1, 2)))
    for c in np.unique(predicted):  # the bias and the mean are the same number for all photos of a class
        assert np.ptp(taken_off[predicted == c]) < 1e-4
