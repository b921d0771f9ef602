"""Scores of a classifier by name: worked by hand, in batches as at once, and what a model does not admit."""

from __future__ import annotations

import numpy as np
import pytest

from partrep import UserError
from partrep.evaluate.classification import METRICS, Answers, chosen, gathered, scores
from partrep.metrics.intervals import bootstrap_interval, share_interval
from partrep.metrics.reliance import reliance

NAMES = tuple("abcdefg")


def test_a_table_by_hand():
    predicted, labels = [0, 1, 1, 1, 2], np.array([0, 0, 0, 1, 1])
    logits = np.eye(7)[predicted] + np.arange(7) / -100.0
    found = scores(Answers(logits, labels, NAMES), ("accuracy", "mean_per_class_accuracy", "top5_accuracy"))
    assert found["accuracy"] == 0.4 and found["mean_per_class_accuracy"] == pytest.approx((1 / 3 + 1 / 2) / 2)
    assert found["top5_accuracy"] == 1.0 and found["accuracy_low"] < 0.4 < found["accuracy_high"]
    listed = scores(Answers(logits, labels, NAMES), ("per_class_accuracy", "confusion_pairs"))
    assert listed == {
        "class/a/accuracy": pytest.approx(1 / 3),
        "class/b/accuracy": 0.5,
        "confusion/a/b": 2.0,
        "confusion/b/c": 1.0,
    }
    only = Answers(logits[:3], labels[:3], NAMES)
    assert scores(only, ["mean_per_class_accuracy"]) == {"mean_per_class_accuracy": pytest.approx(1 / 3)}


def test_the_interval_of_a_share_is_that_of_the_bootstrap_over_images():
    right = np.arange(40) % 4 > 0
    for ours, theirs in zip(share_interval(right), bootstrap_interval(right, np.arange(40))):
        assert ours == pytest.approx(theirs, abs=0.026)  # one image of forty
    assert share_interval([1, 1]) == (1.0, 1.0, 1.0)
    with pytest.raises(UserError, match="other than zero and one"):
        share_interval([0.5])


def test_batches_without_their_padding_give_what_all_images_at_once_give():
    random = np.random.default_rng(0)
    contributions, labels = random.normal(size=(10, 3, 7)), random.integers(7, size=10)
    logits = contributions.sum(1)

    def answer(batch):
        u = contributions[batch["index"]]
        own = np.take_along_axis(u, u.sum(1).argmax(1)[:, None, None], 2)[..., 0]
        return {"logits": u.sum(1), "own": own, "total": u[batch["valid"]].sum(0)}

    indices = [np.arange(4), np.arange(4, 8), np.array([8, 9, 9, 9])]
    valid = [np.ones(4, bool), np.ones(4, bool), np.arange(4) < 2]
    batches = [{"index": i, "label": labels[i], "valid": v} for i, v in zip(indices, valid)]
    found = gathered(answer, batches, NAMES)
    np.testing.assert_array_equal(found.logits, logits)
    made = scores(found, list(METRICS))
    assert [made[f"parts/{k}/reliance"] for k in range(3)] == pytest.approx(reliance(contributions, np.zeros(7)))
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert made["negative_log_likelihood"] == pytest.approx(-np.log(p[np.arange(10), labels]).mean())
    doubled = scores(gathered(answer, batches, NAMES, lambda z: z / 2), ["accuracy", "negative_log_likelihood"])
    assert doubled["accuracy"] == made["accuracy"]
    assert doubled["negative_log_likelihood"] < made["negative_log_likelihood"]


def test_what_a_model_does_not_admit_is_left_out_or_refused():
    assert set(METRICS) - set(chosen((), 3, 1, True)) == {"top5_accuracy", "reliance"}
    assert chosen(("brier", "accuracy"), 9, 4, True) == ("brier", "accuracy")
    with pytest.raises(UserError, match="unknown metric 'f1'; known: accuracy, brier"):
        chosen(("f1",), 9, 4, True)
    with pytest.raises(UserError, match="no top5_accuracy: the model has 5 classes"):
        chosen(("top5_accuracy",), 5, 4, True)
    with pytest.raises(UserError, match="no sum over parts"):
        chosen(("reliance",), 9, 4, False)
