"""The official Omniglot within-alphabet one-shot runs: each test drawing alone among twenty drawings."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import numpy as np
from jax.tree_util import Partial

from partrep import UserError
from partrep.evaluate.fewshot import Head
from partrep.metrics.intervals import Interval, bootstrap_interval
from partrep.models.local import Local


def predict_runs(runs: Sequence, embed: Callable[[np.ndarray], Local], head: Head) -> np.ndarray:
    """int [R,T]: the training drawing each test drawing of each run is given to, every one judged by itself.

    The head meets one query at a time, so that it cannot share out the classes among the test drawings of a
    run.

    Args:
        runs: R runs with `train` [T,H,W,1] and `test` [T,H,W,1], as `partrep.data.runs.OneShotRuns` yields
            them.
        embed: images [n,H,W,1] of the runs' dtype -> `Local` with a leading axis n, in evaluation mode;
            called once.
        head: `(support [T,1,r,..], query [1,r,..], support_mask [T,1]) -> logits [1,T]`.
    """
    trials = {len(images) for run in runs for images in (run.train, run.test)}
    if len(trials) != 1:
        raise UserError(
            f"found runs of {sorted(trials)} drawings; expected at least one run, all of one length"
        )
    count = trials.pop()
    images = np.concatenate([images for run in runs for images in (run.train, run.test)])
    local = jax.tree.map(lambda x: x.reshape(len(runs), 2, count, *x.shape[1:]), embed(images))
    head = head if isinstance(head, Partial) else Partial(head)
    logits = np.asarray(_logits(local, head))
    if np.isnan(logits).any():
        raise FloatingPointError("logits of the one-shot runs hold values that are not numbers")
    return logits.argmax(axis=-1)


@jax.jit
def _logits(local: Local, head: Partial) -> jax.Array:
    def one_run(run: Local) -> jax.Array:
        support = jax.tree.map(lambda x: x[0][:, None], run)
        queries = jax.tree.map(lambda x: x[1][:, None], run)
        mask = jax.numpy.ones(support.weights.shape[:2], bool)
        return jax.lax.map(lambda query: head(support, query, mask)[0], queries, batch_size=1)

    return jax.lax.map(one_run, local)


def score_runs(predicted: np.ndarray, runs: Sequence, seed: int = 0) -> dict[str, float]:
    """Error rates in per cent, as a flat table.

    `oneshot_error` is the mean over all trials of all runs; `_low` and `_high` bound it by bootstrap over
    alphabets (left out with one alphabet); `_sd_runs` is the standard deviation of the runs' errors (n - 1
    below); then one error for each run and alphabet. Whoever calls this counts the official evaluation in
    `provenance`.

    Args:
        predicted: int [R,T] of `predict_runs`, or of any other method.
        runs: with `truth` int [T], `number` and `alphabet`.
        seed: of the bootstrap.

    Example:
        >>> from types import SimpleNamespace as Run
        >>> runs = [Run(truth=np.array([0, 1]), number=1, alphabet="Tibetan")]
        >>> score_runs(np.array([[0, 0]]), runs)["oneshot_error"]
        50.0
    """
    truth = np.stack([np.asarray(run.truth) for run in runs])
    if predicted.shape != truth.shape:
        raise UserError(f"found predictions of shape {predicted.shape} for answers of shape {truth.shape}")
    wrong = 100.0 * (predicted != truth)
    by_run, alphabets = wrong.mean(axis=1), np.array([run.alphabet for run in runs])
    scores = {"oneshot_error": float(wrong.mean()), "oneshot_trials": float(wrong.size)}
    if interval := _over_alphabets(wrong, runs, seed):
        scores |= {"oneshot_error_low": interval.low, "oneshot_error_high": interval.high}
    if len(runs) > 1:
        scores["oneshot_error_sd_runs"] = float(by_run.std(ddof=1))
    scores |= {f"oneshot_error_run{run.number:02d}": float(error) for run, error in zip(runs, by_run)}
    for name in dict.fromkeys(alphabets.tolist()):
        scores[f"oneshot_error_{name}"] = float(by_run[alphabets == name].mean())
    return scores


def error_difference(first: np.ndarray, second: np.ndarray, runs: Sequence, seed: int = 0) -> Interval | None:
    """Error of the first predictions minus that of the second in percentage points, trial by trial.

    The interval is by bootstrap over alphabets; None with one alphabet. Arguments as for `score_runs`.

    >>> from types import SimpleNamespace as Run
    >>> runs = [Run(truth=np.array([0, 1]), number=n, alphabet=str(n)) for n in (1, 2)]
    >>> error_difference(np.array([[0, 0], [0, 1]]), np.array([[0, 1], [0, 1]]), runs).mean
    25.0
    """
    truth = np.stack([np.asarray(run.truth) for run in runs])
    return _over_alphabets(100.0 * ((first != truth).astype(float) - (second != truth)), runs, seed)


def _over_alphabets(values: np.ndarray, runs: Sequence, seed: int) -> Interval | None:
    """Mean of the values [R,T] of all trials, its interval by bootstrap over alphabets; None with one alphabet."""
    alphabets = np.array([run.alphabet for run in runs])
    if len(set(alphabets)) == 1:
        return None
    return bootstrap_interval(values.ravel(), np.repeat(alphabets, values.shape[1]), seed)
