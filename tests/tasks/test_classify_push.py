"""The end of a stage: prototypes are patches of their class, the rare ones go, and a run that dies there repeats it."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from partrep import UserError
from partrep.models.part_model import PartModel
from partrep.tasks import classify, classify_push
from partrep.tasks.batches import eval_batches
from partrep.train import loop
from partrep.train.optimizer import Optimizer
from partrep.train.stages import Aux
from partrep.train.state import flatten

pytestmark = pytest.mark.usefixtures("hasty")


def state_of(task) -> loop.TrainState:
    """A state before the first step whose average is another model."""
    state = loop.first_state(classify.stages(task), task.init, loop.Settings(ema=0.9))
    other = jax.jit(task.init)(jax.random.key(9))
    ema = {"params": other["params"], "model_state": {k: v for k, v in other.items() if k != "params"}}
    return state.replace(ema=ema)


def projected(task, variables) -> np.ndarray:
    """f32 [n,h,w,d] of every training image, made in the batches of the evaluation."""
    images = task.data.train
    apply = jax.jit(lambda v, b: task.model.apply(v, images.decode(b, None), method=PartModel.project))
    batches = eval_batches(images, task.config["evaluation"]["batch_size"])
    made = [np.asarray(apply(variables, batch))[batch["valid"]] for batch in batches]
    return np.concatenate(made)


@pytest.fixture(scope="module")
def task(small):
    return small("prototypes,similarity=distance")


@pytest.fixture(scope="module")
def pushed(task):
    """(state before, state after) a push."""
    state = state_of(task)
    return state, classify_push.push(task, state)


def test_a_pushed_prototype_is_the_nearest_patch_of_its_class(task, pushed):
    before, after = pushed
    variables = {"params": before.ema["params"], **before.ema["model_state"]}
    features, labels = projected(task, variables), task.data.train.labels
    prototypes = np.asarray(after.params["method"]["prototypes"])
    found = after.model_state["provenance"]["method"]
    old = np.float64(before.ema["params"]["method"]["prototypes"])
    assert len(prototypes) == 3 * 4
    for p, (image, (y, x)) in enumerate(zip(np.asarray(found["image"]), np.asarray(found["place"]))):
        assert labels[image] == p // 4
        np.testing.assert_array_equal(prototypes[p], features[image, y, x])
        distances = ((features[labels == p // 4].astype(np.float64) - old[p]) ** 2).sum(-1)
        np.testing.assert_allclose(found["distance"][p], distances.min(), rtol=1e-5)


def test_a_push_makes_variables_and_their_average_one(pushed):
    before, after = pushed
    jax.tree.map(np.testing.assert_array_equal, after.params, after.ema["params"])
    jax.tree.map(np.testing.assert_array_equal, after.model_state, after.ema["model_state"])
    # They are the average's, but for the prototypes and their provenance.
    for name in ("backbone", "head"):
        jax.tree.map(np.testing.assert_array_equal, after.params[name], before.ema["params"][name])
    pointers = [leaf.unsafe_buffer_pointer() for leaf in jax.tree.leaves((after.params, after.ema["params"]))]
    assert len(set(pointers)) == len(pointers)  # a step gives both away
    assert jax.tree.structure(before) == jax.tree.structure(after)
    assert [x.dtype for x in jax.tree.leaves(before)] == [x.dtype for x in jax.tree.leaves(after)]


def test_without_an_average_the_variables_are_pushed(task, pushed):
    before, _ = pushed
    state = before.replace(ema=None, params=before.ema["params"], model_state=before.ema["model_state"])
    after = classify_push.push(task, state)
    assert after.ema is None
    jax.tree.map(np.testing.assert_array_equal, after.params, pushed[1].params)


def test_another_batch_size_finds_the_same_patches(task, pushed):
    config = task.config.copy_and_resolve_references()
    config.evaluation.batch_size = 12
    other = classify_push.push(dataclasses.replace(task, config=config), pushed[0])
    one, two = (state.model_state["provenance"]["method"] for state in (pushed[1], other))
    np.testing.assert_array_equal(one["image"], two["image"])
    np.testing.assert_array_equal(one["place"], two["place"])
    ends = [np.asarray(state.params["method"]["prototypes"]) for state in (pushed[1], other)]
    np.testing.assert_allclose(*ends, atol=1e-6)


def test_images_that_show_too_little_are_nobodys_prototype(task, pushed):
    images = task.data.train
    poor = np.flatnonzero(np.arange(len(images)) % 2)  # every second image is as likely of any class

    def target(batch):
        own = jax.nn.one_hot(batch["label"], 3)
        return jnp.where(batch["poor"][:, None], 1 / 3, own)

    def load(indices):
        return {**images.load(indices), "poor": np.isin(indices, poor)}

    data = dataclasses.replace(task.data, train=dataclasses.replace(images, load=load, target=target))
    after = classify_push.push(dataclasses.replace(task, data=data), pushed[0])
    used = np.asarray(after.model_state["provenance"]["method"]["image"])
    assert not np.isin(used, poor).any() and (used >= 0).all()
    assert np.isin(pushed[1].model_state["provenance"]["method"]["image"], poor).any()


def test_prototypes_stay_by_the_share_of_their_class_among_the_nearest_images(task, pushed):
    state = pushed[1]
    after = classify_push.prune(task, state)
    features = projected(task, {"params": state.params, **state.model_state}).astype(np.float64)
    prototypes = np.float64(state.params["method"]["prototypes"])
    distance = ((features[:, :, :, None] - prototypes) ** 2).sum(-1).min((1, 2))  # [n,P]
    nearest = np.argsort(distance, axis=0, kind="stable")[:6]
    share = (task.data.train.labels[nearest] == np.arange(12) // 4).mean(0)
    kept = np.asarray(after.model_state["prune"]["method"]["kept"])
    np.testing.assert_array_equal(kept, share >= 0.5)
    assert 0 < kept.sum() < 12
    jax.tree.map(np.testing.assert_array_equal, after.params, state.params)
    np.testing.assert_array_equal(after.ema["model_state"]["prune"]["method"]["kept"], kept)


def test_what_was_removed_before_stays_removed(task, pushed):
    none = jax.tree.map(jnp.zeros_like, pushed[1].ema["model_state"]["prune"])
    ema = {**pushed[1].ema, "model_state": {**pushed[1].ema["model_state"], "prune": none}}
    after = classify_push.prune(task, pushed[1].replace(ema=ema))
    assert not np.asarray(after.model_state["prune"]["method"]["kept"]).any()


class Died(Exception):
    """A test's own stop."""


def test_a_run_that_dies_in_the_push_and_starts_again_ends_the_same(small, tmp_path, monkeypatch):
    task = small("prototypes,similarity=distance", depth=0)
    for name in ("warm", "pruned"):
        task.config["stages"][name]["steps"] = 0
    task.config["train"]["checkpoint_every"] = 1
    straight = classify.train(task, tmp_path / "straight")
    finish = classify_push.pushing.finish

    def die(*_):
        raise Died

    monkeypatch.setattr(classify_push.pushing, "finish", die)
    with pytest.raises(Died):
        classify.train(task, tmp_path / "cut")
    monkeypatch.setattr(classify_push.pushing, "finish", finish)
    again = classify.train(task, tmp_path / "cut")
    one, two = flatten(straight), flatten(again)
    assert one.keys() == two.keys() and int(again.step) == 4
    for name, leaf in one.items():
        np.testing.assert_array_equal(leaf, two[name], err_msg=name)
    assert (np.asarray(again.model_state["provenance"]["method"]["image"]) >= 0).all()


@pytest.fixture(scope="module")
def by_cosine(small):
    """(task, state before, state after) a push of prototypes that are compared by cosine."""
    task = small("prototypes")
    state = state_of(task)
    return task, state, classify_push.push(task, state)


def test_the_push_by_cosine_takes_the_most_similar_patch_of_the_class(by_cosine):
    task, before, after = by_cosine
    features = projected(task, {"params": before.ema["params"], **before.ema["model_state"]})
    np.testing.assert_allclose(np.linalg.norm(features, axis=-1), 1, rtol=1e-5)
    old = np.float64(before.ema["params"]["method"]["prototypes"])
    cosines = np.einsum("nhwd,pd->nphw", np.float64(features), old / np.linalg.norm(old, axis=1, keepdims=True))
    found = jax.device_get(after.model_state["provenance"]["method"])
    for p, (image, (y, x)) in enumerate(zip(found["image"], found["place"])):
        assert task.data.train.labels[image] == p // 4
        assert cosines[image, p, y, x] == pytest.approx(cosines[task.data.train.labels == p // 4, p].max(), abs=1e-6)
        np.testing.assert_array_equal(after.params["method"]["prototypes"][p], features[image, y, x])


def test_logits_of_images_that_prototypes_were_pushed_to_are_exact(by_cosine):
    """A prototype scores 1 on its own patch, and logits are the head's sums of greatest cosines."""
    task, _, after = by_cosine
    images, variables = task.data.train, after.variables
    whole = images.load(np.arange(len(images)))
    outputs = jax.device_get(jax.jit(lambda v, b: task.outputs(v, images.decode(b, None)))(variables, whole))
    origin = np.asarray(after.model_state["provenance"]["method"]["image"])
    np.testing.assert_allclose(outputs.parts.scores[origin, np.arange(12)], 1, atol=1e-6)
    cosines = np.einsum("nhwd,pd->npwh", *map(np.float64, (projected(task, variables), after.params["method"]["prototypes"])))
    logits = cosines.max((2, 3)) @ np.float64(after.params["head"]["kernel"])
    np.testing.assert_allclose(outputs.logits, logits, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(outputs.contributions.sum(1), outputs.logits, rtol=1e-5, atol=1e-5)


def test_prototypes_are_of_length_one_after_every_step_that_moves_them(small):
    """Of the preset's stage, with another loss: how far they are from where they started, turned round."""
    task = small("prototypes")
    made = classify.stages(task)
    assert [stage.project is not None for stage in made] == [True, True, False]
    start = 3 * np.random.default_rng(0).normal(size=(12, 8)).astype(np.float32)

    def pull(params, model_state, loss_state, batch, key):
        apart = ((params["method"]["prototypes"] - jnp.asarray(start[::-1])) ** 2).sum()
        return {"apart": (apart, 1.0)}, Aux(model_state, loss_state, {})

    slow = Optimizer("sgd", 0.01, "constant", momentum=0.0)
    stage = dataclasses.replace(made[0], until_step=3, loss=pull, optimizer=slow, at_end=None)
    seen = []
    hooks = loop.Hooks([loop.Every(1, lambda state: seen.append(jax.device_get(state.params["method"]["prototypes"])))])
    loop.fit([stage], {"params": {"method": {"prototypes": jnp.asarray(start)}}}, {"ema": 0.0}, None, hooks)
    expected = start
    for found in seen:
        expected = expected - 0.02 * (expected - start[::-1])
        expected = expected / np.linalg.norm(expected, axis=1, keepdims=True)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert len(seen) == 3 and not np.allclose(seen[0], seen[1], atol=1e-3)


def test_lengths_are_those_of_the_queries_and_methods_without_are_named(small):
    params = {"method": {"queries": jnp.array([[3.0, 4.0]]), "other": jnp.ones(2)}, "head": {"kernel": jnp.full((1, 2), 0.5)}}
    both = classify.projection({"renormalise": True, "shrink": 0.25})(params)
    np.testing.assert_allclose(both["method"]["queries"], [[0.6, 0.8]], rtol=1e-6)
    np.testing.assert_array_equal(both["method"]["other"], params["method"]["other"])
    np.testing.assert_array_equal(both["head"]["kernel"], [[0.25, 0.25]])
    assert classify.projection({"steps": 3}) is None
    with pytest.raises(UserError, match="renormalise=true and the part method no queries"):
        classify.projection({"renormalise": True})({"head": {}})


def test_the_weights_of_a_nonnegative_head_shrink_after_every_step(small):
    task = small("exclusive", depth=0)
    task.config["stages"]["joint"]["shrink"] = 0.125
    (stage,) = classify.stages(task)
    still = dataclasses.replace(stage, until_step=3, optimizer=Optimizer("sgd", 0.0, "constant", momentum=0.0))
    variables = jax.jit(task.init)(jax.random.key(0))
    shape = variables["params"]["head"]["kernel"].shape
    kernel = np.float32(np.random.default_rng(0).normal(0.25, 0.25, shape))
    variables["params"]["head"]["kernel"] = jnp.asarray(kernel)
    seen = []
    hooks = loop.Hooks([loop.Every(1, lambda state: seen.append(jax.device_get(state)))])
    loop.fit([still], variables, {"ema": 0.5}, None, hooks)
    average = kernel
    for t, state in enumerate(seen):
        kernel = np.maximum(kernel - np.float32(0.125), 0)
        np.testing.assert_array_equal(state.params["head"]["kernel"], kernel)
        decay = min(0.5, (1 + t) / (10 + t))
        average = decay * average + (1 - decay) * kernel
        np.testing.assert_allclose(state.ema["params"]["head"]["kernel"], average, rtol=1e-5, atol=1e-7)
    assert len(seen) == 3 and (kernel > 0).any() and (kernel == 0).any()
    others = {name: tree for name, tree in variables["params"].items() if name != "head"}
    jax.tree.map(np.testing.assert_array_equal, {name: seen[-1].params[name] for name in others}, others)
