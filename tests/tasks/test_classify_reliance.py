"""Reliance of a classifier on its parts: a planted shortcut comes first, and without it no habitat decides."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from partrep.metrics.reliance import reliance
from partrep.tasks import classify_reliance as found_by
from partrep.tasks.classify_reliance import Answers, answers, decide, flat_reliance, measure_reliance, reliance_table
from partrep.tasks.maps import part_count

CLASSES, EACH = 6, 30


def planted(agreement: float, seed: int, constant: np.ndarray) -> Answers:
    """Part 0 sees the bird weakly, part 1 a habitat of two classes that is the class's with that probability."""
    generator = np.random.default_rng(seed)
    labels = np.repeat(np.arange(CLASSES), EACH)
    bird = 3.0 * np.eye(CLASSES)[labels] + generator.normal(size=(len(labels), CLASSES))
    habitat = np.where(generator.random(len(labels)) < agreement, labels // 2, (labels // 2 + 1) % 3)
    place = 9.0 * (np.arange(CLASSES) // 2 == habitat[:, None])
    contributions = np.stack([bird, place, np.zeros_like(bird)], 1) + constant
    bias = np.linspace(0, 0.5, CLASSES) - constant.sum(0)
    return Answers(np.float32(contributions.sum(1) + bias), np.float32(contributions), labels)


@pytest.fixture(params=[0.0, 20.0])
def measured(request):
    """The planted classifier, its parts as they are or with large constants that the bias takes back."""
    constant = request.param * np.random.default_rng(9).normal(size=(3, CLASSES))
    validation = planted(0.9, 0, constant)
    return measure_reliance(validation, {"test": planted(0.9, 1, constant), "conflicting": planted(0.0, 2, constant)})


def test_the_shortcut_is_first_and_without_it_conflicts_are_resolved(measured):
    assert measured.first == 1 and measured.shares[1] > 2 * measured.shares[0] > 0.2
    assert abs(measured.shares[2]) < 1e-6
    whole = planted(0.0, 2, np.zeros((3, CLASSES))).right.mean()
    assert whole < 0.2 and measured.off["conflicting"][1] > 0.85
    assert measured.off["conflicting"][2] == pytest.approx(whole)
    assert measured.right["conflicting"].mean() == pytest.approx(measured.off["conflicting"][1])
    assert set(measured.tested) == {"test", "conflicting"} and measured.accuracy > 0.85


def test_off_is_the_mean_over_validation_images(measured):
    plain = [planted(*each, np.zeros((3, CLASSES))) for each in ((0.9, 0), (0.9, 1))]
    test, mean = plain[1], plain[0].contributions.mean(0)
    for k in range(3):
        logits = test.logits - test.contributions[:, k] + mean[k]
        assert measured.off["test"][k] == pytest.approx((logits.argmax(1) == test.labels).mean())


def test_flat_names_every_part_in_every_set(measured):
    made = flat_reliance(measured)
    wanted = {"parts/first"}
    for k in range(3):
        wanted |= {f"parts/{k}/reliance", *(f"parts/{k}/off/{name}/accuracy" for name in ("validation", "test", "conflicting"))}
    for name in ("validation", "test", "conflicting"):
        wanted |= {f"parts/first_off/{name}/accuracy{end}" for end in ("", "_low", "_high")}
    assert set(made) == wanted and made["parts/first"] == 1
    assert made["parts/first_off/conflicting/accuracy"] == pytest.approx(made["parts/1/off/conflicting/accuracy"])


def test_the_table_is_ranked(measured):
    table = reliance_table(measured, np.array([0.1, 0.9, 0.5]))
    assert [row.name for row in table.rows[:2]] == ["part 2", "part 1"] and table.directionless == set(table.columns)
    assert [row.values["outside the bird"] for row in table.rows[:2]] == [0.9, 0.1]
    assert table.columns == ("reliance", "accuracy without it", "outside the bird") == tuple(table.descriptions)
    named = reliance_table(measured, None, ("part 1", "border", "part 3"))
    assert named.columns == table.columns[:2] and named.rows[0].name == "border"


@pytest.mark.usefixtures("hasty")
def test_one_pass_gives_the_models_own_answers(small):
    task = small("slots")
    variables = jax.jit(task.init)(jax.random.key(1))
    said = answers(task, variables, task.data.test)
    images = task.data.test.decode(task.data.test.load(np.arange(12)), None)
    outputs = jax.jit(task.outputs)(variables, images)
    np.testing.assert_allclose(said.logits, outputs.logits, atol=1e-5)
    np.testing.assert_allclose(said.contributions.sum(1) + said.bias, outputs.logits, atol=1e-5)
    right, relied = decide(task, variables, part_count(task, variables))
    np.testing.assert_array_equal(right["test"], said.right)
    np.testing.assert_array_equal(said.right, np.argmax(outputs.logits, 1) == task.data.test.labels)
    validation = answers(task, variables, task.data.validation)
    np.testing.assert_allclose(relied.shares, reliance(validation.contributions, validation.bias))


@pytest.mark.usefixtures("hasty")
def test_a_model_that_is_no_sum_over_shared_parts_is_only_right_or_wrong(small, monkeypatch):
    monkeypatch.setattr(found_by, "correct", lambda task, variables, images: images.labels == 0)
    for preset in ("gap", "regions"):
        task = small(preset)
        variables = jax.eval_shape(task.init, jax.random.key(0))
        right, relied = decide(task, variables, part_count(task, variables))
        assert relied is None and list(right) == ["test"] and right["test"].sum() == 4
