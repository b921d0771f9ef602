"""The predictions that a classification report draws."""

from __future__ import annotations

import types

import jax
import numpy as np
import pytest

from partrep.report.cards import episode_card
from partrep.tasks.classify_pictures import CANDIDATES, draw, paintings

CLASSES, PARTS = 20, 3
RNG = np.random.default_rng(0)
ASSIGNMENT = RNG.dirichlet(np.ones(PARTS), (CLASSES, 4, 4)).transpose(0, 3, 1, 2)
EXAMPLES = {"image": RNG.uniform(size=(CLASSES, 8, 8, 3)), "assignment": ASSIGNMENT}


def drawn(logits, label, name="plain"):
    """The picture of one image with these logits, and its card."""
    test = types.SimpleNamespace(names=[f"c{c}" for c in range(CLASSES)])
    task = types.SimpleNamespace(config={"logits": name}, data=types.SimpleNamespace(test=test))
    contributions = RNG.normal(size=(1, PARTS, CLASSES))
    seen = {
        "image": EXAMPLES["image"][:1], "label": np.array([label]), "assignment": ASSIGNMENT[:1],
        "logits": logits[None], "contributions": contributions,
    }  # fmt: skip
    picture = draw(task, seen, 0, EXAMPLES)
    return picture, episode_card(picture, False, (), "Image")


def test_percentages_are_probabilities_among_all_classes():
    logits = np.linspace(0, 1, CLASSES)
    picture, card = drawn(logits, label=2)
    every = np.exp(logits) / np.exp(logits).sum()
    shown = [19, 18, 17, 2]  # the likeliest, and the true one in place of the last of them
    assert picture.class_names == tuple(f"c{c}" for c in shown) and len(shown) == CANDIDATES
    np.testing.assert_allclose([c.probability for c in card.candidates], every[shown], rtol=1e-5)
    assert sum(c.probability for c in card.candidates) < 0.4


def test_probabilities_are_those_of_the_run_s_cross_entropy():
    logits = np.linspace(0, 3, CLASSES)
    _, card = drawn(logits, label=19, name="squared_log")
    every = 1 + logits**2  # the exponential of log(1 + x^2)
    np.testing.assert_allclose([c.probability for c in card.candidates], every[:15:-1] / every.sum(), rtol=1e-5)
    assert card.candidates[0].probability == pytest.approx(10 / every.sum())


def test_paintings_are_the_sum_of_what_their_parts_paint(small, hasty):
    task = small("slots,bottleneck=generative")
    found = paintings(task, jax.jit(task.init)(jax.random.key(0)), 3)
    images = task.data.test.decode(task.data.test.load(np.array([0, 5, 11])), None)
    for painting, image in zip(found, images, strict=True):
        np.testing.assert_allclose(painting.image, image, atol=1e-6)
        np.testing.assert_allclose(painting.shares.sum(0), 1, atol=1e-5)
        np.testing.assert_allclose((painting.shares[..., None] * painting.layers).sum(0), painting.painted, atol=1e-5)
    assert paintings(small("slots"), {}, 3) == paintings(task, {}, 0) == ()
