"""Explanations bound to part models: which there are, batches, and models that read the image again."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from partrep import UserError
from partrep.explain import bound
from partrep.explain.cam import hires_cam
from partrep.explain.contributions import (
    centred_contributions,
    level,
    location_contributions,
    spread_contributions,
)
from partrep.explain.gradients import pixel_gradient
from partrep.explain.model import class_logit
from partrep.models.part_model import PartModel, build, outputs_of

CLASSES, SIDE = 3, 16
BACKBONE = {"name": "patchnet", "widths": [8], "depths": [0], "patch": 4, "strides": [1]}
ISOLATED = {"name": "isolated", "width": 8, "depth": 1, "heads": 2}
RNG = np.random.default_rng(0)
IMAGES = RNG.uniform(size=(5, SIDE, SIDE, 3)).astype(np.float32)
TARGET = RNG.integers(0, CLASSES, 5).astype(np.int32)


def make(method="landmarks", head="concat", **more):
    """A tiny model, and its variables away from their start."""
    fields = {"name": method} if method in ("gap", "ca_stream") else {"name": method, "parts": 3}
    config = {"backbone": BACKBONE, "method": fields, "bottleneck": {"name": "standardised"}, "head": {"name": head}}
    model = build(config | more, CLASSES)
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), IMAGES, True))
    rng = np.random.default_rng(1)
    draw = {"params": lambda s: 0.3 * rng.normal(size=s.shape), "batch_stats": lambda s: rng.uniform(0.5, 1.5, s.shape)}
    made = {name: jax.tree.map(lambda s, name=name: np.float32(draw[name](s)), tree) for name, tree in shapes.items()}
    return model, made


@pytest.fixture(scope="module")
def landmarks():
    return make()


@pytest.fixture(scope="module")
def isolated():
    return make(readout=ISOLATED)


@pytest.fixture(scope="module")
def outputs(isolated):
    """What the model with an isolated read-out makes of the images."""
    return jax.jit(lambda x: isolated[0].apply(isolated[1], x, False))(IMAGES)


@pytest.fixture
def batch(monkeypatch):
    """Batches of two: five images are three batches, the last with one image twice."""
    monkeypatch.setattr(bound, "BATCH", 2)


POST_HOC = list(bound.POST_HOC)


@pytest.mark.parametrize(
    "settings, own, reached",
    [
        ({}, ["contributions", "centred contributions", "location contributions"], 2),
        ({"method": "gap"}, ["centred contributions", "location contributions"], 2),
        ({"method": "ca_stream"}, ["contributions", "centred contributions", "location contributions"], 2),
        ({"head": "cosine"}, ["contributions"], 0),
        ({"bottleneck": {"name": "binary", "bits": 4}}, ["contributions"], 1),
        ({"method": "regions"}, ["contributions"], 1),
    ],
)
def test_names_by_kind_of_model(settings, own, reached):
    config = {"backbone": BACKBONE, "method": {"name": settings.get("method", "landmarks")}}
    bottleneck = settings.get("bottleneck", {"name": "identity"})
    model = build(config | {"head": {"name": settings.get("head", "linear")}, "bottleneck": bottleneck}, CLASSES)
    assert level(model) == reached
    assert list(bound.explanations(model, {})) == own + POST_HOC
    assert list(bound.explanations(model, {}, ("occlusion", "grad-cam"))) == [*own, "occlusion", "grad-cam"]
    assert list(bound.explanations(model, {}, ())) == own


def test_a_model_without_classifier_has_nothing_to_say_of_itself():
    model = build({"backbone": BACKBONE, "method": {"name": "landmarks"}})
    assert list(bound.explanations(model, {}, ())) == []


def test_the_map_of_a_class_token_is_its_attention_in_units_of_the_logit():
    model, variables = make("ca_stream")
    found = bound.explanations(model, variables, ())["contributions"](IMAGES, TARGET)
    outputs = jax.jit(lambda x: outputs_of(model, variables, x))(IMAGES)
    share = np.asarray(outputs.contributions)[np.arange(5), 0, TARGET]
    np.testing.assert_allclose(found, share[:, None, None] * outputs.parts.assignment[:, 0], rtol=1e-4, atol=1e-6)
    assert np.abs(share).max() > 0.01 and np.ptp(outputs.parts.assignment) > 0.01


def test_an_unknown_name_is_refused(landmarks):
    with pytest.raises(UserError, match="unknown explanation 'lime'; known: grad-cam, grad-cam"):
        bound.explanations(*landmarks, ("lime",))


def test_the_predictor_is_the_model_and_so_is_the_model_cut_at_its_features(landmarks):
    found = bound.predictor(*landmarks)(IMAGES)
    assert isinstance(found, np.ndarray) and found.shape == (5, CLASSES)
    model, variables = landmarks
    cut = bound.explained(*landmarks)
    outputs, logits, maps = jax.jit(lambda x: (model.apply(variables, x, False), cut.logits(x), cut.maps(x)))(IMAGES)
    np.testing.assert_allclose(found, outputs.logits, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(logits, found, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(maps, outputs.features)


def test_batches_that_do_not_divide_give_the_maps_of_all_images(landmarks, batch):
    model, variables = landmarks
    explain = bound.explanations(model, variables, ("hires-cam",))

    @jax.jit
    def at_once(images):
        out = outputs_of(model, variables, images)
        own = [f(model, variables, out, TARGET).sum(1) for f in (centred_contributions, location_contributions)]
        return spread_contributions(out, TARGET), *own, hires_cam(bound.explained(model, variables), images, TARGET)

    for (name, function), expected in zip(explain.items(), at_once(IMAGES)):
        found = function(IMAGES, TARGET)
        assert isinstance(found, np.ndarray) and found.shape == (5, 4, 4), name
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
        assert np.abs(found).max() > 1e-3
        np.testing.assert_allclose(function(IMAGES[4:], TARGET[4:]), expected[4:], rtol=1e-4, atol=1e-5)


def test_a_model_that_reads_the_image_again_is_explained_by_its_images_alone(isolated, outputs):
    model, variables = isolated
    assert level(model) == 3
    found = bound.explanations(model, variables)
    assert list(found) == ["contributions", "input x gradient", "integrated gradients", "occlusion"]
    assert list(bound.explanations(model, variables, ("grad-cam", "occlusion"))) == ["contributions", "occlusion"]
    cut = bound.explained(model, variables)
    np.testing.assert_array_equal(cut.maps(IMAGES), IMAGES)
    np.testing.assert_allclose(jax.jit(cut.logits)(IMAGES), outputs.logits, rtol=1e-5, atol=1e-5)


def test_contributions_of_an_isolated_read_out_lie_in_its_masks(isolated, outputs):
    model, variables = isolated
    found = bound.explanations(model, variables, ())["contributions"](IMAGES, TARGET)
    masks, share = np.asarray(outputs.parts.assignment), outputs.contributions[np.arange(5), :, TARGET]
    expected = np.zeros((5, 4, 4))
    for image, part in np.ndindex(5, 3):
        inside = masks[image, part] > 0
        expected[image][inside] = share[image, part] / max(inside.sum(), 1)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert set(np.unique(masks)) <= {0.0, 1.0} and (masks.sum((2, 3)) > 0).sum() > 5


def test_the_gradient_of_an_isolated_read_out_is_that_of_its_logit(isolated):
    """Not that which passes straight through the hard masks: it is compared with differences of the logit."""
    model, variables = isolated
    cut = bound.explained(model, variables)
    through = jax.grad(lambda x: model.apply(variables, x, False).logits[jnp.arange(5), TARGET].sum())

    @jax.jit
    def both(x):
        masks = outputs_of(model, variables, x).parts.assignment
        return class_logit(cut, x, TARGET), masks, pixel_gradient(cut, x, TARGET), through(x)

    _, masks, gradient, other = both(IMAGES)
    step, compared = 2e-3, 0
    for way in RNG.normal(size=(4, *IMAGES.shape)).astype(np.float32):
        (up, above, _, _), (down, below, _, _) = both(IMAGES + step * way), both(IMAGES - step * way)
        same = np.all((above == masks) & (below == masks), axis=(1, 2, 3))
        slope = (np.asarray(gradient) * way).sum((1, 2, 3))
        np.testing.assert_allclose(((up - down) / (2 * step))[same], slope[same], rtol=0.03, atol=0.01)
        compared += same.sum()
    assert compared > 5
    assert np.abs(other - gradient).max() > 0.1 * np.abs(gradient).max()  # what passes through says otherwise


def test_locations_are_not_offered_where_the_read_out_is_isolated(isolated):
    model, variables = isolated
    with pytest.raises(UserError, match="the read-out Isolated reads the image again"):
        location_contributions(model, variables, None, TARGET)
    with pytest.raises(UserError, match="expected images, not features"):
        model.apply(variables, jnp.ones((1, 4, 4, 8)), method=PartModel.from_features)
