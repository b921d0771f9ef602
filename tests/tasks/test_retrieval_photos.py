"""Retrieval of photos by a tiny pretrained network: classes held out, then the revisited protocol with that run's regions."""

from __future__ import annotations

import colorsys
import dataclasses
import json
import pathlib
import pickle

import numpy as np
import pytest
from PIL import Image

from configs import retrieval as presets
from partrep import UserError
from partrep.data import revisited
from partrep.metrics.revisited import revisited_scores
from partrep.tasks import retrieval_revisited, retrieval_revisited_evaluation
from partrep.tasks.retrieval_run import prepare

WEIGHTS = pathlib.Path(__file__).parents[1] / "models/pretrained/golden/mobilenetv2.safetensors"
pytestmark = pytest.mark.usefixtures("hasty")


def colour(number: int) -> np.ndarray:
    return 255 * np.array(colorsys.hsv_to_rgb(number / 15, 0.9, 0.8))


def photo(number: int, shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    return np.clip(colour(number) + rng.normal(0, 25, (*shape, 3)), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def trained(tiny_family, hasty, tmp_path_factory):
    """(workdir, outcome) of learned regions on four photos of each of fifteen colours, three of which are novel."""
    root, rng = tmp_path_factory.mktemp("trained"), np.random.default_rng(0)
    for number in range(15):
        (root / "photos" / f"{number:02}").mkdir(parents=True)
        for i in range(4):
            Image.fromarray(photo(number, (64, 72), rng)).save(root / "photos" / f"{number:02}" / f"{i}.png")
    config = presets.get_config("regions,smoke,source=photos")
    config.data.update(dir=str(root / "photos"), cache=str(root / "cache"), size=64)
    config.pretrained.update(weights=str(WEIGHTS), family="mobilenetv2")
    config.model.method.parts = 2
    config.model.bottleneck.width = 8
    config.train.tensorboard = False
    outcome = prepare(config)(root / "run")
    (root / "run" / "config.json").write_text(config.to_json())
    (root / "run" / "results.json").write_text("{}")
    return root / "run", outcome


@pytest.fixture(scope="module")
def buildings(tmp_path_factory):
    """(folder, ground truth): six photos and three queries, whose colour is in the box that is asked for alone."""
    root, rng = tmp_path_factory.mktemp("buildings"), np.random.default_rng(1)
    for i, number in enumerate((0, 0, 5, 5, 10, 10)):
        Image.fromarray(photo(number, (64, 64), rng)).save(root / f"gallery_{i}.jpg", quality=95)
    for i, number in enumerate((0, 5, 10)):
        pixels = photo((number + 7) % 15, (80, 120), rng)
        pixels[8:72, 10:74] = photo(number, (64, 64), rng)
        Image.fromarray(pixels).save(root / f"query_{i}.jpg", quality=95)
    gnd = [dict(bbx=[10, 8, 74, 72], easy=[2 * i], hard=[2 * i + 1] if i else [], junk=[]) for i in range(3)]
    names = [f"{kind}_{i}" for kind, count in (("gallery", 6), ("query", 3)) for i in range(count)]
    (root / "gnd.pkl").write_bytes(pickle.dumps(dict(imlist=names[:6], qimlist=names[6:], gnd=gnd)))
    return root


def protocol(buildings, preset: str, **changes):
    config = presets.get_config(f"{preset},source=revisited")
    config.data.update(dir=str(buildings), truth=str(buildings / "gnd.pkl"), size=64)
    config.pretrained.update(weights=str(WEIGHTS), family="mobilenetv2")
    config.evaluation.update(pictures=2, scales=(1.0, 0.5))
    config.update(changes)
    return config


def test_photos_of_held_out_classes_at_one_scale(trained):
    names = [row.name for row in trained[1].rows]
    assert "descriptor" in names and not any("scales" in name or name == "class alone" for name in names)
    assert trained[1].page.sought == "class" and trained[1].page.gallery.images.dtype == np.uint8
    assert 0 <= trained[1].results["novel/descriptor/map@r"] <= 1


def test_several_scales_of_kept_features_are_refused(trained):
    config = presets.get_config("gem,smoke,source=photos")
    theirs = json.loads((trained[0] / "config.json").read_text())
    config.data.update(theirs["data"])
    config.pretrained.update(theirs["pretrained"])
    config.evaluation.scales = (1.0, 0.5)
    with pytest.raises(UserError, match="has 2 scales of features that are kept at one"):
        prepare(config)


@pytest.fixture(scope="module")
def pooled(buildings, tiny_family, hasty):
    """An evaluation of generalised means, and the descriptors of its photos."""
    evaluation = retrieval_revisited.make(protocol(buildings, "gem"))
    return evaluation, retrieval_revisited.described(evaluation)


def test_the_protocol_of_a_pooled_network(pooled, buildings, tmp_path, monkeypatch):
    evaluation, (one, several) = pooled
    assert evaluation.power == 3.0
    monkeypatch.setattr(retrieval_revisited_evaluation, "described", lambda _: (one, several))
    outcome = prepare(protocol(buildings, "gem"))(tmp_path)
    assert one.queries.shape == several.queries.shape == (3, 12) and several.database.shape == (6, 12)
    ranks = np.argsort(-(several.queries @ several.database.T), axis=1, kind="stable")
    wanted = revisited_scores(ranks, revisited.load(buildings / "gnd.pkl").relevant)
    for name, value in wanted.items():
        if not name.endswith("queries"):
            assert outcome.results[f"test/descriptor/{name}"] == pytest.approx(value, abs=1e-9), name
    assert outcome.results["test/hard/queries"] == 2 and outcome.results["test/medium/queries"] == 3
    assert [row.name for row in outcome.rows][:2] == ["descriptor", "one scale"] and len(outcome.rows) == 5
    assert outcome.test_evaluations == 5 and outcome.page.sought == "building"
    assert len((*outcome.page.matches, *outcome.page.failures)) in (2, 3)


def test_queries_are_cropped_to_what_is_asked_for(pooled, buildings):
    """The rest of a query photo has another colour: without it, the descriptor is that of a photo of the box alone."""
    evaluation, (alone, _) = pooled
    whole = dataclasses.replace(evaluation.truth, boxes=np.tile([[0.0, 0.0, 120.0, 80.0]], (3, 1)))
    with_rest = retrieval_revisited.described(dataclasses.replace(evaluation, truth=whole))[0]
    encode = retrieval_revisited.encoder(evaluation.model, evaluation.variables)
    pixels = np.asarray(Image.open(buildings / "query_1.jpg"))[8:72, 10:74]
    np.testing.assert_allclose(alone.queries[1], np.asarray(encode(pixels[None]))[0], atol=1e-5)
    assert np.abs(with_rest.queries[1] - alone.queries[1]).max() > 1e-3


def test_learned_regions_and_their_whitening_come_from_a_finished_run(buildings, trained, tmp_path):
    evaluation = retrieval_revisited.make(protocol(buildings, "regions", start_run=str(trained[0])))
    assert evaluation.variables["params"]["method"]["prototypes"].shape == (2, 12) and evaluation.power == 1.0
    outcome = prepare(protocol(buildings, "regions", start_run=str(trained[0])))(tmp_path)
    assert 0 <= outcome.results["test/descriptor/medium/map"] <= 1
    assert "learned regions, each whitened in the network" in outcome.rows[0].note


@pytest.mark.parametrize(
    ("preset", "change", "message"),
    [
        ("gem", {"truth": ""}, "config.data.truth is empty; expected gnd_roxford5k.pkl"),
        ("gem", {"dir": "nowhere"}, "nowhere, which is no folder"),
        ("regions", {}, "config.start_run names no run; expected --config.start_run=WORKDIR"),
        ("gem", {"start_run": "RUN"}, "a run of the part method 'landmarks'; expected 'gem' as here"),
        ("gem", {"start_run": "nowhere"}, "holds no finished run"),
        ("gem", {"size": 0}, "config.data.size is 0"),
    ],
)
def test_mistakes_are_named(preset, change, message, buildings, trained):
    config = protocol(buildings, preset)
    for name, value in change.items():
        place = config if name == "start_run" else config.data
        place[name] = str(trained[0]) if value == "RUN" else value
    with pytest.raises(UserError, match=message):
        prepare(config)


def test_missing_photos_are_counted_and_one_is_named(buildings, tiny_family, tmp_path):
    for path in buildings.glob("*.jpg"):
        if path.stem not in ("gallery_3", "query_0"):
            (tmp_path / path.name).write_bytes(path.read_bytes())
    config = protocol(buildings, "gem")
    config.data.dir = str(tmp_path)
    with pytest.raises(UserError, match="lacks gallery_3.jpg, one of 2 missing photos of 9; expected every photo"):
        prepare(config)


BOX = r"query query_1 has a query box \(130.0, 8.0, 190.0, 72.0\) with no pixel in a photo of 80 x 120; expected a box in"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda gnd: gnd[1].update(bbx=[130, 8, 190, 72]), BOX),
        (lambda gnd: gnd[2].pop("junk"), "query query_2 has no 'junk'; expected bbx, easy, hard, junk"),
        (lambda gnd: gnd[1].update(hard=[6]), "hard of query query_1 has numbers other than 0 to 5"),
        (lambda gnd: [one.update(easy=[], hard=[]) for one in gnd[1:]], "1 queries have an easy or hard photo; expected 2"),
    ],
)
def test_mistakes_of_the_ground_truth_are_known_before_a_photo_is_described(buildings, tiny_family, tmp_path, change, message):
    truth = pickle.loads((buildings / "gnd.pkl").read_bytes())
    change(truth["gnd"])
    (tmp_path / "gnd_mine.pkl").write_bytes(pickle.dumps(truth))
    config = protocol(buildings, "gem")
    config.data.truth = str(tmp_path / "gnd_mine.pkl")
    with pytest.raises(UserError, match=f"gnd_mine.pkl: {message}"):
        prepare(config)
