"""What a classifier is trained on and moves: its stages, what a step sees, its loss terms, a backbone that is given."""

from __future__ import annotations

import dataclasses
import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import classify as presets
from partrep import UserError
from partrep.data import birds
from partrep.data import classify as classify_data
from partrep.data.transforms import Warp, apply_to_images
from partrep.models.part_model import PartModel
from partrep.tasks import classify
from partrep.tasks.batches import EqualGroups
from partrep.tasks.classify_check import check_objective, check_settings
from partrep.tasks.classify_terms import TERMS, Seen, terms
from partrep.train import loop
from partrep.train.checkpoint import Checkpoints
from partrep.train.optimizer import match
from partrep.train.state import flatten

pytestmark = pytest.mark.usefixtures("hasty")
KEY = jax.random.key(1)


def split(variables):
    """The parameters, and the other collections."""
    return variables["params"], {name: tree for name, tree in variables.items() if name != "params"}


def backbone_of(task):
    """The variables of a new backbone, by collection."""
    variables = jax.jit(task.init)(jax.random.key(7))
    return {name: tree["backbone"] for name, tree in variables.items() if "backbone" in tree}


def batch_of(task, count=6):
    return task.data.train.load(np.arange(count))


def shown(task, batch=None):
    """What a step sees, in one program."""
    return jax.jit(functools.partial(classify.shown, task))(batch_of(task) if batch is None else batch, KEY)


def encoded(task, given, images):
    """Features of images by a given backbone."""
    variables = {name: {"backbone": tree} for name, tree in given.items()}
    return jax.jit(functools.partial(task.model.apply, method=PartModel.encode))(variables, images)


def moved(warp, images):
    """Images under a warp."""
    return jax.jit(functools.partial(apply_to_images, fill=None))(warp, images)


# Stages


def test_the_stages_come_in_order_and_move_what_they_say(small):
    task = small("prototypes,similarity=distance")
    made = classify.stages(task)
    assert [(stage.name, stage.until_step) for stage in made] == [("warm", 2), ("joint", 4), ("last", 6), ("pruned", 8)]
    params = jax.eval_shape(task.init, KEY)["params"]
    moved = {
        stage.name: {path.split("/")[0] for path, moves in flatten(match(params, stage.trainable)).items() if moves}
        for stage in made
    }
    everything = set(params)
    assert moved == {"warm": {"method"}, "joint": everything - {"head"}, "last": {"head"}, "pruned": {"head"}}
    assert "backbone" in everything and "head" in everything
    assert [stage.at_end is not None for stage in made] == [False, True, True, False]
    assert all(stage.project is None for stage in made)
    assert [stage.project is not None for stage in classify.stages(small("exclusive"))] == [True]


def test_a_stage_without_steps_is_left_out_and_an_unknown_one_named(small):
    task = small("prototypes,similarity=distance")
    task.config["stages"]["last"]["steps"] = 0
    assert [(stage.name, stage.until_step) for stage in classify.stages(task)] == [("warm", 2), ("joint", 4), ("pruned", 6)]
    task.config["stages"]["joint"]["at_end"] = "pull"
    with pytest.raises(UserError, match="unknown end of a stage 'pull'; known: prune, push"):
        classify.stages(task)
    task.config["stages"]["polish"] = {"steps": 1}
    with pytest.raises(UserError, match="unknown stage 'polish'; known: warm, joint, last, pruned"):
        classify.stages(task)


def test_batches_are_a_function_of_the_step(small):
    one, two = (classify.stages(small("gap"))[0].batches for _ in range(2))
    jax.tree.map(np.testing.assert_array_equal, one[3], two[3])
    assert not np.array_equal(one[0]["image"], one[1]["image"])


# A backbone that is given


def test_a_given_backbone_never_moves_and_its_features_are_what_is_read(small):
    given = backbone_of(small("landmarks"))
    task = small("landmarks", backbone=given)
    (stage,) = classify.stages(task)
    batch = stage.batches[0]
    images = task.data.train
    whole = images.decode(images.load(np.arange(len(images))), None)
    wanted = encoded(task, given, whole)
    index = stage.batches.order[0]["index"]
    assert batch["features"].dtype == np.float16 and set(batch) >= {"label", "target", "warp", "other_features"}
    np.testing.assert_allclose(batch["features"], wanted[index], rtol=2e-3, atol=1e-3)
    np.testing.assert_array_equal(batch["label"], images.labels[index])
    warped = moved(jax.tree.map(lambda x: x[index], task.train_features["warp"]), whole[index])
    other = encoded(task, given, warped)
    np.testing.assert_allclose(batch["other_features"], other, rtol=2e-3, atol=2e-3)

    state = classify.train(task, None)
    found = {**state.model_state, "params": state.params}
    for name, tree in given.items():
        jax.tree.map(np.testing.assert_array_equal, found[name]["backbone"], tree)
        close = functools.partial(np.testing.assert_allclose, rtol=1e-6)  # an average of equal numbers, rounded
        jax.tree.map(close, state.eval_variables[name]["backbone"], tree)
    start = jax.jit(task.init)(loop.init_key(0))
    assert not np.array_equal(state.params["head"]["kernel"], start["params"]["head"]["kernel"])


def test_the_features_of_a_backbone_are_shared_by_the_heads_on_it(small, monkeypatch):
    calls = []
    monkeypatch.setattr(classify, "_FEATURES", {})
    monkeypatch.setattr(classify, "_read_features", lambda task: calls.append(task) or {"number": len(calls)})
    given = {"backbone_from": "a"}
    assert small("gap", **given).train_features == small("slots", **given).train_features == {"number": 1}
    assert small("gap", backbone_from="b").train_features == {"number": 2}
    assert small("landmarks", **given).train_features == {"number": 3}  # another view
    assert len(classify._FEATURES) == classify.MOST_FEATURES
    assert small("gap", backbone_from="b").train_features == {"number": 2}


def test_the_backbone_of_a_finished_run_is_loaded_and_of_another_refused(small, tmp_path):
    task = small("gap")
    with pytest.raises(UserError, match="which holds no finished run; expected its workdir"):
        classify.load_backbone(tmp_path, task.config)
    (tmp_path / "config.json").write_text(task.config.to_json())
    with pytest.raises(UserError, match="which holds no finished run"):
        classify.load_backbone(tmp_path, task.config)
    (tmp_path / "results.json").write_text("{}")
    state = loop.first_state(classify.stages(task), task.init, loop.Settings())
    with Checkpoints(tmp_path / "checkpoints", 1) as checkpoints:
        checkpoints.save(state)
    found = classify.load_backbone(tmp_path, small("slots").config)
    jax.tree.map(np.testing.assert_array_equal, found["params"], state.params["backbone"])
    assert set(found) == {"params", "batch_stats"}
    for name, changed in (("data", {"data": {"world": 7}}), ("backbone", {"model": {"backbone": {"widths": (9,)}}})):
        with pytest.raises(UserError, match=f"a run of another {name}; expected"):
            classify.load_backbone(tmp_path, small("gap", **changed).config)


# What a step sees


def test_the_target_is_the_exact_posterior_where_birds_lack_parts():
    settings = presets.get_config("smoke").data
    settings.update(size=16, images=(4, 2, 2))
    data = classify_data.load(settings)
    batch = data.train.load(np.arange(0, len(data.train), 2))
    task = classify.Classify({"view": {"name": ""}}, data, None)
    seen = jax.jit(lambda batch: birds.sample(data.world, batch["keys"], batch["values"], "world"))(batch)
    images = classify.ImageSet(
        data.train.labels, data.train.load, lambda batch, key: jnp.zeros((98, 1, 1, 3)), "", target=data.train.target
    )
    task = classify.Classify({"view": {"name": ""}}, type("Data", (), {"train": images}), None)
    target = np.asarray(jax.jit(lambda b: classify.shown(task, b, KEY))(batch)["target"])
    codes, shown = data.world.classes("all"), np.asarray(seen.present * seen.bird[:, None]) > 0
    agree = np.stack([
        [all(not there or code == value for code, value, there in zip(codes[c], values, present)) for c in range(49)]
        for values, present in zip(np.asarray(seen.values), shown)
    ])  # fmt: skip
    np.testing.assert_allclose(target, agree / agree.sum(1, keepdims=True), atol=1e-6)
    assert 0 < (agree.sum(1) > 1).sum() < len(agree)
    certain = Seen({}, {}, {}, None, jnp.asarray(target), jnp.asarray(batch["label"])).certain
    np.testing.assert_allclose(certain, 1 / agree.sum(1), rtol=1e-5)
    assert data.validation.target is None and data.test.target is None


def test_one_view_shows_images_and_classes(small):
    task = small("gap")
    seen = shown(task)
    assert set(seen) == {"image", "label", "target"}
    np.testing.assert_array_equal(seen["target"], np.eye(3)[seen["label"]])


def test_the_warped_view_gives_its_warp(small):
    task = small("landmarks")
    seen = shown(task)
    np.testing.assert_allclose(seen["other"], moved(seen["warp"], seen["image"]), atol=1e-6)
    assert float(jnp.abs(seen["other"] - seen["image"]).max()) > 0.1
    assert seen["warp"].matrix.shape == (6, 2, 2)
    assert not np.allclose(seen["warp"].matrix[0], seen["warp"].matrix[1])


def test_the_relit_view_keeps_the_geometry(small):
    task = small("exclusive")
    halves = np.zeros((6, 16, 16, 3), np.uint8)
    halves[:, :, 5:] = 128
    seen = shown(task, {"image": halves, "label": np.zeros(6, np.int32)})
    other = np.asarray(seen["other"])
    assert "warp" not in seen and "pasted" not in seen
    for side in (other[:, :, :5], other[:, :, 5:]):
        np.testing.assert_allclose(side, side[:, :1, :1] + 0 * side, atol=1e-6)
    assert np.ptp(other[:, 0, 5, 0]) > 0.05  # each image in a light of its own


PASTED = {"name": "recombined", "cells": 8, "low": 0.25, "high": 0.75}


def test_the_recombined_view_pastes_cells_of_the_image_before(small):
    task = small("gap", view=PASTED)
    seen = shown(task)
    image, other, pasted = (np.asarray(seen[name]) for name in ("image", "other", "pasted"))
    assert pasted.shape == (6, 8, 8) and set(np.unique(pasted)) == {0, 1}
    pixels = np.kron(pasted, np.ones((2, 2))) > 0
    for b in range(6):
        np.testing.assert_array_equal(other[b][~pixels[b]], image[b][~pixels[b]])
        np.testing.assert_array_equal(other[b][pixels[b]], image[b - 1][pixels[b]])


def test_an_unknown_view_is_named(small):
    task = small("gap", view={"name": "upside down"})
    with pytest.raises(UserError, match="config.view.name is 'upside down'; expected relit, warped, recombined or none"):
        shown(task)


def test_rectangles_are_of_whole_cells_with_sides_in_range():
    made = np.asarray(classify.rectangles(KEY, 200, 8, 0.25, 0.75))
    rows, columns = made.max(2), made.max(1)
    np.testing.assert_array_equal(made, rows[:, :, None] * columns[:, None])
    for sides in (rows.sum(1), columns.sum(1)):
        assert set(sides) == {2, 3, 4, 5, 6}
    for line in (rows, columns):  # one run, wrapped round
        assert set((line != np.roll(line, 1, axis=1)).sum(1)) == {2}
    assert np.ptp(made.argmax(1).mean(1)) > 1 and not np.array_equal(rows, columns)


# Loss terms


def seen_of(task, batch=None) -> Seen:
    """What a step of a model in evaluation mode has seen."""
    params, state = split(jax.jit(task.init)(jax.random.key(0)))
    seen = shown(task, batch)
    apply = jax.jit(lambda image: task.forward(params, state, {"image": image}, KEY, False)[0])
    fields = {name: seen[name] for name in ("target", "label", "image", "warp", "pasted") if name in seen}
    other = apply(seen["other"]) if "other" in seen else None
    return Seen(task.config, params, state, apply(seen["image"]), other=other, model=task.model, **fields)


def term(name: str, seen: Seen) -> float:
    """The value of one loss term, in one program."""
    arrays = (seen.params, seen.model_state, seen.outputs, seen.other, seen.warp, seen.pasted)
    names = ("params", "model_state", "outputs", "other", "warp", "pasted")
    return float(jax.jit(lambda given: TERMS[name](dataclasses.replace(seen, **dict(zip(names, given)))))(arrays))


@pytest.fixture(scope="module")
def gap_seen(small, hasty):
    """What a globally pooled model without a second view has seen."""
    return seen_of(small("gap"))


@pytest.fixture(scope="module")
def landmarks_seen(small, hasty):
    """What a model of landmarks has seen, with a warped view."""
    return seen_of(small("landmarks"))


@pytest.fixture(scope="module")
def exclusive_seen(small, hasty):
    """What a model of exclusive parts has seen, with a relit view."""
    return seen_of(small("exclusive"))


def test_terms_carry_their_weights_and_those_without_are_left_out(landmarks_seen):
    seen = landmarks_seen
    made = terms(seen, {"spread": 0.5, "orthogonality": 2.0, "presence": 0.0})
    assert {name: weight for name, (_, weight) in made.items()} == {"spread": 0.5, "orthogonality": 2.0}
    assert all(jnp.shape(value) == () and np.isfinite(value) for value, _ in made.values())
    with pytest.raises(UserError, match="unknown loss term 'sharpness'; known: alignment, "):
        terms(seen, {"sharpness": 1.0})


@pytest.mark.parametrize(
    ("term", "message"),
    [
        ("alignment", "needs a second view; expected config.view to name one"),
        ("border", "needs config.model.method.border and additive parts"),
        ("equivariance", "needs a second view"),
        ("recombination", "needs a second view"),
        ("proposal", "needs config.model.proposal_head"),
        ("reconstruction", "needs config.model.decoder and pixels"),
        ("gaussian_kl", "needs the bottleneck 'disentangled'"),
        ("total_correlation", "needs the bottleneck 'disentangled'"),
        ("dip", "needs the bottleneck 'disentangled'"),
        ("background_presence", "needs a part method with a background"),
        ("tanh_presence", "needs a part method with scores"),
    ],
)
def test_a_term_names_what_it_lacks(term, message, gap_seen):
    with pytest.raises(UserError, match=f"loss term '{term}' {message}") as raised:
        terms(gap_seen, {term: 1.0})
    assert "\n" not in str(raised.value)


def test_views_of_another_kind_are_named(landmarks_seen, exclusive_seen):
    with pytest.raises(UserError, match="'recombination' needs the view 'recombined' and pixels; found another"):
        TERMS["recombination"](landmarks_seen)
    with pytest.raises(UserError, match="'equivariance' needs the view 'warped'; found one of the same geometry"):
        TERMS["equivariance"](exclusive_seen)


def test_the_border_is_asked_for_the_class_by_itself(small):
    """As the whole model would be that had no other part."""
    seen = seen_of(small("slots", model={"method": {"border": 1}}))
    kernel, bias = (np.asarray(seen.params["head"][name], np.float64) for name in ("kernel", "bias"))
    logits = np.asarray(seen.outputs.codes, np.float64)[:, -1] @ kernel[-1] + bias
    expected = np.log(np.exp(logits).sum(1)) - (np.asarray(seen.target) * logits).sum(1)
    assert term("border", seen) == pytest.approx(expected.mean(), rel=1e-4)


def test_cluster_and_separation_read_the_distances_of_the_preset_s_similarity(small):
    for argument, worth in (
        ("prototypes,similarity=distance", lambda s: (1 - 1e-4) / np.expm1(s) - 1e-4),
        ("prototypes", lambda s: 1 - s),
    ):
        seen = seen_of(small(argument))
        distances = worth(np.asarray(seen.outputs.parts.similarity, np.float64).max((2, 3)))
        own = np.arange(12) // 4 == np.asarray(seen.label)[:, None]
        for name, counts in (("cluster", own), ("separation", ~own)):
            expected = np.where(counts, distances, np.inf).min(1).mean()
            assert term(name, seen) == pytest.approx(expected, rel=1e-4), (argument, name)


@pytest.mark.parametrize(("cells", "less"), [((2, 0), True), ((0, -3), True), ((0.5, 0.5), False)])
def test_maps_that_move_with_the_image_are_no_loss_of_equivariance(small, monkeypatch, cells, less):
    """Cells that see their own pixels alone, moved by whole cells of the map or by less than one."""
    warp = Warp(jnp.tile(jnp.eye(2), (6, 1, 1)), jnp.tile(jnp.array(cells) / 8.0, (6, 1)))
    monkeypatch.setattr(classify, "random_warp", lambda *_: warp)
    value = term("equivariance", seen_of(small("landmarks", depth=0)))
    assert value < 1e-4 if less else value > 1e-3


def test_recombination_is_zero_where_cells_add_up_and_not_where_they_see_each_other(small):
    found = {depth: term("recombination", seen_of(small("gap", depth=depth, view=PASTED))) for depth in (0, 1)}
    assert found[0] < 1e-9 and found[1] > 1e-4


def test_recombination_needs_pixels(small):
    """Features are kept with the image that was before theirs then, not with the one before them in a batch."""
    task = small("gap", backbone=backbone_of(small("gap")), view=PASTED, losses={"recombination": 1.0})
    (stage,) = classify.stages(task)
    with pytest.raises(UserError, match="'recombination' needs the view 'recombined' and pixels"):
        jax.eval_shape(stage.loss, *split(jax.eval_shape(task.init, KEY)), {}, stage.batches[0], KEY)


def test_the_losses_of_a_stage_come_beside_those_of_the_run(small):
    task = small("gap", losses={"spread": 0.5, "presence": 0.25})
    _, weights, aux = loss_of(task, {"mode": "evaluation", "losses": {"presence": 2.0, "entropy": 3.0}})
    assert weights == {"classification": 1.0, "spread": 0.5, "presence": 2.0, "entropy": 3.0}
    kept = split(jax.jit(task.init)(jax.random.key(0)))[1]
    jax.tree.map(np.testing.assert_array_equal, aux.model_state, kept)  # statistics stay in evaluation


def loss_of(task, settings):
    """The terms' values, their weights, and the rest, of a loss on a model before training; in one program."""
    weights = {}

    def loss(params, state):
        made, aux = classify.classification_loss(task, settings, params, state, {}, batch_of(task), KEY)
        weights.update({name: weight for name, (_, weight) in made.items()})
        return {name: value for name, (value, _) in made.items()}, aux

    values, aux = jax.jit(loss)(*split(jax.jit(task.init)(jax.random.key(0))))
    return values, weights, aux


def test_the_squared_logarithm_is_of_the_loss_alone(small, exclusive_seen):
    seen = exclusive_seen
    made, _, _ = loss_of(small("exclusive"), {"mode": "evaluation"})
    logits = np.asarray(seen.outputs.logits, np.float64)
    read = np.log1p(np.maximum(logits, 0) ** 2)
    wanted = np.log(np.exp(read).sum(1)) - read[np.arange(6), np.asarray(seen.label)]
    np.testing.assert_allclose(made["classification"], wanted.mean(), rtol=1e-4)


# Objectives


def with_groups(task):
    """The task with every third image in its class's habitat, as far as a step is told."""
    train = dataclasses.replace(task.data.train, matched=lambda batch: jnp.arange(len(batch["label"])) % 3 == 0)
    return dataclasses.replace(task, data=dataclasses.replace(task.data, train=train))


def test_groupdro_weighs_the_groups_and_remembers(small):
    task = with_groups(small("gap,objective=groupdro"))
    params, state = split(jax.jit(task.init)(jax.random.key(0)))
    loss = functools.partial(classify.classification_loss, task, {"mode": "evaluation"}, params, state)
    made, aux = jax.jit(lambda memory: loss(memory, batch_of(task), KEY))({"group_weights": jnp.array([0.75, 0.25])})
    logits = np.asarray(jax.jit(lambda image: task.forward(params, state, {"image": image}, KEY, False)[0].logits)(
        shown(task)["image"]
    ), np.float64)  # fmt: skip
    entropy = np.log(np.exp(logits).sum(1)) - logits[np.arange(6), batch_of(task)["label"]]
    of_group = np.array([entropy[[0, 3]].mean(), entropy[[1, 2, 4, 5]].mean()])
    weights = np.array([0.75, 0.25]) * np.exp(0.01 * of_group)
    weights /= weights.sum()
    np.testing.assert_allclose(aux.loss_state["group_weights"], weights, rtol=1e-4)
    np.testing.assert_allclose(made["classification"][0], weights @ of_group, rtol=1e-4)
    np.testing.assert_allclose(aux.metrics["conflicting_weight"], weights[1], rtol=1e-4)


def test_the_weights_of_groups_go_on_from_stage_to_stage(small):
    first, *others = classify.stages(with_groups(small("prototypes,objective=groupdro")))
    assert first.init_loss_state(None)["group_weights"].tolist() == [0.5, 0.5]
    assert others and all(stage.init_loss_state is None for stage in others)
    assert all(stage.init_loss_state is None for stage in classify.stages(small("prototypes")))


def test_groups_are_kept_with_the_features_of_a_given_backbone(small, monkeypatch):
    monkeypatch.setattr(classify, "_FEATURES", {})
    given = backbone_of(small("gap"))
    task = with_groups(small("gap,objective=groupdro", backbone=given))
    (stage,) = classify.stages(task)
    index, batch = stage.batches.order[0]["index"], stage.batches[0]
    np.testing.assert_array_equal(batch["matched"], (index % task.config["evaluation"]["batch_size"]) % 3 == 0)
    state = classify.train(task, None)
    weights = np.asarray(state.loss_state["group_weights"])
    assert weights.sum() == pytest.approx(1.0) and not np.array_equal(weights, [0.5, 0.5])


def test_groupdro_draws_both_groups_equally_often(small):
    """Of images in their class's habitat or not, as they are told in batches of all."""
    task = with_groups(small("gap,objective=groupdro"))
    conflicts = (np.arange(12) % 3 != 0).astype(int)
    np.testing.assert_array_equal(task.train_conflicts, conflicts)
    (stage,) = classify.stages(task)
    drawn = np.stack([stage.batches.order[t]["index"] for t in range(4)])
    np.testing.assert_array_equal(conflicts[drawn].sum(1), 4)  # of a batch of 8
    assert all((drawn == each).sum() == 4 for each in np.flatnonzero(conflicts == 0))  # 16 draws of 4 images
    np.testing.assert_array_equal(stage.batches[1]["label"], task.data.train.labels[drawn[1]])
    with pytest.raises(UserError, match="objective groupdro needs images in two kinds of surroundings; found one"):
        classify.stages(small("gap,objective=groupdro"))


@pytest.mark.parametrize(
    "groups, size, message",
    [([1, 1, 2], 4, "groups of 0, 2, 1 training images; expected two at least"), ([0, 0], 4, "groups of 2 training"),
     ([0, 1], 5, "batch_size 5 with 2 groups; expected a multiple")],
)  # fmt: skip
def test_groups_that_cannot_be_drawn_equally(groups, size, message):
    with pytest.raises(UserError, match=message):
        EqualGroups(np.array(groups), size, 0)


def test_equal_groups_of_processes_in_a_row_are_the_batch_of_one():
    groups = np.arange(30) % 3
    alone = EqualGroups(groups, 12, 5)
    pair = [EqualGroups(groups, 12, 5, process, 2) for process in (0, 1)]
    for t in range(3):
        np.testing.assert_array_equal(np.concatenate([each[t]["index"] for each in pair]), alone[t]["index"])
        assert np.bincount(groups[alone[t]["index"]]).tolist() == [4, 4, 4]
    assert len(set(alone[0]["index"].tolist())) == 12 and (np.diff(groups[alone[0]["index"]]) < 0).any()  # in any order


@pytest.mark.parametrize("shortcut", [0.0, 1.0])
def test_groupdro_needs_two_groups(small, shortcut):
    config = small("gap,objective=groupdro").config
    config.data.shortcut = shortcut
    with pytest.raises(UserError, match=f"groupdro with config.data.shortcut {shortcut}; expected a shortcut over 0"):
        check_objective(config)
    config.data.shortcut = 0.9
    check_objective(config)
    config.objective = {"name": "irm"}
    with pytest.raises(UserError, match="unknown objective 'irm'; known: erm, groupdro"):
        check_objective(config)


@pytest.mark.parametrize(
    "objective, found",
    [({"name": "groupdro"}, "groupdro with no settings"), ({"name": "groupdro", "step_size": -1.0}, "step_size -1.0"),
     ({"name": "erm", "step_size": 0.01}, "erm with step_size 0.01")],
)  # fmt: skip
def test_an_objective_has_its_own_settings(small, objective, found):
    config = {**small("gap").config, "objective": objective}
    with pytest.raises(UserError, match=f"{found}; expected objective=erm, or objective=groupdro with a step_size"):
        check_objective(config)


def test_unknown_logits_and_modes_are_named(small):
    config = small("gap").config
    config.logits = ""
    with pytest.raises(UserError, match="unknown config.logits ''; known: plain, squared_log"):
        check_settings(config)
    config.logits, config.stages.joint.mode = "plain", "training"
    with pytest.raises(UserError, match="config.stages.joint.mode is 'training'; expected train or evaluation"):
        check_settings(config)


@pytest.mark.parametrize("name, found", [("relit", "unknown 'rotation'"), ("recombined", "with rotation, scale, shift")])
def test_a_view_with_the_settings_of_another_is_refused(small, name, found):
    task = small("landmarks")
    task.config.view.name = name
    with pytest.raises(UserError, match=found):
        shown(task)


def test_accuracy_is_of_every_image_once(small):
    task = small("gap")
    variables = jax.jit(task.init)(KEY)
    images = task.data.test
    whole = images.decode(images.load(np.arange(len(images))), None)
    logits = jax.jit(task.outputs)(variables, whole).logits
    found = classify.correct(task, variables, images)  # batches of five, the last of two
    np.testing.assert_array_equal(found, np.argmax(logits, 1) == images.labels)
    assert json.dumps(classify.validate(task, type("State", (), {"eval_variables": variables})))
