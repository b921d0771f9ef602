"""The images that classification trains on, chooses with and reports, of the same classes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from partrep import UserError, lookup
from partrep.data import birds, imageset
from partrep.data.decode import View
from partrep.data.imageset import ImageSet
from partrep.data.source import Settings

HABITATS = ("matched", "random", "conflicting")


@dataclasses.dataclass(frozen=True)
class ClassifyData:
    """Three disjoint sets of images of the same classes.

    Attributes:
        train: to learn from.
        validation: to choose with.
        test: to report.
        shifted: the test images in other surroundings by name; empty where there is no shortcut to test.
        world: of the birds, whose predictions can be intervened on; None for other images.
        group: of its classes, as `birds.World.classes` names it.
        channels: of the images.
        view: how a photo would be cut out to be shown to a model of these images.
    """

    train: ImageSet
    validation: ImageSet
    test: ImageSet
    shifted: Mapping[str, ImageSet]
    world: birds.World | None
    group: str
    channels: int
    view: View

    def __post_init__(self):
        if len({s.fingerprint for s in (self.train, self.validation, self.test)}) < 3:
            raise UserError("the training, validation and test sets share images; expected three disjoint sets")


def load(settings: Mapping[str, Any]) -> ClassifyData:
    """The data named by `settings.name`: birds."""
    return lookup(SOURCES, settings["name"], "data to classify")(Settings(settings))


def bird_world(settings: Mapping[str, Any]) -> birds.World:
    """The world that the settings of the data describe."""
    knobs = {name: settings[name] for name in ("level", "parts", "dimension", "shortcut", "ring", "absence")}
    return birds.World(settings["world"], images=tuple(settings["images"]), **knobs)


def _birds(settings: Mapping[str, Any]) -> ClassifyData:
    world, size = bird_world(settings), settings["size"]
    group = "all" if world.dimension == 2 else "base"
    shifted = HABITATS if world.shortcut else ()
    return ClassifyData(
        train=imageset.of_birds(world, group, "train", size),
        validation=imageset.of_birds(world, group, "validation", size),
        test=imageset.of_birds(world, group, "test", size),
        shifted={name: imageset.of_birds(world, group, "test", size, name) for name in shifted},
        world=world,
        group=group,
        channels=3,
        view=View(size, size),
    )


SOURCES = {"birds": _birds}
