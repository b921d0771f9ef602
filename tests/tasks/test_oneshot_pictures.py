"""The drawn trials of the official runs: which ones, and that their numbers are those of the prediction."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from partrep.evaluate.oneshot import predict_runs
from partrep.evaluate.readers import CHOICES, PAIR_PARTS
from partrep.evaluate.views import averaged
from partrep.models.local import Local
from partrep.tasks.oneshot_pictures import Matching, contributions, pictures, spread_out

PARTS, WIDTH, VIEWS = 3, 4, 2


def _embed(images: np.ndarray) -> Local:
    """Vectors that are a function of each image's first pixel: a direction for each part and view, and noise."""
    number = images[:, 0, 0, 0].astype(int)
    vectors = np.stack([np.random.default_rng(n % 50).normal(size=(VIEWS * PARTS, WIDTH)) for n in number])
    noise = np.stack([np.random.default_rng(n).normal(size=(VIEWS * PARTS, WIDTH)) for n in number])
    weights = np.stack([np.random.default_rng(100 + n).uniform(0.2, 1, VIEWS * PARTS) for n in number])
    positions = jnp.full((len(images), VIEWS * PARTS, 2), 0.5)
    return Local(jnp.asarray(vectors + 3 * noise, jnp.float32), jnp.asarray(weights, jnp.float32), positions)


def _maps(images: np.ndarray) -> dict:
    return {"image": images / 255.0, "assignment": np.ones((len(images), PARTS, 2, 2)) / PARTS}


def _run(number: int, count: int = 6) -> SimpleNamespace:
    first = 10 * number + np.arange(count)
    train, test = (np.tile((base)[:, None, None, None], (1, 8, 8, 1)).astype(np.uint8) for base in (first, first + 50))
    return SimpleNamespace(train=train, test=test, truth=np.arange(count), number=number, alphabet="Old_Norse")


def _matching(name: str) -> Matching:
    return Matching(_embed, _maps, CHOICES[name], CHOICES[name].keywords if name in PAIR_PARTS else None, VIEWS)


@pytest.mark.parametrize("name", [*PAIR_PARTS, "mutual"])
def test_contributions_sum_to_the_logits_averaged_over_the_views(name):
    run = _run(1)
    local = _embed(np.concatenate([run.train, run.test[2:3]]))
    support, query = jax.tree.map(lambda x: x[:-1, None], local), jax.tree.map(lambda x: x[-1:], local)
    logits = averaged(CHOICES[name], VIEWS)(support, query, jnp.ones((6, 1), bool))[0]
    found, summed = contributions(local, _matching(name))
    np.testing.assert_allclose(summed, logits, rtol=1e-5, atol=1e-5)
    if name == "mutual":  # it pairs no parts
        assert found is None
    else:
        assert found.shape == (6, PARTS)
        np.testing.assert_allclose(found.sum(-1), logits, rtol=1e-5, atol=1e-5)


def test_the_pictures_show_the_predictions_that_were_scored():
    runs, matching = [_run(1), _run(2)], _matching("aligned")
    predicted = predict_runs(runs, _embed, averaged(matching.head, VIEWS))
    right, wrong = pictures(runs, predicted, matching, most=20)
    assert len(right) + len(wrong) == 12 and min(len(right), len(wrong)) > 0
    for number, picture in enumerate((*right, *wrong)):
        run = int(picture.title[4:6]) - 1
        trial = int(picture.title.rsplit(" ", 1)[1]) - 1
        assert picture.predicted == predicted[run, trial] and picture.label == trial
        assert (picture.predicted == picture.label) == (number < len(right))
        np.testing.assert_allclose(picture.query, 1 - runs[run].test[trial] / 255.0)
    assert right[0].title.startswith("Run 01, Old Norse, drawing ")


def test_trials_come_from_as_many_runs_as_there_are():
    chosen = np.zeros((3, 4), bool)
    chosen[0] = True
    chosen[2, 3] = True
    assert spread_out(chosen, 3) == [(0, 0), (2, 3), (0, 1)]
    assert spread_out(np.zeros((2, 2), bool), 3) == []
