"""The explained logit, and a part model as an `Explained`."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from partrep import UserError
from partrep.explain.cam import hires_cam
from partrep.explain.model import Explained, logits_of_views, pick
from partrep.models.bottlenecks import BOTTLENECKS
from partrep.models.heads.linear import Linear
from partrep.models.part_model import PartModel
from partrep.parts.gap import Gap

IMAGES = np.random.default_rng(0).uniform(size=(2, 16, 16, 3)).astype(np.float32)


def test_an_unknown_class_gives_nan_and_nan_gradients_and_spares_the_others():
    logits = jnp.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    target = jnp.array([0, 2, -1])
    value, gradient = jax.jit(jax.vmap(jax.value_and_grad(lambda z, c: pick(z[None], c[None])[0])))(logits, target)
    np.testing.assert_array_equal(value, [1.0, np.nan, np.nan])
    np.testing.assert_array_equal(gradient[0], [1.0, 0.0])
    assert np.isnan(gradient[1:]).any(axis=1).all()


def test_views_in_blocks_of_any_size_are_the_views_one_by_one():
    model = Explained(lambda x: x.mean((1, 2), keepdims=True), lambda z: z[:, 0, 0] ** 2)
    scales, target = jnp.arange(1.0, 6.0), jnp.array([0, 2])
    want = (np.arange(1, 6)[:, None] * IMAGES.mean((1, 2))[[0, 1], [0, 2]]) ** 2
    for block in (1, 2, 99):
        got = jax.jit(lambda s, b=block: logits_of_views(model, lambda v: v * IMAGES, s, target, b))(scales)
        np.testing.assert_allclose(got, want, rtol=1e-5)
    with pytest.raises(UserError, match="a block of 0 batches"):
        logits_of_views(model, lambda v: v * IMAGES, scales, target, 0)


def test_a_head_of_another_shape_is_named():
    model = Explained(lambda x: x, lambda z: z)
    with pytest.raises(ValueError, match=r"logits has shape .*expected \[B,C\]"):
        hires_cam(model, IMAGES, jnp.array([0, 1]))
    with pytest.raises(ValueError, match=r"hires_cam: target has shape \(3,\); expected \[B\] with B=2"):
        hires_cam(model, IMAGES, jnp.array([0, 1, 2]))


class Patches(nn.Module):
    """A backbone of one layer."""

    @nn.compact
    def __call__(self, image, train):
        b, h, w, c = image.shape
        return jnp.tanh(nn.Dense(8)(image.reshape(b, h // 4, 4, w // 4, 4, c).mean((2, 4))))


def test_a_part_model_is_explained_exactly_where_it_is_linear_after_the_features():
    net = PartModel(backbone=Patches(), method=Gap(), bottleneck=BOTTLENECKS["identity"](), head=Linear(classes=3))
    shapes = jax.eval_shape(lambda k: net.init(k, IMAGES, train=False), jax.random.key(0))
    random = np.random.default_rng(1)
    variables = jax.tree.map(lambda leaf: random.normal(size=leaf.shape).astype(np.float32), shapes)

    def read(module, features):
        parts = module.method(features, False)
        return module.head(module.bottleneck(parts.vectors, False), parts.presence, False)

    @jax.jit
    def explain(v, images, target):
        model = Explained(
            features=lambda x: net.apply(v, x, method=lambda m, y: m.backbone((y - 0.5) / 0.25, False)),
            head=lambda z: net.apply(v, z, method=read),
        )
        whole = net.apply(v, images, train=False).logits
        return model.logits(images), whole, hires_cam(model, images, target)

    logits, whole, maps = explain(variables, IMAGES, jnp.array([2, 1]))
    np.testing.assert_allclose(logits, whole, rtol=1e-5)
    bias = variables["params"]["head"]["bias"]
    np.testing.assert_allclose(maps.sum((1, 2)), (logits - bias)[jnp.arange(2), jnp.array([2, 1])], rtol=1e-4)
