"""Procedural birds: images whose true parts, and what a prediction depends on, are known."""

from partrep.data.birds import interventions
from partrep.data.birds.code import posterior
from partrep.data.birds.evidence import class_posterior, habitat_matches
from partrep.data.birds.render import HABITAT_NAMES, Rendered, fingerprint, render
from partrep.data.birds.scene import Scene, flock, sample
from partrep.data.birds.source import Birds
from partrep.data.birds.world import LEVELS, PARTS, RESERVED, VALUES, VERSION, Split, World

__all__ = [
    "HABITAT_NAMES",
    "LEVELS",
    "PARTS",
    "RESERVED",
    "VALUES",
    "VERSION",
    "Birds",
    "Rendered",
    "Scene",
    "Split",
    "World",
    "class_posterior",
    "fingerprint",
    "flock",
    "habitat_matches",
    "interventions",
    "posterior",
    "render",
    "sample",
]
