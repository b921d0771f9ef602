"""Parts of classes and of groups of images: what counts in an image, where groups come from, what alternation fits."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_softmax

from partrep import UserError
from partrep.discovery.assignment import fit_assigned_parts, image_groups
from partrep.parts.assigned import one_region_each
from partrep.tasks import classify, classify_groups
from partrep.tasks.classify_check import check_settings, check_task
from partrep.tasks.classify_evaluation import evaluate
from partrep.tasks.classify_groups import alternated, check_class_count
from partrep.tasks.classify_terms import TERMS, Seen
from partrep.train import loop

pytestmark = pytest.mark.usefixtures("hasty")
METHOD = {"parts": 6, "groups": 3}  # two for each of the three classes of `small`
LABELS = np.array([0, 1, 2, 0])


def owned(small, keys: str, backbone=None, method=METHOD, **changes):
    """The preset `assigned` with keys, with two parts for each of three classes or groups."""
    return small(f"assigned,{keys}", backbone=backbone, model={"method": method}, **changes)


@pytest.fixture(scope="module")
def given(small, hasty):
    """The variables of a new backbone, by collection."""
    variables = jax.jit(small("gap").init)(jax.random.key(7))
    return {name: tree["backbone"] for name, tree in variables.items() if "backbone" in tree}


@pytest.fixture(scope="module")
def step(small, hasty):
    """Value and gradient, to the features [B,8,8,8] of the detectors' similarities, of the agreement of a step."""
    tasks = {labels: owned(small, f"labels={labels}") for labels in ("class", "groups")}
    variables = jax.jit(tasks["class"].init)(jax.random.key(0))

    @functools.partial(jax.jit, static_argnames="labels")
    def agreement(queries, features, target, owner, labels):
        def value(queries):
            params = {**variables["params"], "method": {"queries": queries}}
            state = {"batch_stats": variables["batch_stats"]}
            task, batch = tasks[labels], {"features": features}
            outputs, _ = task.forward(params, state, batch, jax.random.key(0), False)
            label, group = (owner, None) if labels == "class" else (jnp.zeros_like(owner), owner)
            seen = Seen(task.config, params, state, outputs, target, label, group=group)
            return TERMS["assignment_agreement"](seen), outputs.parts.similarity

        return jax.value_and_grad(value, has_aux=True)(queries)

    return agreement


FEATURES = np.random.default_rng(0).normal(size=(4, 8, 8, 8)).astype(np.float32)
QUERIES = np.random.default_rng(1).normal(size=(6, 8)).astype(np.float32)
assign = jax.jit(one_region_each)


def of_own_parts(similarity, owner):
    """f64 [B]: the agreement of each image with the two parts of its owner."""
    own = np.stack([each[2 * g : 2 * g + 2] for each, g in zip(np.asarray(similarity, np.float64), owner)])
    shares = log_softmax(own.reshape(4, 2, 64), axis=2)
    return -(np.asarray(assign(own)).reshape(4, 2, 64) * shares).sum(2).mean(1)


@pytest.mark.parametrize("labels", ["class", "groups"])
def test_an_image_agrees_with_the_parts_of_its_own_class_or_group(step, labels):
    target = np.eye(3, dtype=np.float32)[LABELS]
    (value, similarity), _ = step(QUERIES, FEATURES, target, LABELS, labels)
    np.testing.assert_allclose(value, of_own_parts(similarity, LABELS).mean(), rtol=1e-3)
    _, gradient = step(QUERIES, FEATURES, target, np.array([0, 2, 2, 0]), labels)
    np.testing.assert_array_equal(np.any(gradient != 0, axis=1), [True, True, False, False, True, True])


def test_an_image_that_shows_little_of_its_class_places_none_of_its_parts(step):
    target = np.eye(3, dtype=np.float32)[LABELS]
    target[1:3] = 1 / 3
    (value, similarity), gradient = step(QUERIES, FEATURES, target, LABELS, "class")
    np.testing.assert_allclose(value, of_own_parts(similarity, LABELS)[[0, 3]].sum() / 4, rtol=1e-3)
    np.testing.assert_array_equal(np.any(gradient != 0, axis=1), [True, True, False, False, False, False])


def test_groups_are_of_features_alone_and_reach_the_step(small, given):
    task = owned(small, "labels=groups", given)
    features = task.train_features["features"].astype(np.float32)
    np.testing.assert_array_equal(task.train_groups, image_groups(features.mean((1, 2)), 3))
    assert len(set(task.train_groups)) == 3 and task.train_groups.dtype == np.int32
    (stage,) = classify.stages(task)
    batch = stage.batches[0]
    np.testing.assert_array_equal(batch["group"], task.train_groups[stage.batches.order[0]["index"]])
    assert "group" not in owned(small, "labels=class", given).train_columns
    with pytest.raises(UserError, match="'assignment_agreement' needs the groups of images; expected a given backbone"):
        check_task(owned(small, "labels=groups"))


def test_alternation_fits_the_images_that_show_their_class_best(small, given, monkeypatch):
    task = owned(small, "labels=class,detectors=alternation", given)
    columns = task.train_features
    labels, features = columns["label"], columns["features"]
    np.testing.assert_allclose(alternated(task), fit_assigned_parts(features, labels, 2), rtol=1e-4, atol=1e-4)
    monkeypatch.setattr(classify_groups, "MOST_FITTED", 2)
    target = np.where(np.arange(12)[:, None] < 6, 1 / 3, np.eye(3)[labels])
    monkeypatch.setattr(classify, "_read_features", lambda task: {**columns, "target": target})
    monkeypatch.setattr(classify, "_FEATURES", {})
    np.testing.assert_allclose(alternated(task), fit_assigned_parts(features[6:], labels[6:], 2), rtol=1e-4, atol=1e-4)
    with pytest.raises(UserError, match="group 3 of 4 has no training image; expected fewer groups"):
        alternated(owned(small, "labels=class,detectors=alternation", given, {"parts": 8, "groups": 4}))


def test_groups_and_alternation_from_end_to_end_train_the_classifier_alone(small, given):
    task = owned(small, "labels=groups,detectors=alternation", given, backbone_from="somewhere")
    check_settings(task.config)
    check_task(task)
    state = classify.train(task, None)
    wanted = fit_assigned_parts(task.train_features["features"], task.train_groups, 2)
    np.testing.assert_allclose(state.eval_variables["params"]["method"]["queries"], wanted, rtol=1e-5)
    start = jax.jit(task.init)(loop.init_key(0))
    assert not np.array_equal(state.params["head"]["kernel"], start["params"]["head"]["kernel"])
    results = evaluate(task, state.eval_variables, lambda count: count).results
    assert results["model/level"] == 2 and 0 <= results["test/accuracy"] <= 1


def test_whitened_detectors_are_trained(small, given):
    """The loss falls as all moves against its gradient, detectors too, and the statistics are those of the batches."""
    task = owned(small, "labels=class", given, {**METHOD, "whiten": True})
    (stage,) = classify.stages(task)

    @jax.jit
    def descend(params, state, batch):
        def loss(params):
            terms, aux = stage.loss(params, state, {}, batch, jax.random.key(0))
            return sum(value * weight for value, weight in terms.values()), aux.model_state

        (value, new), slope = jax.value_and_grad(loss, has_aux=True)(params)
        return jax.tree.map(lambda x, dx: x - 0.3 * dx, params, slope), new, value

    state = jax.jit(task.init)(jax.random.key(0))
    params = state.pop("params")
    values, start = [], params["method"]["queries"]
    for t in range(10):
        params, state, value = descend(params, state, stage.batches[t])
        values.append(float(value))
    assert np.mean(values[-3:]) < 0.95 * np.mean(values[:3])
    assert np.abs(params["method"]["queries"] - start).max(axis=1).min() > 1e-3
    rows = [stage.batches[t]["features"].astype(np.float64).reshape(-1, 8) for t in range(10)]
    wanted = np.cov(np.concatenate(rows).T, bias=True)
    np.testing.assert_allclose(state["batch_stats"]["method"]["covariance"], wanted, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("keys", "changes", "message"),
    [
        ("labels=groups", {}, "config.labels is groups and config.backbone_from is empty; expected --config.backbone_from"),
        ("labels=class,detectors=alternation", {}, "config.detectors is alternation and config.backbone_from is empty"),
        ("detectors=alternation", {"backbone_from": "a"}, "detectors=alternation with labels=shared"),
        (
            "labels=class,detectors=alternation",
            {"backbone_from": "a", "model": {"method": {"whiten": True}}},
            "model.method.whiten=True; expected labels=class or labels=groups, and detectors not whitened twice",
        ),
        ("labels=class,readout=isolated", {}, "an isolated read-out with parts in groups"),
        ("", {"labels": "none"}, "unknown config.labels 'none'; known: class, groups, shared"),
        ("", {"detectors": "none"}, "unknown config.detectors 'none'; known: alternation, learned"),
    ],
)
def test_settings_that_no_run_can_have_are_named(small, keys, changes, message):
    with pytest.raises(UserError, match=message):
        check_settings(small(f"assigned,{keys}", **changes).config)


def test_one_group_a_class(small):
    with pytest.raises(UserError, match="config.model.method.groups is 49 with labels=class; expected 3, one a class"):
        check_task(small("assigned,labels=class"))
    check_class_count(owned(small, "labels=class").config, 3)
    check_class_count(small("assigned,labels=groups").config, 3)
