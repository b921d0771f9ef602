"""Scores of being known against their formulas, what they are worth, and which part is unknown."""

import numpy as np
import pytest

from partrep.evaluate.openmax import fit
from partrep.evaluate.openset import METRICS, known_scores, measure_all, most_unknown_part, part_of_each
from partrep.metrics.openset import aupr, auroc, fpr_at_tpr, oscr

RNG = np.random.default_rng(0)
LABELS = np.arange(60) % 3
LOGITS = 5 * np.eye(3)[LABELS] + RNG.normal(size=(60, 3))
MODEL = fit(LOGITS, LABELS, tail=5)


def test_scores_by_their_formulas():
    scores = known_scores(LOGITS, MODEL, alpha=2)
    probability = np.exp(LOGITS) / np.exp(LOGITS).sum(1, keepdims=True)
    np.testing.assert_allclose(np.exp(scores["maximum_probability"]), probability.max(1))
    np.testing.assert_allclose(scores["energy"], np.log(np.exp(LOGITS).sum(1)))
    np.testing.assert_array_equal(scores["maximum_logit"], LOGITS.max(1))
    np.testing.assert_array_equal(scores["openmax"], -MODEL.probabilities(LOGITS, 2)[:, -1])


def test_a_probability_of_nearly_one_still_has_an_order():
    scores = known_scores(np.array([[50.0, 0.0, 0.0], [60.0, 0.0, 0.0]]), MODEL)["maximum_probability"]
    assert scores[0] < scores[1] < 0
    assert np.isfinite(known_scores(np.array([[1e6, -1e6, 0.0]]), MODEL)["energy"]).all()


def test_every_score_is_measured_for_every_kind():
    unknown = {"far": RNG.normal(size=(30, 3)), "near": 4 * RNG.uniform(size=(20, 3))}
    logits = {"validation": LOGITS[:20], "known": LOGITS[20:]}
    table = measure_all(logits, unknown, LABELS[20:], MODEL, alpha=2)
    assert set(table) == set(known_scores(LOGITS, MODEL))
    known, others = (known_scores(x, MODEL, 2)["energy"] for x in (LOGITS[20:], unknown["near"]))
    found = table["energy"]["near"]
    assert tuple(found) == METRICS
    assert found["auroc"] == auroc(known, others) and found["aupr_unknown"] == aupr(known, others, "unknown")
    assert found["fpr95_known"] == fpr_at_tpr(known, others, "known")
    assert found["oscr"] == oscr(known, LOGITS[20:].argmax(1) == LABELS[20:], others)
    assert 0 < found["macro_f1"] <= 1


def test_the_threshold_of_macro_f1_is_of_the_validation_images():
    logits = {"validation": LOGITS[:20], "known": LOGITS[20:]}
    strict = {**logits, "validation": 100 * LOGITS[:20]}
    found = [measure_all(x, {"all": -9 * np.ones((9, 3))}, LABELS[20:], MODEL, 2)["maximum_logit"]["all"] for x in (logits, strict)]
    assert found[0]["macro_f1"] > 0.8 and found[1]["auroc"] == found[0]["auroc"]
    # All are taken for unknown: 9 of 49 rightly.
    assert found[1]["macro_f1"] == pytest.approx(2 * 9 / (49 + 9) / 4)


def test_the_most_unknown_part_is_relative_to_what_it_costs_in_known_images():
    known = np.stack([RNG.normal(10, 5, 500), RNG.normal(1, 0.1, 500)], 1)
    assert most_unknown_part(np.array([[14.0, 1.0], [14.0, 2.0], [30.0, 1.0]]), known).tolist() == [0, 1, 0]
    assert most_unknown_part(np.array([[1.0, 1.1]]), np.ones((5, 2))).tolist() == [1]


def test_a_model_part_is_the_true_part_it_mostly_covers():
    part_mask = np.zeros((2, 4, 4), int)
    part_mask[:, :2], part_mask[:, 2:, 2:], part_mask[:, 2:, :2] = 2, 4, 1
    assignment = np.zeros((2, 3, 2, 2))
    assignment[:, 0, 0], assignment[:, 1, 1, 1] = 1.0, 1.0
    assignment[:, 2] = [[0.2, 0.2], [1.0, 0.5]]  # mostly on the body, which is no part
    assert part_of_each(assignment, part_mask, 3).tolist() == [0, 2, 2]
