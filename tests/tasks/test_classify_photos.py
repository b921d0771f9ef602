"""Photos from end to end: features of a tiny pretrained network, a part head on them, and what explains a new photo."""

from __future__ import annotations

import dataclasses
import pathlib
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from PIL import Image
from scipy.special import softmax

from configs import photos
from partrep import UserError
from partrep.data import imageset
from partrep.data.transforms import WarpSettings
from partrep.explain.contributions import level
from partrep.models.pretrained.families import FAMILIES
from partrep.tasks import classify, explain_photos, finished
from partrep.tasks.classify_run import prepare
from partrep.train.optimizer import match

WEIGHTS = pathlib.Path(__file__).parents[1] / "models/pretrained/golden/mobilenetv2.safetensors"
COLOURS = {"blue sky": (40, 90, 230), "red <b>": (220, 40, 30)}


pytestmark = pytest.mark.usefixtures("hasty")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Ten photos of each of two colours, wider than high, with some noise."""
    root, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for name, colour in COLOURS.items():
        (root / name).mkdir()
        for i in range(10):
            pixels = np.clip(rng.normal(colour, 25, (40, 56, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / name / f"{i}.png")
    return root


def config(folder, cache, preset="landmarks,smoke,split=stratified", **data):
    made = photos.get_config(preset)
    made.data.update({"dir": str(folder), "cache": str(cache), "size": 64, **data})
    made.pretrained.update(weights=str(WEIGHTS), family="mobilenetv2")
    made.train.tensorboard = False
    return made


@pytest.fixture(scope="module")
def run(tiny_family, folder, tmp_path_factory, hasty):
    """(workdir, the task) of a finished run."""
    workdir, cache = tmp_path_factory.mktemp("run"), tmp_path_factory.mktemp("cache")
    made = config(folder, cache)
    made.stages.joint.steps = 100
    made.stages.joint.optimizer.learning_rate = 0.1
    outcome = prepare(made)(workdir)
    (workdir / "config.json").write_text(made.to_json())
    (workdir / "results.json").write_text("{}")
    return workdir, classify.make(made), outcome


def test_the_probe_told_by_parts_is_one_classifier_of_the_pooled_features(run, folder, tmp_path):
    made = config(folder, tmp_path / "cache", "probe,smoke,split=stratified")
    assert (made.stages.joint.trainable, made.model.head.shared) == ("head/(shared|bias)", True)
    task = classify.make(made)
    variables = classify.train(task, None).variables
    grid = jnp.asarray(task.data.test.load(np.arange(4))["grid"], jnp.float32)
    outputs = task.outputs(variables, grid)
    head = jax.device_get(variables["params"]["head"])
    assert not head["kernel"].any() and np.abs(head["shared"]).max() > 0
    np.testing.assert_allclose(outputs.logits, grid.mean((1, 2)) @ head["shared"] + head["bias"], atol=1e-4)
    np.testing.assert_allclose(outputs.contributions.sum(1) + head["bias"], outputs.logits, atol=1e-4)
    assert level(task.model) == 2


def test_parts_without_which_together_the_answer_turns():
    """Logits (4, 0), of which the first two parts add 3 and 2 more than usual: without both, (-1, 0)."""
    bank = SimpleNamespace(mean_contributions=np.array([[1.0, 0.0], [0.5, 0.0], [0.0, 0.0]]))
    model = SimpleNamespace(bank=bank, probabilities=softmax)
    moved = bank.mean_contributions + np.array([[3.0, 0.0], [2.0, 0.0], [-1.0, 0.0]])
    found = {"contributions": moved, "logits": np.array([4.0, 0.0])}
    parts, (answer, chance) = explain_photos.turn(model, found, [0, 1, 2])
    assert (parts, answer) == ((0, 1), 1) and chance == pytest.approx(1 / (1 + np.exp(-1.0)))
    assert explain_photos.turn(model, found, [2]) is None


def test_a_run_recognises_what_colours_tell(run):
    assert run[2].results["test/accuracy"] == 1.0
    assert run[2].results["model/level"] == 2


def test_the_sets_share_no_photo_and_all_is_trained_on_but_the_test(run):
    data = run[1].data
    assert (len(data.train), len(data.validation), len(data.test)) == (16, 4, 4)
    assert data.train.grid == (2, 2, 12) and data.train.names == tuple(sorted(COLOURS))


def test_a_photo_gives_the_logits_of_its_kept_features(run):
    workdir, task, _ = run
    model = finished.load(workdir)
    test = task.data.test
    found = model.read(test.photos(np.arange(4)))
    rest = {name: value for name, value in model.variables.items()}
    batch = test.load(np.arange(4))
    expected = jax.jit(task.outputs)(rest, test.decode(batch, None))
    np.testing.assert_allclose(found["logits"], expected.logits, atol=5e-3)  # features are kept in half precision
    np.testing.assert_allclose(found["assignment"], expected.parts.assignment, atol=5e-3)


def test_neither_photos_nor_weights_are_needed_to_explain(run, folder, tmp_path, monkeypatch):
    workdir = run[0]
    monkeypatch.setattr(classify, "make", lambda config: pytest.fail("read the training data"))
    (tmp_path / "mine").mkdir()
    Image.new("RGB", (90, 60), COLOURS["red <b>"]).save(tmp_path / "mine" / "été 'x'.png")
    Image.new("L", (1, 1), 7).save(tmp_path / "mine" / "dot.png")
    (tmp_path / "mine" / "notes.txt").write_text("no photo")
    page = explain_photos.explain(finished.load(workdir), tmp_path / "mine")
    assert [photo.name for photo in page.photos] == ["dot.png", "été 'x'.png"]
    assert [name for name, _ in page.skipped] == ["notes.txt"]
    assert page.classes[page.photos[1].likely[0][0]] == "red <b>"
    assert page.photos[1].view == pytest.approx((0.0625, 0.208333, 0.9375, 0.791667), abs=0.01)


def test_without_a_part_is_the_answer_with_the_average_part(run):
    """The page's numbers, from the logits and contributions by hand."""
    workdir, task, _ = run
    model = finished.load(workdir)
    seen = task.data.test.photos(np.arange(1))
    found = {name: value[0] for name, value in model.read(seen).items()}
    photo = explain_photos.Photo("a", seen[0], seen[0], (0.0, 0.0, 1.0, 1.0))
    shown = explain_photos.one_photo(model, photo, found, {})
    label = int(found["logits"].argmax())
    other = 1 - label
    assert [each[0] for each in shown.likely] == [label, other]
    for part in shown.parts:
        moves = found["contributions"][part.part] - model.bank.mean_contributions[part.part]
        assert part.says == pytest.approx(moves[label] - moves[other], abs=1e-5)
        raised = np.exp(found["logits"] - moves)
        assert part.without[1] == pytest.approx(raised.max() / raised.sum(), abs=1e-5)
    assert [part.says for part in shown.parts] == sorted((part.says for part in shown.parts), reverse=True)
    assert shown.lead == pytest.approx(found["logits"][label] - found["logits"][other], abs=1e-5) and shown.truth is None


def test_grids_are_flipped_and_cropped_in_training_alone():
    features = np.arange(2 * 3 * 3 * 2, dtype=np.float16).reshape(2, 3, 3, 2)
    made = imageset.of_features(features, np.array([0, 1]), ("a", "b"), np.arange(2), None, "x", WarpSettings(flip=1.0))
    batch = made.load(np.arange(2))
    np.testing.assert_array_equal(made.decode(batch, None), features)
    np.testing.assert_allclose(made.decode(batch, jax.random.key(0)), features[:, :, ::-1], atol=1e-5)


VIT = {"patch": 4, "width": 8, "depth": 2, "heads": 2}


@pytest.fixture
def transformer(folder, tmp_path, monkeypatch):
    """A function from a preset to the config of a tiny DINOv2 transformer with registers, trained on the photos."""
    known = FAMILIES["dinov2_vits14_reg"]
    shrunk = dataclasses.replace(known, backbone={**known.backbone, **VIT})
    monkeypatch.setitem(FAMILIES, "dinov2_vits14_reg", shrunk)

    def made(argument):
        config = photos.get_config(f"{argument},smoke,split=stratified")
        config.data.update(dir=str(folder), cache=str(tmp_path / "cache"), size=32)
        config.pretrained.update(weights=str(WEIGHTS.with_name("dinov2_reg.safetensors")), family="dinov2_vits14_reg")
        config.train.tensorboard = False
        return config

    return made


@pytest.mark.parametrize("trained", ["tokens", "all"])
def test_of_a_pretrained_transformer_what_was_asked_for_is_trained(transformer, trained):
    task = classify.make(transformer(f"pdiscoformer,backbone={trained}"))
    before = flatten_dict(task.start()["params"]["backbone"], sep="/")
    given = flatten_dict(task.pretrained["params"], sep="/")
    assert sorted(before) == sorted(given)
    for name, value in given.items():
        np.testing.assert_array_equal(before[name], value)
    chosen = flatten_dict(match(task.start()["params"], classify.stages(task)[0].trainable), sep="/")
    others = {name for name in chosen if not name.startswith("backbone/")}
    tokens = {f"backbone/{name}" for name in ("cls_token", "register_tokens", "position_embedding")}
    wanted = others | tokens if trained == "tokens" else set(chosen)
    assert {name for name, hit in chosen.items() if hit} == wanted and tokens < set(chosen)


def test_a_run_that_trained_its_backbone_explains_photos_too(transformer, folder, tmp_path):
    config = transformer("pdiscoformer,backbone=tokens")
    config.evaluation.discovery_images = 4
    outcome = prepare(config)(tmp_path / "run")
    (tmp_path / "run" / "config.json").write_text(config.to_json())
    (tmp_path / "run" / "results.json").write_text("{}")
    assert not (tmp_path / "run" / "backbone.safetensors").exists() and not (tmp_path / "cache").exists()
    page = explain_photos.explain(finished.load(tmp_path / "run"), folder / "red <b>")
    assert len(page.photos) == 10 and 0 <= outcome.results["test/accuracy"] <= 1


@pytest.mark.parametrize(
    "change, message",
    [
        ({"dir": ""}, "config.data.dir is empty; expected a folder, zip or tar"),
        ({"split": "given"}, "has no split of its own; expected split 'stratified' or 'per_class'"),
        ({"per_class": 10, "split": "per_class"}, "10 photos"),
        ({"test_share": 1.5}, "a fraction of 1.5 of the photos; expected one above 0 and below 1"),
    ],
)
def test_mistakes_in_the_data(change, message, tiny_family, folder, tmp_path):
    with pytest.raises(UserError, match=message):
        prepare(config(folder, tmp_path, **change))


def test_weights_have_to_be_named(tiny_family, folder, tmp_path):
    made = config(folder, tmp_path)
    made.pretrained.weights = ""
    with pytest.raises(UserError, match="config.pretrained.weights is empty; expected a file of weights"):
        prepare(made)
