"""One-shot runs: errors by hand, each test drawing judged alone, the interval over alphabets."""

from __future__ import annotations

from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest

from partrep import UserError
from partrep.evaluate import fewshot, oneshot
from partrep.models.local import Local

TRIALS = 4


def make_runs(count: int = 4, noise: float = 0.4) -> list[SimpleNamespace]:
    generator, runs = np.random.default_rng(0), []
    for i in range(count):
        train = generator.random((TRIALS, 3, 3, 1))
        truth = generator.permutation(TRIALS)
        test = train[truth] + noise * generator.random((TRIALS, 3, 3, 1))
        runs.append(SimpleNamespace(train=train, test=test, truth=truth, number=i + 1, alphabet="ab"[i // 2]))
    return runs


def embed(images) -> Local:
    count = len(images)
    vectors = jnp.asarray(images, jnp.float32).reshape(count, 3, 3)
    return Local(vectors, jnp.ones((count, 3)), jnp.zeros((count, 3, 2)))


def test_predictions_equal_a_loop():
    runs = make_runs()
    predicted = oneshot.predict_runs(runs, embed, fewshot.nearest_neighbour)
    for run, row in zip(runs, predicted):
        distance = ((run.test[:, None] - run.train[None]) ** 2).sum(axis=(2, 3, 4))
        assert (row == distance.argmin(axis=1)).all()


def test_a_copied_drawing_is_always_found():
    runs = make_runs(noise=0.0)
    predicted = oneshot.predict_runs(runs, embed, fewshot.nearest_neighbour)
    assert oneshot.score_runs(predicted, runs)["oneshot_error"] == 0.0


def test_each_test_drawing_is_alone():
    """The head sees one query; other test drawings put in their place change nothing."""
    seen = []

    def head(support, query, support_mask):
        seen.append((support.vectors.shape, query.vectors.shape, support_mask.shape))
        return fewshot.nearest_neighbour(support, query, support_mask)

    runs = make_runs()
    before = oneshot.predict_runs(runs, embed, head)
    for run in runs:
        run.test[1:] = run.test[0]
    after = oneshot.predict_runs(runs, embed, head)
    assert set(seen) == {((TRIALS, 1, 3, 3), (1, 3, 3), (TRIALS, 1))}
    assert (before[:, 0] == after[:, 0]).all()


def test_scores_by_hand():
    runs = make_runs()
    predicted = np.stack([run.truth for run in runs])
    predicted[0, :2] = -1
    predicted[2, 0] = -1
    scores = oneshot.score_runs(predicted, runs)
    assert scores["oneshot_error"] == pytest.approx(100 * 3 / 16) and scores["oneshot_trials"] == 16
    assert scores["oneshot_error_run01"] == 50.0 and scores["oneshot_error_run03"] == 25.0
    assert scores["oneshot_error_a"] == 25.0 and scores["oneshot_error_b"] == 12.5
    assert scores["oneshot_error_sd_runs"] == pytest.approx(np.std([50, 0, 25, 0], ddof=1))
    assert (scores["oneshot_error_low"], scores["oneshot_error_high"]) == (12.5, 25.0)
    assert all(isinstance(value, float) for value in scores.values())


def test_one_run_has_no_interval():
    runs = make_runs(1)
    scores = oneshot.score_runs(np.stack([run.truth for run in runs]), runs)
    assert "oneshot_error_low" not in scores and "oneshot_error_sd_runs" not in scores


def test_refusals():
    runs = make_runs(2)
    with pytest.raises(UserError, match="shape"):
        oneshot.score_runs(np.zeros((2, 3), int), runs)
    with pytest.raises(UserError, match="at least one run"):
        oneshot.predict_runs([], embed, fewshot.nearest_neighbour)
    runs[0].test = runs[0].test[:3]
    with pytest.raises(UserError, match="one length"):
        oneshot.predict_runs(runs, embed, fewshot.nearest_neighbour)
    with pytest.raises(FloatingPointError):
        oneshot.predict_runs(make_runs(2), lambda x: embed(x * np.nan), fewshot.nearest_neighbour)
