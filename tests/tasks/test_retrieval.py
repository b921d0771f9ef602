"""Retrieval on small noisy images of colours: the descriptor, what regions add, ways to search, and what is reported."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest

from configs import retrieval as presets
from partrep import UserError
from partrep.data import imageset
from partrep.data.fewshot import FewshotData
from partrep.data.source import ArraySource
from partrep.metrics.retrieval import retrieval_scores
from partrep.models.part_model import build
from partrep.report.content import OTHER_PAIRS, Result
from partrep.search.whitening import learned_whitening
from partrep.tasks import metric, retrieval, retrieval_evaluation, retrieval_pictures
from partrep.tasks.metric import RANKS
from partrep.tasks.metric_evaluation import CHANCE, UNTRAINED
from partrep.tasks.retrieval_check import check_settings, check_task
from partrep.tasks.retrieval_evaluation import DESCRIPTOR, evaluate

pytestmark = pytest.mark.usefixtures("hasty")
SIDE, EACH = 16, 5
TINTS = np.array([[200, 60, 60], [60, 200, 60], [60, 60, 200], [200, 200, 60], [60, 200, 200], [200, 60, 200]])


def colours(which: list[int], seed: int) -> imageset.ImageSet:
    """Noisy images of some colours, one thing to find each."""
    random = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(which)), EACH)
    pixels = TINTS[which][labels][:, None, None] + random.integers(-55, 55, (len(labels), SIDE, SIDE, 3))
    return imageset.of_arrays(ArraySource(pixels.astype(np.uint8), labels, [str(c) for c in which]), SIDE)


def make(argument: str, **changes) -> retrieval.Retrieval:
    preset, _, keys = argument.partition(",")
    config = presets.get_config(f"{preset},smoke,{keys}")
    config.data.size = SIDE
    config.model.backbone.update(widths=(8,), depths=(1,), patch=2)
    config.model.bottleneck.width = 6
    if config.model.method.name == "slots":
        config.model.method.parts = 3
    config.stages.metric.update(classes=3, examples=2, **changes)
    data = FewshotData(colours([0, 1, 2], 0), colours([0, 1, 2], 1), colours([3, 4], 2), colours([3, 4, 5], 3), channels=3)
    return retrieval.Retrieval(config, data, build(config.model, 3))


@pytest.fixture(scope="module")
def regions(hasty) -> retrieval.Retrieval:
    return make("regions", steps=20)


@pytest.fixture(scope="module")
def outcome(regions):
    state = metric.train(regions, None)
    told = []
    found = evaluate(regions, state.eval_variables, lambda count: told.append(count) or count)
    assert told == [found.test_evaluations] == [9]
    return found, state.eval_variables


@pytest.fixture(scope="module")
def kept(regions, outcome):
    return retrieval.regions_of(regions, outcome[1], regions.data.novel)


def test_colours_that_were_not_trained_on_find_their_like(outcome):
    found, _ = outcome
    results = found.results
    assert results["novel/descriptor/recall@1"] > 0.7 and found.measure == "MAP@R"
    ways = ["2 scales", *retrieval_evaluation.WHITENINGS, *retrieval_evaluation.WAYS, "binary codes"]
    assert [row.name for row in found.rows] == [DESCRIPTOR, *ways, UNTRAINED, CHANCE]
    assert results["novel/any_order/recall@1"] == pytest.approx(4 / 14)
    difference = results["novel/descriptor/map@r"] - results["novel/diffusion/map@r"]
    assert results["novel/descriptor_minus_diffusion"] == pytest.approx(difference)
    assert {f"validation/{name}/map@r" for name in ("descriptor", "diffusion", "learned_whitening")} <= set(results)
    rows = {row.name for row in found.rows}
    further = {Result.further_name(row, f"R@{rank}") for row in rows for rank in RANKS}
    assert set(found.episodes) == rows | further and len(found.episodes[DESCRIPTOR]) == 3


def test_the_descriptor_is_the_sum_of_regions_as_present_as_they_are(regions, outcome, kept):
    found = retrieval.described(regions, outcome[1], regions.data.novel)
    embedding = metric.kept_of(regions, outcome[1], regions.data.novel, ("embedding",))["embedding"]
    np.testing.assert_allclose(found, embedding / np.linalg.norm(embedding, axis=1, keepdims=True), atol=1e-5)
    codes, presence = (np.asarray(x, np.float64) for x in kept)
    np.testing.assert_allclose(np.linalg.norm(codes, axis=-1), 1.0, atol=1e-5)
    for row, code, there in zip(found, codes, presence):
        total = sum(m * c for m, c in zip(there, code))
        np.testing.assert_allclose(row, total / np.linalg.norm(total), atol=1e-5)
    wanted = retrieval_scores(found, regions.data.novel.labels)["map@r"]
    assert outcome[0].results["novel/descriptor/map@r"] == pytest.approx(wanted, abs=1e-6)


def test_pairs_of_regions_sum_to_the_similarity(kept):
    first, second = (jax.tree.map(lambda x, rows=rows: x[rows], kept) for rows in ([0, 1, 2], [7, 0, 12]))
    added = np.asarray(retrieval_pictures.region_pairs(first, second))
    alike = np.asarray(retrieval_pictures.REGIONS.similarity(first, second)).diagonal()
    np.testing.assert_allclose(added.sum((1, 2)), alike, atol=1e-5)
    (c, m), (c2, m2) = first, second
    size = np.linalg.norm((m[1][:, None] * c[1]).sum(0)) * np.linalg.norm((m2[1][:, None] * c2[1]).sum(0))
    assert added[1, 2, 0] == pytest.approx(m[1, 2] * m2[1, 0] * float(c[1, 2] @ c2[1, 0]) / size, abs=1e-5)


def test_pictures_have_addends_that_sum_to_the_similarity(outcome, kept):
    alike = np.asarray(retrieval_pictures.REGIONS.similarity(kept, kept))
    page = outcome[0].page
    assert page.heading == "retrieval report" and page.sought == "bird" and page.gallery is not None
    for picture in (*page.matches, *page.failures):
        assert OTHER_PAIRS in picture.terms and len(picture.terms) <= 4
        np.testing.assert_allclose(picture.contributions.sum(1) + sum(picture.terms.values()), picture.logits, atol=1e-5)
        assert all(np.isclose(alike, logit, atol=1e-5).any() for logit in picture.logits)


def test_training_starts_from_a_whitening_of_the_regions(regions):
    made = regions.start()
    bottleneck = made["params"]["model"]["bottleneck"]
    assert np.abs(bottleneck["shift"]).max() > 0.01
    again = regions.start()["params"]["model"]["bottleneck"]
    np.testing.assert_array_equal(bottleneck["projection"], again["projection"])


def test_sides_of_scales_are_whole_cells(regions):
    config = regions.config
    assert [retrieval.side_at(config, scale) for scale in (1.0, 0.7071, 0.5, 0.01)] == [0, 12, 8, 4]


def test_whitenings_are_fitted_on_images_of_whole_things(regions):
    chosen = retrieval_evaluation.fitting_images(regions.data.held_out, 10)
    assert np.bincount(regions.data.held_out.labels[chosen]).tolist() == [5, 0, 5]
    assert len(retrieval_evaluation.fitting_images(regions.data.held_out, 10**6)) == 15
    pairs = retrieval_evaluation.matching_pairs(np.repeat([4, 2], 5), 7, seed=1)
    assert len(pairs) == 7 and (pairs[:, 0] // 5 == pairs[:, 1] // 5).all() and (pairs[:, 0] < pairs[:, 1]).all()
    training = np.random.default_rng(0).normal(size=(10, 3))
    made = retrieval_evaluation.fitted("learned whitening", training, pairs, {"ridge": 0.1})
    np.testing.assert_array_equal(made.projection, learned_whitening(training, pairs, ridge=0.1).projection)


def test_queries_are_as_many_as_asked_for(regions):
    config = regions.config.copy_and_resolve_references()
    config.evaluation.queries = 4
    task = retrieval.Retrieval(config, regions.data, regions.model)
    values = retrieval_evaluation.scored(task, regions.data.novel, lambda rows: np.zeros((len(rows), 15), np.float32))
    assert values["query"].tolist() == [0, 4, 9, 14]


@pytest.mark.parametrize("preset", ["rmac", "gem"])
def test_without_learned_regions_the_whole_image_is_drawn(preset):
    task = make(preset)
    check_task(task)
    variables = jax.device_get(jax.jit(task.init)(jax.random.key(0)))
    found = retrieval_pictures.drawn(
        task, variables, task.data.novel, retrieval.regions_of(task, variables, task.data.novel)
    )
    assert found.gallery is None
    for picture in (*found.matches, *found.failures):
        assert picture.contributions.shape[1] == 1 and picture.query_assignment.shape[0] == 1
        np.testing.assert_allclose(picture.contributions[:, 0], picture.logits, atol=1e-6)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("comparison", "joined", "config.comparison is 'joined'; expected 'embedding'"),
        ("evaluation.scales", (0.5, 1.0), r"scales is \(0.5, 1.0\); expected 1 and other numbers above 0"),
        ("evaluation.fitting", 1, "config.evaluation.fitting is 1; expected at least 8"),
        ("loss.sharpness", 2.0, "config.loss has 'sharpness'"),
    ],
)
def test_settings_that_no_run_can_have(path, value, message):
    config = presets.get_config("gem,smoke")
    *folders, name = path.split(".")
    place = config
    for folder in folders:
        place = place[folder]
    with place.unlocked(), place.ignore_type():
        place[name] = value
    with pytest.raises(UserError, match=message):
        check_settings(config)


def test_mistakes_of_the_data_are_found_before_training(regions):
    without = dataclasses.replace(regions.data, validation=None)
    with pytest.raises(UserError, match="has no validation classes; expected some to choose with"):
        check_task(retrieval.Retrieval(regions.config, without, regions.model))
    config = regions.config.copy_and_resolve_references()
    config.evaluation.side_of = 3
    with pytest.raises(UserError, match="multiples of the patch"):
        check_task(retrieval.Retrieval(config, regions.data, regions.model))
