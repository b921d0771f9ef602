"""Open-set tasks on a few images: what each objective asks, which stage trains what, and the rows of the results."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import openset as presets
from partrep import UserError
from partrep.data import imageset
from partrep.data.openset import UNKNOWN, OpensetData
from partrep.data.source import ArraySource
from partrep.losses import reciprocal_points, softmax_cross_entropy
from partrep.models.generative_discriminative import Compared
from partrep.models.outputs import PartOutputs
from partrep.tasks import openset, openset_evaluation, openset_pictures, openset_run
from partrep.tasks.openset_evaluation import Scored

pytestmark = pytest.mark.usefixtures("hasty")
SCORES = ("maximum_probability", "maximum_logit", "energy", "openmax")


def drawings(seed):
    random = np.random.default_rng(seed)
    images = random.integers(0, 255, (12, 28, 28, 1)).astype(np.uint8)
    return imageset.of_arrays(ArraySource(images, np.arange(12) % 6, list("abcdef")), 28)


@pytest.fixture(scope="module")
def task():
    """A function from a method to its task on a dozen random drawings."""
    train, validation, known, unknown = map(drawings, range(4))
    data = OpensetData(train, validation, known, {UNKNOWN: unknown}, None, (), 1)

    def make(method):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(openset.openset_data, "load", lambda settings, trial: data)
            return openset.make(presets.get_config("mnist,smoke").to_dict(), method, 0)

    return make


def outputs(logits, codes=None):
    return PartOutputs(None, None, codes, jnp.float32(logits), None)


LOGITS, LABELS = np.random.default_rng(0).normal(size=(4, 3)), np.array([0, 2, 1, 1])


def test_objectives(task):
    entropy = float(softmax_cross_entropy(jnp.float32(LOGITS), LABELS).mean())
    plain, parts, arpl = (task(method) for method in ("softmax", "parts", "arpl"))
    assert float(openset.cross_entropy(plain, {}, outputs(LOGITS), LABELS)) == pytest.approx(entropy)
    own = -LOGITS[np.arange(4), LABELS].mean()
    assert float(openset.reconstruction(parts, {}, outputs(LOGITS), LABELS)) == pytest.approx(entropy + 0.1 * own)
    codes, points = jax.random.normal(jax.random.key(0), (4, 1, 5)), jax.random.normal(jax.random.key(1), (3, 5))
    params = {"head": {"points": points, "radius": jnp.float32(0.5)}}
    wanted = reciprocal_points(codes[:, 0], points, jnp.float32(0.5), LABELS)
    assert openset.arpl(arpl, params, outputs(LOGITS, codes), LABELS) == wanted


def test_attributes_are_asked_of_each_part():
    shares = np.random.default_rng(1).normal(size=(4, 2, 3))
    made = PartOutputs(None, None, None, jnp.float32(shares.sum(1)), None, contributions=jnp.float32(shares))
    wanted = -np.mean([shares[n, :, LABELS[n]] for n in range(4)])
    assert float(openset.attributes(None, {}, made, LABELS)) == pytest.approx(wanted, rel=1e-5)


def test_a_head_by_attributes_gets_the_values_of_the_known_classes(task):
    data = task("softmax").data
    model = {"backbone": {}, "head": {"name": "attributes"}}
    with pytest.raises(UserError, match="classes have no attributes"):
        openset.recipe(model, data)
    known = dataclasses.replace(data, attributes=np.arange(12).reshape(6, 2))
    assert openset.recipe(model, known)["head"]["table"] == tuple((2 * c, 2 * c + 1) for c in range(6))
    assert openset.recipe({"head": {"name": "concat"}}, known) == {"head": {"name": "concat"}}


def test_the_autoencoder_has_a_stage_of_its_own(task):
    made = openset.stages(task("generative_discriminative"))
    assert [stage.name for stage in made] == ["generative", "joint"]
    assert [stage.trainable for stage in made] == ["autoencoder/.*", "(?!autoencoder/).*"]
    (only,) = openset.stages(task("softmax"))
    assert (only.name, only.trainable) == ("joint", ".*")


def test_augmentation_and_objective_are_the_methods_own():
    config = presets.get_config("mnist").to_dict()
    assert openset.of_method(config, "softmax")["data"]["warp"] == {} != openset.of_method(config, "arpl")["data"]["warp"]
    assert openset.of_method(config, "arpl")["objective"] == "arpl"
    with pytest.raises(UserError, match="unknown method 'gan'"):
        openset.of_method(config, "gan")


def scored(value):
    kinds = {"far": value + 0.1, "near": value}
    table = {s: {kind: dict.fromkeys(openset_evaluation.METRICS, v) for kind, v in kinds.items()} for s in SCORES}
    return Scored(table, accuracy=0.9, named=0.5)


def test_rows_are_means_over_the_trials_compared_with_the_last():
    config = presets.get_config("mnist").to_dict()
    config["compared"] = ("softmax", "parts")
    trials = {"softmax": [scored(0.5), scored(0.7)], "parts": [scored(0.6), scored(0.8)]}
    rows = openset_evaluation.result_rows(config, trials)
    assert [row.name for row in rows] == ["softmax", "openmax", "parts_probability", "parts"] and rows[-1].reference
    assert rows[0].value == pytest.approx(0.65) and rows[0].seeds == pytest.approx((0.55, 0.75))
    assert rows[0].difference == pytest.approx(0.1) and rows[-1].difference is None
    assert 0 <= rows[0].interval[0] < 0.55 < 0.75 < rows[0].interval[1] <= 1
    numbers = openset_evaluation.flat((0, 3), trials)
    assert numbers["test/parts/energy/far/oscr"] == pytest.approx(0.8)
    assert numbers["trial3/softmax/openmax/auroc"] == pytest.approx(0.75)
    assert numbers["test/parts/unknown_part_named"] == 0.5
    kinds = openset_evaluation.kind_table(trials)
    assert kinds.columns == ("far", "near", "part named")
    assert len(openset_evaluation.score_table(trials).rows) == 8


@pytest.mark.parametrize("method", ["softmax", "parts"])
def test_pictures_are_those_that_the_score_gets_most_wrong(task, method, monkeypatch):
    made = task(method)
    scores = {"known": np.arange(12.0), UNKNOWN: 5.5 + np.array([3.0, -9, 1, 0, -8, -7, 2, -6, -5, -4, 5, -3])}
    logits = {name: -np.abs(np.arange(6) - (values.astype(int) % 6)[:, None]) for name, values in scores.items()}
    read = openset_evaluation.Read(logits, None, 3)
    monkeypatch.setattr(openset_evaluation.Read, "scores", lambda self, name: scores)
    monkeypatch.setattr(openset_pictures, "SHOWN", 2)
    unknown, known = openset_pictures.pictures(made, made.init(jax.random.key(0)), read, "maximum_logit")
    images = [made.data.unknown[UNKNOWN].load(np.array([10, 0]))["image"], made.data.known.load(np.array([0, 1]))["image"]]
    for group, wanted, truths in ((unknown, images[0], "ea"), (known, images[1], "ab")):
        assert [one.truth for one in group.images] == list(truths)
        np.testing.assert_allclose([one.image for one in group.images], 1 - wanted / 255, atol=1e-6)  # ink is 1
        assert all((one.part is None) == (method == "softmax") for one in group.images)
    assert [one.taken for one in unknown.images] == ["e", "c"] and [one.taken for one in known.images] == ["a", "b"]
    assert [one.said for one in unknown.images] == [f"{n} % of the known images score lower" for n in (92, 75)]
    assert [one.said for one in known.images] == [f"{n} % of the unknown images score higher" for n in (67, 58)]


def test_one_trial_has_no_interval():
    config = {**presets.get_config("mnist").to_dict(), "compared": ("parts",)}
    for row in openset_evaluation.result_rows(config, {"parts": [scored(0.6)]}):
        assert row.interval is None and row.seeds == ()


def own(method, **changes):
    """Changes of one method's entries; those that become None are taken away."""
    methods = presets.get_config("mnist").to_dict()["methods"]
    entries = {name: value for name, value in {**methods[method], **changes}.items() if value is not None}
    return {"methods": {**methods, method: entries}}


@pytest.mark.parametrize("change, message", [
    ({"trials": ()}, r"config.trials is \(\)"),
    ({"trials": (1, 1)}, "expected different ones"),
    ({"compared": ("gan",)}, "unknown method 'gan'"),
    (own("parts", objective="arpl"), "objective 'arpl' and head 'autoencoders'; expected the head 'reciprocal'"),
    (own("arpl", objective="reconstruction"), "head 'reciprocal'; expected the head 'autoencoders'"),
    (own("parts", own_error=None), "expected own_error=WEIGHT besides"),
    (own("parts", scores=()), r"config.methods.parts.scores is \(\); expected one or more"),
    (own("parts", scores=("parts", "energy")), r"expected one or more of \(NAME, SCORE\)"),
    (own("parts", scores=(("parts", "logit"),)), "unknown score 'logit'; known: maximum_probability, maximum_logit"),
    (own("parts", scores=(("arpl", "energy"),)), "two scores named 'arpl'"),
    (own("parts", warp={"scale": (0.9,)}), r"config.methods.parts.warp.scale is \(0.9,\); expected 2 numbers"),
])  # fmt: skip
def test_mistakes_are_found_before_anything_is_read(change, message):
    with pytest.raises(UserError, match=message):
        openset_run.prepare({**presets.get_config("mnist").to_dict(), **change})


def test_classes_are_asked_of_upright_images_and_turns_of_turned_ones(task, monkeypatch):
    made = task("generative_discriminative")
    seen = {}

    def forward(self, params, model_state, images, key):
        seen["images"] = images
        count = images.shape[0]
        # The classifier knows the upright labels, and the turns of nothing.
        logits = 50.0 * jax.nn.one_hot(jnp.arange(count) % 6, 6)
        return Compared(outputs(logits), images, jnp.zeros((count, 4))), model_state

    monkeypatch.setattr(openset.Openset, "forward", forward)
    batch = made.data.train.load(np.arange(6))
    terms, aux = openset.turns_loss(made, {}, {}, {}, batch, jax.random.key(0))
    assert float(terms["classification"][0]) < 1e-6 and float(aux.metrics["accuracy"]) == 1
    assert float(terms["turns"][0]) == pytest.approx(np.log(4)) and seen["images"].shape[0] == 6 + 3
    upright = np.asarray(seen["images"])
    for image, shown in zip(upright[:3], upright[6:]):
        assert any(np.array_equal(np.rot90(image, k), shown) for k in range(4))
