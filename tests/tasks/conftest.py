"""Classifiers small enough for many tests: presets on twelve random images, which nothing renders."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from configs import classify as presets
from partrep.data import imageset
from partrep.data.classify import ClassifyData
from partrep.data.decode import View
from partrep.data.source import ArraySource
from partrep.models.part_model import build
from partrep.models.pretrained.families import FAMILIES
from partrep.tasks.classify import Classify

SIDE, EACH, CLASSES = 16, 4, 3
TINY = {"widths": (4, 4, 6, 6, 6, 8, 8), "depths": (1, 2, 1, 1, 1, 1, 1), "stem": 4, "head": 12}


def colours(seed: int) -> imageset.ImageSet:
    """Noisy images of three colours."""
    random = np.random.default_rng(seed)
    labels = np.tile(np.arange(CLASSES), EACH)
    tint = np.array([[200, 60, 60], [60, 200, 60], [60, 60, 200]])[labels]
    pixels = tint[:, None, None] + random.integers(-55, 55, (len(labels), SIDE, SIDE, 3))
    return imageset.of_arrays(ArraySource(pixels.astype(np.uint8), labels, list("abc")), SIDE)


@pytest.fixture(scope="session")
def small():
    """A function from an argument of the config file to its task, with maps of 8x8 and features of width 8."""

    def make(argument: str, backbone=None, depth: int = 1, **changes) -> Classify:
        config = presets.get_config(f"{argument.partition(',')[0]},smoke,{argument.partition(',')[2]}")
        config.data.size = SIDE
        config.model.backbone.update(widths=(8,), depths=(depth,), patch=2)
        if config.model.method.name == "prototypes":
            config.model.method.per_class = 4
        config.evaluation.batch_size = 5
        config.update(changes)
        data = ClassifyData(*map(colours, range(3)), {}, None, "", 3, View(SIDE, SIDE))
        return Classify(config, data, build(config.model, CLASSES), backbone)

    return make


@pytest.fixture(scope="module")
def tiny_family():
    """A family of networks as small as the committed weights."""
    with pytest.MonkeyPatch.context() as patch:
        known = FAMILIES["mobilenetv2"]
        patch.setitem(FAMILIES, "mobilenetv2", dataclasses.replace(known, backbone={**known.backbone, **TINY}))
        yield
