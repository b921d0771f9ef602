"""The ResNets of CIFAR-10: accuracy on 2,000 photos, as their first implementation has it."""

from __future__ import annotations

import io
import json

import jax
import numpy as np
import pytest
from PIL import Image

from partrep.data.archives import Archive
from partrep.models.pretrained.load import load_pretrained, logits

BATCH = 500


@pytest.fixture(scope="module")
def photos(shared):
    """Every fifth photo of each class: u8 [2000,32,32,3], and its class."""
    archive = Archive(shared / "data/cifar10_jpeg/test.tar.xz")
    classes = sorted({name.split("/")[-2] for name in archive.names if name.endswith(".jpg")})
    kept = [name for name in archive.names if name.endswith(".jpg") and int(name.split("/")[-1][:-4]) % 5 == 0]
    images = np.stack([np.asarray(Image.open(io.BytesIO(archive.read(name)))) for name in kept])
    return images, np.array([classes.index(name.split("/")[-2]) for name in kept])


@pytest.mark.parametrize("depth", [20])  # 32 and 56 take 5 and 9 s more, and differ in their depth alone
def test_accuracy(depth, photos, shared):
    loaded = load_pretrained(str(shared / f"weights/cifar_resnet{depth}.safetensors"), f"cifar_resnet{depth}")
    images, labels = photos
    assert images.shape == (2000, 32, 32, 3)
    wanted = loaded.preprocessing
    run = jax.jit(lambda x: logits(loaded, (x / 255 - np.float32(wanted.mean)) / np.float32(wanted.std)).argmax(-1))
    found = np.concatenate([run(images[i : i + BATCH].astype(np.float32)) for i in range(0, 2000, BATCH)])
    measured = json.loads((shared / f"weights/cifar_resnet{depth}.json").read_text())["measured_top1"]
    assert abs(100 * (found == labels).mean() - measured) <= 0.5
