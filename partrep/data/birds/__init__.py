"""Procedural birds: images whose true parts, and what a prediction depends on, are known."""

from partrep.data.birds.code import posterior
from partrep.data.birds.render import HABITAT_NAMES, Rendered, render
from partrep.data.birds.scene import Scene, sample
from partrep.data.birds.world import LEVELS, PARTS, RESERVED, VALUES, Split, World

__all__ = [
    "HABITAT_NAMES", "LEVELS", "PARTS", "RESERVED", "VALUES",
    "Rendered", "Scene", "Split", "World", "posterior", "render", "sample",
]  # fmt: skip
