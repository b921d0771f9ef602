"""The composed model: shapes, standardisation, embedding, and clear errors."""

from __future__ import annotations

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from partrep import UserError
from partrep.models.part_model import PartModel, build, part_vectors, weighted_mean
from partrep.parts.structure import Parts

CONFIG = {
    "backbone": {"name": "patchnet", "widths": [8], "depths": [1], "strides": [1], "patch": 4},
    "method": {"name": "landmarks", "parts": 3},
    "head": {"name": "linear"},
}


@pytest.fixture(scope="module")
def run():
    model = build(CONFIG, classes=5)
    image = np.random.default_rng(0).uniform(size=(2, 16, 16, 3)).astype(np.float32)
    variables = jax.jit(lambda x: model.init(jax.random.key(0), x, True))(image)
    return model, variables, image, jax.jit(lambda v, x: model.apply(v, x, False))(variables, image)


def test_shapes_and_types(run):
    _, variables, _, out = run
    assert out.features.shape == (2, 4, 4, 8) and out.codes.shape == (2, 3, 8)
    assert out.logits.shape == (2, 5) and out.embedding.shape == (2, 8)
    assert out.logits.dtype == out.embedding.dtype == jnp.float32
    assert set(variables["params"]) == {"backbone", "method", "head"}
    assert all(x.dtype == jnp.float32 for x in jax.tree.leaves(variables))


def test_embedding_is_the_presence_weighted_mean_of_the_codes(run):
    out = run[-1]
    expected = [np.average(c, axis=0, weights=p) for c, p in zip(out.codes, out.parts.presence)]
    np.testing.assert_allclose(out.embedding, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(weighted_mean(jnp.ones((1, 2, 3)), jnp.zeros((1, 2))), np.zeros((1, 3)))


def test_contributions_sum_to_the_logits_less_the_bias(run):
    model, variables, _, out = run
    share = model.head.apply(
        {"params": variables["params"]["head"]}, out.codes, out.parts.presence, method="contributions"
    )
    bias = variables["params"]["head"]["bias"]
    np.testing.assert_allclose(share.sum(1), out.logits - bias, atol=1e-4)


def test_the_model_standardises(run):
    model, variables, image, out = run
    inner = jax.jit(lambda v, x: model.backbone.apply(v, x, False))(
        {c: tree["backbone"] for c, tree in variables.items()}, (image - 0.5) / 0.25
    )
    np.testing.assert_allclose(out.features, inner, rtol=1e-5, atol=1e-5)


def test_images_are_normalised_as_the_config_says(run):
    image = run[2]
    normalised = build({**CONFIG, "normalisation": {"mean": (0.1, 0.2, 0.3), "std": 0.5}}, classes=5)
    plain = build({**CONFIG, "normalisation": {"mean": 0, "std": 1}}, classes=5)
    out = jax.jit(functools.partial(normalised.apply, train=False))(run[1], image)
    by_hand = (image - np.array([0.1, 0.2, 0.3])) / 0.5
    expected = jax.jit(functools.partial(plain.apply, train=False))(run[1], by_hand)
    np.testing.assert_allclose(out.logits, expected.logits, rtol=1e-5, atol=1e-5)


def test_low_precision_compute_keeps_float32_parameters_and_outputs(run):
    image = run[2]
    model = build(CONFIG, classes=5, dtype=jnp.bfloat16)
    variables = jax.eval_shape(lambda: model.init(jax.random.key(0), image, True))
    out = jax.eval_shape(lambda v: model.apply(v, image, False), variables)
    assert all(x.dtype == jnp.float32 for x in jax.tree.leaves(variables))
    assert out.features.dtype == jnp.bfloat16
    assert out.logits.dtype == out.embedding.dtype == jnp.float32


def test_no_head_no_logits():
    model = build({k: CONFIG[k] for k in ("backbone", "method")})
    out = jax.eval_shape(
        lambda: model.apply(
            model.init(jax.random.key(0), jnp.zeros((1, 8, 8, 1)), True), jnp.zeros((1, 8, 8, 1)), False
        )
    )
    assert out.logits is None and out.codes.shape == (1, 3, 8)


def test_a_model_without_decoder_or_random_codes_says_so(run):
    assert run[-1].reconstruction is None and run[-1].posterior is None


@pytest.fixture(scope="module")
def generative(run):
    backbone = {"name": "patchnet", "widths": [8], "depths": [0], "strides": [1], "patch": 4}
    rest = {"bottleneck": {"name": "disentangled", "width": 4}, "decoder": {"name": "parts", "hidden": 8}}
    model, image = build(CONFIG | {"backbone": backbone} | rest, classes=5), run[2]
    keys = {"params": jax.random.key(0), "gumbel": jax.random.key(1)}
    shapes, rng = jax.eval_shape(lambda: model.init(keys, image, True)), np.random.default_rng(1)
    return model, jax.tree.map(lambda s: rng.uniform(-0.2, 0.8, s.shape).astype(np.float32) ** 2, shapes), image


def test_a_generative_model_paints_its_image_from_codes_and_parts(generative):
    model, variables, image = generative
    evaluate = jax.jit(lambda v, x: model.apply(v, x, False))
    out = evaluate(variables, image)
    assert set(variables["params"]) == {"backbone", "method", "bottleneck", "head", "decoder"}
    np.testing.assert_array_equal(out.codes, out.posterior.mean)
    np.testing.assert_array_equal(out.reconstruction.image, evaluate(variables, image).reconstruction.image)
    assert out.posterior.log_variance.shape == (2, 3, 4)
    shares, layers = np.asarray(out.reconstruction.shares), np.asarray(out.reconstruction.layers)
    assert shares.shape == (2, 4, 16, 16) and layers.shape == (2, 4, 16, 16, 3)
    np.testing.assert_allclose(shares[:, :3, ::4, ::4], out.parts.assignment, rtol=1e-6)
    np.testing.assert_allclose((shares[..., None] * layers).sum(1), out.reconstruction.image, rtol=1e-4, atol=1e-5)


def test_training_draws_codes_from_the_posterior_that_the_outputs_hold(generative):
    model, variables, image = generative

    @jax.jit
    def forward(params, key):
        tree = {**variables, "params": params}
        out, _ = model.apply(tree, image, True, rngs={"gumbel": key}, mutable=["batch_stats"])
        return jnp.mean((out.reconstruction.image - image) ** 2), (out.codes, out.posterior)

    train = jax.jit(jax.value_and_grad(forward, has_aux=True))
    (_, (codes, posterior)), gradients = train(variables["params"], jax.random.key(2))
    noise = (codes - posterior.mean) / jnp.exp(posterior.log_variance / 2)
    assert 0.3 < float(jnp.std(noise)) < 2.0
    (_, (other, same)), _ = train(variables["params"], jax.random.key(3))
    np.testing.assert_array_equal(posterior.mean, same.mean)
    assert not np.allclose(codes, other)  # new noise about the same means
    for name in ("backbone", "method", "bottleneck", "decoder"):
        assert any(np.abs(x).max() > 0 for x in jax.tree.leaves(gradients[name])), name


def test_scores_stand_in_for_vectors():
    class Scores(nn.Module):
        def __call__(self, features, train):
            scores = features.mean((1, 2))[:, :2].astype(jnp.float32)
            whole = jnp.ones((len(features), 2, *features.shape[1:3]))
            where = jnp.full((len(features), 2, 2), 0.5)
            return Parts(whole, whole, None, None, scores, jnp.ones_like(scores), where)

    base = build(CONFIG, classes=5)
    model = PartModel(base.backbone, Scores(), base.bottleneck)
    out = jax.eval_shape(lambda: model.init_with_output(jax.random.key(0), jnp.zeros((2, 16, 16, 3)), True)[0])
    assert out.codes.shape == (2, 2, 1)
    empty = Parts(None, None, None, None, None, None, None)
    with pytest.raises(UserError, match="neither vectors nor scores"):
        part_vectors(empty)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"method": {"name": "slot"}}, "unknown part method 'slot'; known: assigned, ca_stream, exclusive, gap, gem, landmarks, locations, prototypes, regions, rmac, slots"),
        ({"backbone": {"name": "vgg"}}, "unknown backbone 'vgg'; known: cifar_resnet, conv4, convnet, convnext_tiny, mobilenetv2, patchnet, "),
        (
            {"backbone": {"name": "conv4", "width": 3}},
            "'conv4' has no field 'width'; it has: widths, strides",
        ),
        ({"decoder": {"name": "pixels"}}, "unknown decoder 'pixels'; known: parts"),
        ({"head": {"name": "perceptron"}}, "unknown head 'perceptron'; known: attention, attributes, autoencoders, class_tied, concat, concat_cosine, cosine, linear, mlp, nonnegative, parts_cosine, reciprocal"),
        ({"head": {"name": "attributes"}}, "head 'attributes' without 'table'; expected a value for it"),
        ({"backbone": {}}, "backbone without a name; known: cifar_resnet, conv4"),
        ({"neck": {}}, "model has no entry 'neck'"),
    ],
)
def test_mistakes_in_the_config(change, message):
    with pytest.raises(UserError, match=message):
        build({**CONFIG, **change}, classes=5)


def test_a_head_needs_classes():
    with pytest.raises(UserError, match="expected `classes`"):
        build(CONFIG)
