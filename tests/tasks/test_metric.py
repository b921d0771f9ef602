"""Metric learning on small noisy images of colours: batches, losses by any comparison, proxies, and what is reported."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import metric as presets
from partrep import UserError
from partrep.data import imageset
from partrep.data.fewshot import FewshotData
from partrep.data.source import ArraySource
from partrep.losses import multi_similarity, superfeature_contrastive
from partrep.losses.pairs import aligned_cosine, cosine
from partrep.metrics.retrieval import retrieval_scores
from partrep.models.comparisons import COMPARISONS
from partrep.models.part_model import build
from partrep.tasks import metric, metric_pictures
from partrep.tasks.metric_check import check_settings, check_task
from partrep.tasks.metric_evaluation import CHANCE, UNTRAINED, evaluate

pytestmark = pytest.mark.usefixtures("hasty")
SIDE, EACH = 16, 5
TINTS = np.array([[200, 60, 60], [60, 200, 60], [60, 60, 200], [200, 200, 60], [60, 200, 200], [200, 60, 200]])


def colours(which: list[int], seed: int) -> imageset.ImageSet:
    """Noisy images of some colours, one class each."""
    random = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(which)), EACH)
    pixels = TINTS[which][labels][:, None, None] + random.integers(-55, 55, (len(labels), SIDE, SIDE, 3))
    return imageset.of_arrays(ArraySource(pixels.astype(np.uint8), labels, [str(c) for c in which]), SIDE)


def make(argument: str, **changes) -> metric.Metric:
    preset, _, keys = argument.partition(",")
    config = presets.get_config(f"{preset},smoke,{keys}")
    config.data.size = SIDE
    config.model.backbone.update(widths=(8,), depths=(1,), patch=2)
    if config.model.method.name == "slots":
        config.model.method.parts = 3
    if config.model.method.name == "locations":
        config.model.method.cells = 2
    config.stages.metric.update(classes=3, examples=2, **changes)
    data = FewshotData(colours([0, 1, 2], 0), colours([0, 1, 2], 1), colours([3, 4], 2), colours([3, 4, 5], 3), channels=3)
    return metric.Metric(config, data, build(config.model, 3))


@pytest.fixture(scope="module")
def parts(hasty) -> metric.Metric:
    return make("parts,loss=multi_similarity", steps=30)


@pytest.fixture(scope="module")
def outcome(parts):
    state = metric.train(parts, None)
    told = []
    found = evaluate(parts, state.eval_variables, lambda count: told.append(count) or count)
    assert told == [found.test_evaluations] == [7]
    return found, state


def test_colours_of_new_classes_find_their_like(outcome):
    found, _ = outcome
    results = found.results
    assert results["novel/aligned/recall@1"] > 0.8 and results["novel/aligned/map@r"] > 0.6
    assert 0 <= results["novel/nmi"] <= 1 and found.measure == "MAP@R"
    assert [row.name for row in found.rows] == ["aligned", "joined", "reciprocal", "embedding", "pooled", UNTRAINED, CHANCE]
    assert found.page.matches and found.page.chance == pytest.approx(results["novel/any_order/map@r"])
    # Of 14 others, 4 are of the class: by chance each rank is one of them with probability 4/14.
    assert results["novel/any_order/recall@1"] == pytest.approx(4 / 14)
    further = {f"{row.name} (R@{rank})" for row in found.rows for rank in (1, 2, 4, 8)}
    assert set(found.episodes) == {row.name for row in found.rows} | further and len(found.episodes["aligned"]) == 3
    assert found.rows[0].further["R@1"][0] == pytest.approx(results["novel/aligned/recall@1"])
    assert found.episodes["aligned (R@2)"].mean() == pytest.approx(results["novel/aligned/recall@2"])  # of equal classes
    assert results["novel/aligned_minus_embedding"] == pytest.approx(
        results["novel/aligned/map@r"] - results["novel/embedding/map@r"]
    )


def test_pictures_show_what_was_found_and_shares_that_sum_to_the_similarity(parts, outcome):
    kept = metric.kept_of(parts, outcome[1].eval_variables, parts.data.novel, ("aligned",))["aligned"]
    alike = np.asarray(aligned_cosine(kept, kept))
    for picture in (*outcome[0].page.matches, *outcome[0].page.failures):
        assert picture.contributions.shape[1] == 3
        np.testing.assert_allclose(picture.contributions.sum(1), picture.logits, atol=1e-6)
        assert all(np.isclose(alike, logit, atol=1e-5).any() for logit in picture.logits)
        assert list(picture.logits[:3]) == sorted(picture.logits[:3], reverse=True)


def test_the_last_image_shown_is_the_first_right_one():
    order, hits = np.array([5, 4, 3, 2, 1]), np.array([False, True, False, False, True])
    assert metric_pictures.ranked(order, hits).tolist() == [5, 4, 3, 2]


def test_a_block_function_is_the_similarity_row_by_row(parts, outcome):
    kept = metric.kept_of(parts, outcome[1].eval_variables, parts.data.novel, tuple(COMPARISONS))
    rows = np.array([3, 0, 7])
    for name, comparison in COMPARISONS.items():
        whole = np.asarray(comparison.similarity(kept[name], kept[name]))
        np.testing.assert_allclose(metric.block_function(comparison, kept[name])(rows), whole[rows], atol=1e-5)


def test_validation_is_map_at_r_of_the_validation_classes(parts, outcome):
    kept = metric.kept_of(parts, outcome[1].eval_variables, parts.data.validation, ("aligned",))["aligned"]
    alike = np.asarray(aligned_cosine(kept, kept))
    wanted = retrieval_scores(lambda rows: alike[rows], parts.data.validation.labels, k=(1,))["map@r"]
    assert metric.validate(parts, outcome[1])["validation/map@r"] == pytest.approx(wanted, abs=1e-5)


def step(task: metric.Metric):
    variables = task.init(jax.random.key(0))
    params, state = variables["params"], {k: v for k, v in variables.items() if k != "params"}
    batch = metric.stages(task)[0].batches[0]
    loss = functools.partial(metric.metric_loss, task)
    terms, aux = jax.jit(loss)(params, state, {}, batch, jax.random.key(1))
    return params, state, batch, terms, aux


def test_the_loss_is_that_of_the_comparison(parts):
    params, state, batch, terms, aux = step(parts)
    images = parts.data.train.decode(batch, None)
    outputs, _ = parts.forward(params, state, images, jax.random.key(1))
    kept = outputs.codes, outputs.parts.presence
    wanted = multi_similarity(kept, batch["label"], similarity=aligned_cosine)
    np.testing.assert_allclose(terms["metric"][0], wanted, rtol=1e-4)
    assert set(terms) == {"metric", "spread"} and terms["spread"][1] == 0.5
    assert 0 <= float(aux.metrics["precision_at_1"]) <= 1


def test_super_features_are_the_vectors_of_parts_that_are_present():
    rng = np.random.default_rng(3)
    vectors = (rng.normal(size=(2, 3, 5)).repeat(2, 0) + 0.1 * rng.normal(size=(4, 3, 5))).astype(np.float32)
    presence = np.float32([[1, 1, 0]] * 2 + [[1, 1, 1]] * 2)
    settings, labels = {"name": "superfeature_contrastive", **presets.LOSSES["superfeature_contrastive"]}, jnp.array([0, 0, 1, 1])
    found = metric.loss_of(settings, (jnp.asarray(vectors), jnp.asarray(presence)), labels, cosine, None)
    vectors[:2, 2] = 0.0
    expected = superfeature_contrastive(jnp.asarray(vectors), labels)
    assert float(found) == pytest.approx(float(expected), rel=1e-6) and float(found) > 0


def test_proxies_are_compared_with_all_parts_side_by_side():
    task = make("parts,loss=normalised_softmax")
    params, state, batch, terms, _ = step(task)
    assert params["proxies"].shape == (3, 3 * 16)
    images = task.data.train.decode(batch, None)
    outputs, _ = task.forward(params, state, images, jax.random.key(1))
    vector = COMPARISONS["aligned"].vector((outputs.codes, outputs.parts.presence))
    logits = np.asarray(cosine(vector, params["proxies"]), np.float64) / 0.05
    wanted = np.log(np.exp(logits).sum(1)) - logits[np.arange(6), batch["label"]]
    np.testing.assert_allclose(terms["metric"][0], wanted.mean(), rtol=1e-3)


def test_soft_triple_has_several_centres_a_class_and_their_spread():
    params, _, _, terms, _ = step(make("global,loss=soft_triple"))
    assert params["proxies"].shape[:2] == (3, 2) and terms["centre_spread"][1] == 0.2
    assert np.isfinite(float(terms["metric"][0]))


@pytest.mark.parametrize(
    ("argument", "path", "value", "message"),
    [
        ("parts", "comparison", "smell", "unknown comparison 'smell'; known: aligned"),
        ("parts", "loss.sharpness", 2.0, "config.loss has 'sharpness'"),
        ("parts", "stages.metric.steps", 0, "config.stages.metric.steps is 0"),
    ],
)
def test_settings_that_no_run_can_have(argument, path, value, message):
    config = presets.get_config(f"{argument},smoke")
    *folders, name = path.split(".")
    place = config
    for folder in folders:
        place = place[folder]
    with place.unlocked():
        place[name] = value
    with pytest.raises(UserError, match=message):
        check_settings(config)


def test_a_batch_of_more_classes_than_there_are_is_found_before_training(parts):
    config = parts.config.copy_and_resolve_references()
    config.stages.metric.classes = 4
    with pytest.raises(UserError, match="batches of 4 classes; expected at most 3"):
        check_task(metric.Metric(config, parts.data, parts.model))


def test_too_few_images_to_search_are_found_before_training(parts):
    few = dataclasses.replace(parts.data, novel=colours([3], 3))
    with pytest.raises(UserError, match="found 5 images of novel classes; expected more than 8, to rank as many"):
        check_task(metric.Metric(parts.config, few, parts.model))


def test_dense_cells_are_compared_by_their_best_match():
    task = make("dense")  # by default their mean is compared with proxies of the classes
    check_task(task)
    params, _, _, terms, _ = step(task)
    assert params["proxies"].shape == (3, 128)
    assert np.isfinite(float(terms["metric"][0])) and task.comparison is COMPARISONS["best_match"]
    assert task.comparison.similarity((jnp.ones((1, 4, 3)), jnp.ones((1, 4))), (jnp.ones((2, 4, 3)), jnp.ones((2, 4)))).shape == (1, 2)
