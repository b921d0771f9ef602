"""MobileNetV2 with ImageNet weights, against float64 activations of another implementation."""

from __future__ import annotations

import json

import jax
import numpy as np
import pytest

from partrep.models.pretrained.load import classifier_input, load_pretrained, logits, module

LAST = {"conv_stem": "BatchNorm_0", **{f"blocks.{i}": f"InvertedResidual_{n}" for i, n in enumerate((0, 2, 5, 9, 12, 15, 16))}}
CORNERS = ((0, 0), (0, -1), (-1, 0), (-1, -1))


@pytest.fixture(scope="module")
def weights(shared):
    return str(shared / "weights/mobilenetv2_100_imagenet.safetensors")


@pytest.fixture(scope="module")
def golden(shared):
    return np.load(shared / "weights/mobilenetv2_100_golden.npz")


@pytest.fixture(scope="module")
def image(golden):
    return golden["input"].astype(np.float32)


@pytest.fixture(scope="module")
def loaded(weights):
    return load_pretrained(weights, "mobilenetv2_tf")


@pytest.fixture(scope="module")
def maps(loaded, image):
    """Logits, and the maps by the names of timm."""
    backbone = module(loaded)

    def wanted(layer, _):
        return layer.name in LAST.values()

    def run(x):
        head, state = backbone.apply(loaded.variables, x, False, capture_intermediates=wanted, mutable=["intermediates"])
        found = {name: state["intermediates"][ours]["__call__"][0] for name, ours in LAST.items()}
        found["conv_stem"] = jax.nn.relu6(found["conv_stem"])
        return {**found, "conv_head": head}

    return jax.jit(run)(image)


def test_logits_and_labels(loaded, golden, image, maps, shared):
    kernel, bias = loaded.classifier
    found = np.asarray(maps["conv_head"].mean((1, 2)) @ kernel + bias)
    np.testing.assert_allclose(found, golden["logits"], atol=1e-3, rtol=0)
    top = json.loads((shared / "weights/mobilenetv2_100_golden.json").read_text())["top3"]
    assert [row[:3] for row in np.argsort(-found[:2]).tolist()] == [[label for label, _, _ in row] for row in top[:2]]


def test_pooled(loaded, golden, image):
    np.testing.assert_allclose(jax.jit(lambda x: classifier_input(loaded, x))(image), golden["pooled"], atol=1e-3, rtol=0)


def test_maps(golden, maps):
    for name, found in maps.items():
        found = np.asarray(found)
        np.testing.assert_allclose(found.mean((1, 2)), golden[f"{name}.mean"], atol=1e-3, rtol=0, err_msg=name)
        np.testing.assert_allclose(found.std((1, 2)), golden[f"{name}.std"], atol=1e-3, rtol=0, err_msg=name)
        corners = np.stack([found[:, y, x] for y, x in CORNERS], 1)
        np.testing.assert_allclose(corners, golden[f"{name}.corners"], atol=1e-3, rtol=0, err_msg=name)
        if name in golden:
            half = 2**-11 if golden[name].dtype == np.float16 else 0  # of the last place of float16
            np.testing.assert_allclose(found, golden[name], atol=1e-3, rtol=half, err_msg=name)


def test_symmetric_padding_is_another_network(weights, golden, image):
    wrong = load_pretrained(weights, "mobilenetv2")
    found = jax.jit(lambda x: logits(wrong, x))(image)
    np.testing.assert_allclose(found, golden["logits_sym_padding_WRONG"], atol=1e-3, rtol=2**-11)
    assert np.abs(found - golden["logits"]).max() > 1


def test_what_is_loaded(loaded):
    assert loaded.fingerprint == "3079b9c612764957"
    assert loaded.backbone == {"name": "mobilenetv2", "padding": "same"}
    wanted = loaded.preprocessing
    np.testing.assert_allclose((np.arange(256) / 255 - wanted.mean[0]) / wanted.std[0], (np.arange(256.0) - 128) / 128, atol=1e-12)
    assert {leaf.dtype for leaf in jax.tree.leaves(loaded.variables)} == {np.dtype("float32")}
