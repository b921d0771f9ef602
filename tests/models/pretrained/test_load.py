"""Loading: every table of names on a tiny network of that library, and files that do not fit."""

from __future__ import annotations

import jax
import numpy as np
import pytest
import safetensors.numpy

from partrep import UserError
from partrep.models.part_model import build
from partrep.models.pretrained.families import FAMILIES
from partrep.models.pretrained.load import classifier_input, load_pretrained, logits, module

NETWORKS = (
    "mobilenetv2", "resnet_basic", "resnet_bottleneck", "convnext_torchvision", "convnext_timm", "vit_timm",
    "vit_torchvision", "dino", "dinov2", "dinov2_reg",
)  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
def test_activations(name, golden, folder, shrink):
    loaded = load_pretrained(str(folder / f"{name}.safetensors"), shrink(name))
    side = 20 if name.startswith(("vit", "dino")) else 64
    image = golden["image"][:, :side, :side].astype(np.float32) / 64
    read = classifier_input if loaded.classifier is None else logits
    features, result = jax.jit(lambda x: (module(loaded).apply(loaded.variables, x, False), read(loaded, x)))(image)
    np.testing.assert_allclose(features, golden[f"{name}.features"], atol=1e-4, rtol=1e-4)
    np.testing.assert_allclose(result, golden[f"{name}.logits"], atol=1e-4, rtol=1e-4)


def test_sources_bring_their_own_preprocessing(folder, shrink):
    found = {name: load_pretrained(str(folder / f"{name}.safetensors"), shrink(name)).preprocessing for name in NETWORKS}
    assert found["vit_timm"].mean == (0.5, 0.5, 0.5) and found["vit_timm"].interpolation == "bicubic"
    assert found["vit_torchvision"] == found["resnet_basic"] and found["resnet_basic"].interpolation == "bilinear"
    assert (found["convnext_torchvision"].resize, found["convnext_timm"].resize) == (236, 256)


def test_tokens_are_parameters_of_their_own(folder, shrink):
    loaded = load_pretrained(str(folder / "dinov2_reg.safetensors"), shrink("dinov2_reg"))
    params = loaded.variables["params"]
    shapes = {name: params[name].shape for name in ("cls_token", "register_tokens", "position_embedding")}
    assert shapes == {"cls_token": (1, 1, 8), "register_tokens": (1, 4, 8), "position_embedding": (5, 5, 8)}
    assert loaded.backbone["grid"] == 5 and loaded.classifier is None
    with pytest.raises(UserError, match="has no classifier"):
        logits(loaded, np.zeros((1, 20, 20, 3), np.float32))


def test_variables_are_those_of_a_part_model(folder, shrink):
    loaded = load_pretrained(str(folder / "resnet_basic.safetensors"), shrink("resnet_basic"))
    model = build({"backbone": loaded.backbone, "method": {"name": "gap"}, "head": {"name": "linear"}}, classes=3)
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), np.zeros((1, 32, 32, 3), np.float32), False))
    for collection, tree in loaded.variables.items():
        inside = shapes[collection]["backbone"]
        assert jax.tree.structure(inside) == jax.tree.structure(tree)
        assert [leaf.shape for leaf in jax.tree.leaves(inside)] == [leaf.shape for leaf in jax.tree.leaves(tree)]


@pytest.fixture
def changed(folder, tmp_path):
    """changed(name, change) -> the path of a file of weights that `change` has altered in place."""

    def run(name, change):
        weights = safetensors.numpy.load_file(folder / f"{name}.safetensors")
        change(weights)
        safetensors.numpy.save_file(weights, tmp_path / "changed.safetensors")
        return str(tmp_path / "changed.safetensors")

    return run


def refused(path, family, *messages):
    with pytest.raises(UserError) as error:
        load_pretrained(path, family)
    message = str(error.value)
    assert "\n" not in message and all(part in message for part in messages), message


def test_wrapped_names(changed, shrink):
    def wrap(weights):
        for name in list(weights):
            weights[f"module.backbone.{name}"] = weights.pop(name)
        weights["module.head.mlp.0.weight"] = weights["module.head.last_layer.weight_v"] = np.ones((2, 2), np.float32)

    loaded = load_pretrained(changed("dino", wrap), shrink("dino"))
    assert loaded.classifier is None


def test_names_left_over(changed, shrink):
    def more(weights):
        for i in range(5):
            weights[f"extra{i}.weight"] = np.ones(2, np.float32)

    message = "found extra0.weight, extra1.weight, extra2.weight and 2 more (5 in all); expected names of the network alone"
    refused(changed("resnet_basic", more), shrink("resnet_basic"), "does not fit resnet34", message)


def test_missing_names(changed, shrink):
    path = changed("resnet_basic", lambda weights: weights.pop("layer2.0.bn1.running_mean"))
    refused(path, shrink("resnet_basic"), "nothing found for batch_stats/BasicBlock_2/BatchNorm_0/mean")
    path = changed("dino", lambda weights: weights.pop("pos_embed"))
    refused(path, shrink("dino"), "nothing found for params/position_embedding")


def test_other_shapes(changed, shrink):
    path = changed("resnet_basic", lambda weights: weights.update({"conv1.weight": np.ones((4, 3, 5, 5), np.float16)}))
    refused(path, shrink("resnet_basic"), "conv1.weight (5, 5, 3, 4) (expected (7, 7, 3, 4))")
    path = changed("resnet_basic", lambda weights: weights.update({"conv1.weight": np.ones(3, np.float16)}))
    refused(path, shrink("resnet_basic"), "conv1.weight (3,) (expected 4 axes)")
    path = changed("resnet_basic", lambda weights: weights.update({"fc.weight": np.ones((5, 7), np.float16)}))
    refused(path, shrink("resnet_basic"), "fc.weight (7, 5)", "expected weight [C, 8] and bias [C]")
    for shape in ((1, 28, 8), (26,), (2, 26, 8), (1, 26, 9)):
        path = changed("dino", lambda weights: weights.update(pos_embed=np.ones(shape, np.float16)))  # noqa: B023
        refused(path, shrink("dino"), f"pos_embed {shape}, cls_token (1, 1, 8)", "a square grid of positions")


def test_half_a_classifier(changed, shrink):
    def headless(weights):
        del weights["head.fc.weight"], weights["head.fc.bias"]

    assert load_pretrained(changed("convnext_timm", headless), shrink("convnext_timm")).classifier is None
    for name in ("head.fc.weight", "head.fc.bias", "head.norm.bias"):
        path = changed("convnext_timm", lambda weights: weights.pop(name))  # noqa: B023
        refused(path, shrink("convnext_timm"), "classifier of head.", "expected weight [C, 8] and bias [C]")


def test_another_network(folder, shrink):
    shrink("resnet_basic")
    refused(str(folder / "resnet_basic.safetensors"), "resnet50", "nothing found for batch_stats/BottleneckBlock_0/BatchNorm_2/mean", "205 in all")
    refused(str(folder / "resnet_basic.safetensors"), "resnet18", "nothing found for batch_stats/BasicBlock_5/BatchNorm_0/mean")


def test_unknown_family(folder):
    known = ", ".join(sorted(FAMILIES))
    refused(str(folder / "dino.safetensors"), "vgg16", f"unknown family of pretrained networks 'vgg16'; known: {known}")
