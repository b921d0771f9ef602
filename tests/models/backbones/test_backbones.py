"""Every backbone: types, images judged alone, BatchNorm in training and evaluation."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from partrep.models.backbones import BACKBONES

SMALL = {
    "conv4": {"widths": (4, 4), "strides": (2, 1)},
    "convnet": {"widths": (4, 6), "pools": (False, True)},
    "resnet12": {"widths": (4, 6), "strides": (2, 1)},
    "resnet18": {"stages": (1, 1), "widths": (4, 6), "strides": (1, 2)},
    "resnet34": {"stages": (1, 1), "widths": (4, 6), "strides": (1, 2)},
    "resnet50": {"stages": (1, 1), "widths": (4, 6), "strides": (1, 2)},
    "resnet101": {"stages": (1, 1), "widths": (4, 6), "strides": (1, 2)},
    "cifar_resnet": {"depth": 8, "widths": (4, 6)},
    "mobilenetv2": {"widths": (4,) * 7, "depths": (1,) * 7, "stem": 4, "head": 6, "stride": 16},
    "convnext_tiny": {"widths": (4, 6), "depths": (1, 1)},
    "vit": {"patch": 4, "width": 8, "depth": 1, "heads": 2, "registers": 1, "layer_scale": True, "grid": 3},
    "patchnet": {"widths": (4, 6), "depths": (1, 1), "strides": (1, 2), "patch": 2},
}
STEADY = ("convnext_tiny", "vit")  # without BatchNorm, the same in training
TWINS = ("resnet34", "resnet101")  # the modules of resnet18 and resnet50
NORMED = sorted(set(BACKBONES) - {*STEADY, *TWINS})


def random_variables(shapes):
    """Random parameters and fresh statistics without compiling an initialisation."""
    rng = np.random.default_rng(1)
    params = jax.tree.map(lambda s: rng.normal(0, 0.3, s.shape).astype(np.float32), shapes["params"])
    stats = jax.tree_util.tree_map_with_path(
        lambda path, s: np.full(s.shape, float(path[-1].key == "var"), np.float32), shapes.get("batch_stats", {})
    )
    return {"params": params, "batch_stats": stats}


def made(name):
    """Name, variables, images and the jitted backbone."""
    model = BACKBONES[name](**SMALL[name])
    image = np.random.default_rng(0).normal(size=(3, 16, 16, 2)).astype(np.float32)
    variables = random_variables(jax.eval_shape(lambda: model.init(jax.random.key(0), image, True)))
    apply = jax.jit(lambda v, x, train: model.apply(v, x, train, mutable=["batch_stats"]), static_argnums=2)
    return name, variables, image, apply


@pytest.fixture(scope="module", params=NORMED)
def run(request):
    return made(request.param)


def test_training_uses_and_moves_the_statistics(run):
    _, variables, image, apply = run
    before = variables["batch_stats"]
    trained, moved = apply(variables, image, True)
    assert any(not np.allclose(a, b) for a, b in zip(jax.tree.leaves(before), jax.tree.leaves(moved["batch_stats"])))
    for _ in range(200):
        _, moved = apply({**variables, **moved}, image, True)
    # With the statistics of this very batch, evaluation gives what training gave (variance is not unbiased).
    evaluated, kept = apply({**variables, **moved}, image, False)
    np.testing.assert_allclose(evaluated, trained, rtol=1e-2, atol=1e-3)
    jax.tree.map(np.testing.assert_array_equal, kept["batch_stats"], moved["batch_stats"])


def test_evaluation_judges_each_image_alone(run):
    alone(run)


@pytest.mark.parametrize("name", STEADY)
def test_training_is_evaluation_without_batch_norm(name):
    _, variables, image, apply = run = made(name)
    np.testing.assert_array_equal(apply(variables, image, True)[0], apply(variables, image, False)[0])
    alone(run)


def alone(run):
    _, variables, image, apply = run
    whole, _ = apply(variables, image, False)
    changed = image.copy()
    changed[1:] = 7.0
    np.testing.assert_allclose(apply(variables, changed, False)[0][0], whole[0], rtol=1e-5, atol=1e-5)


def test_momentum(run):
    _, variables, image, apply = run
    once = apply(variables, image, True)[1]["batch_stats"]
    twice = apply({**variables, "batch_stats": once}, image, True)[1]["batch_stats"]
    for start, a, b in zip(*(jax.tree.leaves(t) for t in (variables["batch_stats"], once, twice))):
        np.testing.assert_allclose(b - a, 0.9 * (a - start), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", sorted(BACKBONES))
def test_low_precision_compute_float32_parameters(name):
    image = np.zeros((1, 16, 16, 2), np.float32)
    model = BACKBONES[name](**SMALL[name], dtype=jnp.bfloat16)
    variables = jax.eval_shape(lambda: model.init(jax.random.key(0), image, True))
    out = jax.eval_shape(lambda v: model.apply(v, image, False), variables)
    assert out.dtype == jnp.bfloat16
    assert {x.dtype for x in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
