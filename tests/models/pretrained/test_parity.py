"""Every family against torchvision and timm, live: random weights of the published size, written by `torch.save`.

Skipped where PyTorch is not installed: `pip install -e ".[test,parity]"`.
"""

from __future__ import annotations

import importlib.util
import pathlib

import jax
import numpy as np
import pytest

from partrep.models.pretrained.load import classifier_input, load_pretrained, logits, module

torch = pytest.importorskip("torch", reason="needs the extra `parity`")
pytest.importorskip("torchvision", reason="needs the extra `parity`")
pytest.importorskip("timm", reason="needs the extra `parity`")

FULL = {  # family and library: the network there, fields, side of the image
    "mobilenetv2 torchvision": ("mobilenet_v2", {}, 224),
    "mobilenetv2 timm": ("mobilenetv2_100", {}, 224),
    "mobilenetv2_tf timm": ("mobilenetv2_100", {"pad_type": "same"}, 224),
    "resnet18 torchvision": ("resnet18", {}, 224),
    "resnet34 timm": ("resnet34", {}, 224),
    "resnet50 torchvision": ("resnet50", {}, 224),
    "resnet101 timm": ("resnet101", {}, 224),
    "convnext_tiny torchvision": ("convnext_tiny", {}, 224),
    "convnext_tiny timm": ("convnext_tiny", {}, 224),
    "vit_small_16 timm": ("vit_small_patch16_224", {}, 224),
    "vit_base_16 torchvision": ("vit_b_16", {}, 224),
    "vit_base_16 timm": ("vit_base_patch16_224", {"dynamic_img_size": True}, 160),
    "vit_small_8 timm": ("vit_small_patch8_224", {}, 224),
    "vit_base_8 timm": ("vit_base_patch8_224", {}, 224),
    "dino_vits16 timm": ("vit_small_patch16_224.dino", {}, 224),
    "dino_vits8 timm": ("vit_small_patch8_224.dino", {}, 224),
    "dino_vitb16 timm": ("vit_base_patch16_224.dino", {}, 224),
    "dino_vitb8 timm": ("vit_base_patch8_224.dino", {}, 224),
    "dinov2_vits14 timm": ("vit_small_patch14_dinov2", {}, 518),
    "dinov2_vitb14 timm": ("vit_base_patch14_dinov2", {}, 518),
    "dinov2_vits14_reg timm": ("vit_small_patch14_reg4_dinov2", {"dynamic_img_size": True}, 224),
    "dinov2_vitb14_reg timm": ("vit_base_patch14_reg4_dinov2", {"dynamic_img_size": True}, 224),
}


@pytest.fixture(scope="module")
def networks():
    """The module torch_networks.py."""
    path = pathlib.Path(__file__).with_name("torch_networks.py")
    spec = importlib.util.spec_from_file_location("torch_networks", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def compared(found, expected):
    """The largest difference, relative to the largest value."""
    expected = expected.numpy()
    assert found.shape == expected.shape
    return float(np.abs(np.asarray(found) - expected).max() / np.abs(expected).max())


@pytest.mark.parametrize("case", FULL)
def test_full_size(case, networks, tmp_path):
    family, library = case.split()
    name, fields, side = FULL[case]
    model = networks.randomised(networks.full(library, name, **fields), weights=False)
    state = networks.hub_names(model) if family.startswith("dinov2") else model.state_dict()
    torch.save({"state_dict": state}, tmp_path / "weights.pth", _use_new_zipfile_serialization="8" not in family)
    loaded = load_pretrained(str(tmp_path / "weights.pth"), family)
    image = torch.randn((1, 3, side, side), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = networks.features(model, image), model(image)
    read = classifier_input if loaded.classifier is None else logits
    run = jax.jit(lambda v, x: (module(loaded).apply(v, x, False), read(loaded, x)))
    found = run(loaded.variables, image.permute(0, 2, 3, 1).numpy())
    errors = [compared(a, b) for a, b in zip(found, expected)]
    print(case, *(f"{error:.1e}" for error in errors))
    assert max(errors) < 1e-4
