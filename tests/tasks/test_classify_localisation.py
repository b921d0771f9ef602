"""Runs on photos in which something is marked: numbers and tables of what was marked, and nothing of what was not."""

from __future__ import annotations

import dataclasses
import pathlib

import jax
import numpy as np
import pytest
from PIL import Image

from configs import photos as presets
from partrep.data.photos import PhotoTruth, from_folder
from partrep.evaluate.localisation import Choice, Located
from partrep.metrics.intervals import Interval
from partrep.tasks import classify, classify_photos
from partrep.tasks.classify_keypoints import keypoint_page, keypoint_scores
from partrep.tasks.classify_localisation import Localisation, localisation_page, localise
from partrep.tasks.classify_run import prepare
from partrep.tasks.maps import Sampled

WEIGHTS = pathlib.Path(__file__).parents[1] / "models/pretrained/golden/mobilenetv2.safetensors"
EACH, HEIGHT, WIDTH = 10, 96, 128


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Ten photos of each of two colours: a square of it, on grey."""
    root, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for name, colour in {"blue": (40, 90, 230), "red": (220, 40, 30)}.items():
        (root / name).mkdir()
        for i in range(EACH):
            pixels = rng.normal(128, 20, (HEIGHT, WIDTH, 3))
            pixels[24:72, 40:88] = colour
            Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(root / name / f"{i}.png")
    return root


def box_of(count):
    return np.tile(np.array([24 / HEIGHT, 40 / WIDTH, 72 / HEIGHT, 88 / WIDTH], np.float32), (count, 1))


def mask_of(_):
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[24:72, 40:88], mask[20:24, 40:88] = 1, 255
    return mask


def pets_like(count: int) -> PhotoTruth:
    """The upper half of the square is the head; it is not marked in odd photos."""
    boxes = box_of(count)
    boxes[:, 2], boxes[1::2] = 0.5, np.nan
    sizes = np.tile(np.array([HEIGHT, WIDTH], np.int32), (count, 1))
    return PhotoTruth(sizes, boxes, np.zeros((count, 0, 2), np.float32), np.zeros((count, 0), bool),
                      mask_of=mask_of, boxed="head")  # fmt: skip


def cub_like(count: int) -> PhotoTruth:
    """Two corners of the square are keypoints, of which the second is not seen in odd photos."""
    boxes = box_of(count)
    keypoints, visible = boxes.reshape(-1, 2, 2).copy(), np.ones((count, 2), bool)
    visible[1::2, 1], keypoints[1::2, 1] = False, np.nan
    sizes = np.tile(np.array([HEIGHT, WIDTH], np.int32), (count, 1))
    return PhotoTruth(sizes, boxes, keypoints, visible, ("corner", "other corner"))


@pytest.fixture
def settings(folder, tmp_path, monkeypatch, tiny_family):
    """A function from a truth and a preset to the config of two steps."""

    def made(truth, preset):
        source = lambda settings: dataclasses.replace(from_folder(settings["dir"]), truth_of=truth(2 * EACH).take)  # noqa: E731
        monkeypatch.setitem(classify_photos.SOURCES, "folder", source)
        config = presets.get_config(f"{preset},smoke,split=stratified,fit=part")
        config.data.update(dir=str(folder), cache=str(tmp_path / "cache"), size=96)
        config.data.update(test_share=0.4, validation_share=0.4)
        config.pretrained.update(weights=str(WEIGHTS), family="mobilenetv2")
        config.train.tensorboard = False
        return config

    return made


@pytest.fixture
def untrained(settings, hasty):
    """A function from a truth and a preset to the sampled validation and test photos of a model before training."""

    def made(truth, preset):
        task = classify.make(settings(truth, preset))
        variables = task.init(jax.random.key(0))
        return task, variables, *(Sampled(task, variables, images) for images in (task.data.validation, task.data.test))

    return made


def test_heads_and_masks_are_scored(untrained):
    task, variables, validation, test = untrained(pets_like, "landmarks_tv")
    results = localise(task, variables, validation, test).flat()
    methods = {name.split("/")[1] for name in results} - {"photos"}
    assert methods == {"model", "all_parts", "location_contributions", "CAM", "k-means", "noise", "centre"}
    assert results["localisation/photos/object"] == 8 and 2 <= results["localisation/photos/head"] <= 6
    for method in methods:
        for target in ("head", "object"):
            for score in ("pointing", "energy", "iou"):
                name = f"localisation/{method}/{target}_{score}"
                assert 0 <= results[f"{name}_low"] <= results[name] <= results[f"{name}_high"] <= 1
    assert results["localisation/centre/object_pointing"] == 1.0  # the square is in the middle
    assert ("localisation/model/head_iou_hard" in results) and ("localisation/CAM/head_iou_hard" not in results)
    assert keypoint_scores(test) == {}


def test_keypoints_are_scored(untrained):
    task, variables, validation, test = untrained(cub_like, "slots")
    table = keypoint_scores(test)
    assert set(table) == {"model", "grid", "kmeans", "nmf", "random"}
    for scores in table.values():
        assert set(scores) == {"nmi_keypoints", "ari_keypoints", "ami_keypoints", "keypoint_error"}
        assert np.isfinite(list(scores.values())).all()
    page = keypoint_page(table)
    assert page.rows[0].name == "model" and set(page.columns) == set(page.descriptions)
    located = localise(task, variables, validation, test).table["model"]
    assert set(located.choices) == {"object"}  # the box, there being no mask


def test_nothing_is_scored_where_nothing_is_marked(untrained):
    task, variables, validation, test = untrained(pets_like, "linear")
    bare = [dataclasses.replace(s, images=dataclasses.replace(s.images, annotations=None)) for s in (validation, test)]
    assert localise(task, variables, *bare) is None and keypoint_scores(bare[1]) == {}


def test_a_run_writes_the_numbers_and_the_table(settings, hasty, tmp_path):
    """Of a linear classifier, which has one map."""
    outcome = prepare(settings(pets_like, "linear"))(tmp_path / "run")
    found = {name.split("/")[1] for name in outcome.results if name.startswith("localisation/")}
    assert found == {"photos", "CAM", "noise", "centre"}
    assert [row.name for row in outcome.page.localisation.rows] == ["CAM", "noise", "centre"]
    assert outcome.page.localisation.rows[0].reference


def test_the_page_says_what_was_chosen_and_what_is_not_marked():
    ends = Interval(0.5, 0.4, 0.6)
    scores = {f"object_{name}": ends for name in ("pointing", "energy", "iou")}
    table = {"model": Located({"object": Choice((4, 0), 0.3)}, {**scores, "object_iou_hard": ends}),
             "CAM": Located({"object": Choice((0,), 0.3)}, scores)}  # fmt: skip
    page = localisation_page(Localisation(table, {"head": 7, "object": 9}, {"object": 5}))
    model, cam = page.rows
    assert model.reference and model.note == "object: parts 1, 5" and not cam.reference
    assert page.columns == ("object, pointing", "object, energy", "object, IoU", "object, IoU, winners")
    assert "object, IoU, winners" not in cam.values and model.intervals["object, IoU"] == (0.4, 0.6)
    assert "objects of 5 (9)" in page.note and "No scores of the head: " in page.note
    assert set(page.descriptions) == set(page.columns)
