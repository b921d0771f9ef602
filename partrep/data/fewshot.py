"""The three disjoint sets of classes that few-shot recognition needs, from any source."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from partrep import UserError, lookup
from partrep.data import birds, imageset
from partrep.data.folder import FolderSource
from partrep.data.imageset import ImageSet
from partrep.data.individuals import of_individuals
from partrep.data.omniglot import FILES, Omniglot
from partrep.data.source import ArraySource, Settings, split_groups
from partrep.data.tfds import TfdsSource
from partrep.data.transforms import WarpSettings
from partrep.data.vinyals import vinyals_split
from partrep.train.settings import from_mapping


@dataclasses.dataclass(frozen=True)
class FewshotData:
    """Images of base classes to train on, of validation classes to choose with, of novel classes to report.

    Attributes:
        train: base classes.
        held_out: images of the base classes without augmentation, for what is fitted without labels (k-means parts);
            of birds, other images than those trained on.
        validation: None where the source offers no further classes.
        novel: None where the official runs take its place (Omniglot).
        channels: of the images, 3 or 1.
    """

    train: ImageSet
    held_out: ImageSet
    validation: ImageSet | None
    novel: ImageSet | None
    channels: int

    def __post_init__(self):
        sets = [s for s in (self.train, self.validation, self.novel) if s is not None]
        if len({s.fingerprint for s in sets}) < len(sets):
            raise UserError("two of the base, validation and novel sets hold the same images; expected disjoint sets")


def load(settings: Mapping[str, Any]) -> FewshotData:
    """The data named by `settings.name`: birds, individuals, omniglot, vinyals, alphabets, folder or tfds."""
    return lookup(SOURCES, settings["name"], "few-shot data")(Settings(settings))


def _birds(settings: Mapping[str, Any]) -> FewshotData:
    world = birds.World(settings["world"], settings["level"], images=tuple(settings["images"]))
    size = settings["size"]
    return FewshotData(
        train=imageset.of_birds(world, "base", "train", size),
        held_out=imageset.of_birds(world, "base", "validation", size),
        validation=imageset.of_birds(world, "validation", "validation", size),
        novel=imageset.of_birds(world, "novel", "test", size),
        channels=3,
    )


def _individuals(settings: Mapping[str, Any]) -> FewshotData:
    """Birds as individuals, of disjoint classes: `each` birds of a class in training, validation and test."""
    world = birds.World(settings["world"], settings["level"])
    train, validation, test = settings["each"]
    images, size = settings["images"], settings["size"]
    return FewshotData(
        train=of_individuals(world, "base", "train", train, images, size),
        held_out=of_individuals(world, "base", "validation", validation, images, size),
        validation=of_individuals(world, "validation", "validation", validation, images, size),
        novel=of_individuals(world, "novel", "test", test, images, size),
        channels=3,
    )


def _omniglot(settings: Mapping[str, Any]) -> FewshotData:
    background = Omniglot(settings["dir"], settings["background"], settings["stored"])
    augmentation = settings["augmentation"]
    warp = None if augmentation == "none" else from_mapping(WarpSettings, settings["warp"])
    size = settings["size"]
    rotated = augmentation in ("rotated", "invented")
    train = imageset.of_arrays(background, size, warp, rotated=rotated, attribute="drawer")
    plain = imageset.of_arrays(background, size, attribute="drawer")
    return FewshotData(train, plain, _omniglot_validation(settings, background), None, channels=1)


def _omniglot_validation(settings: Mapping[str, Any], background: Omniglot) -> ImageSet | None:
    """Background alphabets that the run does not train on; None where `images_background.zip` offers none."""
    if settings["background"] == "full" or not settings["validate"] or not _has_full(settings["dir"]):
        return None
    full = Omniglot(settings["dir"], "full", settings["stored"])
    seen = [name for name in full.group_names if name in background.group_names]
    unseen, _ = split_groups(full.groups, full.group_names, seen)
    return imageset.of_arrays(full.take(unseen), settings["size"], attribute="drawer")


def _has_full(folder: str) -> bool:
    path = pathlib.Path(folder) / FILES["full"]
    return path.exists() or path.with_suffix("").exists()


def _vinyals(settings: Mapping[str, Any]) -> FewshotData:
    """All characters of both official files, quarter turns as classes of their own, without alphabets or drawers."""
    drawn = Omniglot(settings["dir"], ("full", "evaluation"), settings["stored"])
    whole = ArraySource(drawn.images, drawn.labels, drawn.classes)
    split = vinyals_split(len(whole.classes), settings["class_seed"])
    return _by_class(whole, split, settings["size"], from_mapping(WarpSettings, settings["warp"]), rotated=True)


VALIDATION_ALPHABETS = 5


def _alphabets(settings: Mapping[str, Any]) -> FewshotData:
    """Characters of 25 background alphabets to train on, of the 5 others to validate, of the evaluation alphabets."""
    background = Omniglot(settings["dir"], "full", settings["stored"])
    names = sorted(background.group_names)
    if len(names) <= VALIDATION_ALPHABETS:
        raise UserError(f"found {len(names)} background alphabets; expected more than {VALIDATION_ALPHABETS}")
    drawn = np.random.default_rng(settings["class_seed"]).permutation(len(names))[:VALIDATION_ALPHABETS]
    base, validation = background.split([names[i] for i in drawn])
    size, warp = settings["size"], from_mapping(WarpSettings, settings["warp"])
    novel = Omniglot(settings["dir"], "evaluation", settings["stored"])
    plain = [imageset.of_arrays(part, size, attribute="drawer") for part in (base, validation, novel)]
    train = imageset.of_arrays(base, size, warp, attribute="drawer")
    return FewshotData(train, plain[0], plain[1], plain[2], channels=1)


def _folder(settings: Mapping[str, Any]) -> FewshotData:
    return _split_classes(FolderSource(settings["dir"], size=settings["stored"]), settings)


def _tfds(settings: Mapping[str, Any]) -> FewshotData:
    name, split = settings["dataset"], settings["split"]
    return _split_classes(TfdsSource(name, split, settings["dir"] or None, size=settings["stored"]), settings)


def _split_classes(source: Any, settings: Mapping[str, Any]) -> FewshotData:
    """Three fifths of the classes to train on, one fifth to validate, one fifth novel, drawn by `class_seed`."""
    count = len(source.classes)
    if count < 15:
        place = settings.get("dataset") or settings["dir"]
        raise UserError(f"found {count} classes in {place}; expected at least 15 (9 base, 3 validation, 3 novel)")
    split = split_classes(count, settings["class_seed"])
    warp = from_mapping(WarpSettings, settings["warp"])
    return _by_class(_in_memory(source), split, settings["size"], None if settings["augmentation"] == "none" else warp)


def split_classes(count: int, seed: int) -> list[np.ndarray]:
    """Three fifths of the classes to train on, one fifth to validate, one fifth novel, drawn by `seed`.

    >>> [len(part) for part in split_classes(17, seed=0)]
    [10, 3, 4]
    """
    return np.split(np.random.default_rng(seed).permutation(count), [count * 3 // 5, count * 4 // 5])


def _by_class(
    whole: ArraySource, split: Sequence[np.ndarray], size: int, warp: WarpSettings | None, rotated: bool = False
) -> FewshotData:
    """The images of three sets of classes: to train on, to validate, novel."""
    base, validation, novel = (whole.take(np.flatnonzero(np.isin(whole.labels, part))) for part in split)
    return FewshotData(
        train=imageset.of_arrays(base, size, warp, rotated=rotated),
        held_out=imageset.of_arrays(base, size, rotated=rotated),
        validation=imageset.of_arrays(validation, size, rotated=rotated),
        novel=imageset.of_arrays(novel, size, rotated=rotated),
        channels=whole.images.shape[-1],
    )


def _in_memory(source: Any) -> ArraySource:
    images = np.stack([source[i]["image"] for i in range(len(source))])
    return ArraySource(images, source.labels, source.classes)


SOURCES = {
    "alphabets": _alphabets,
    "birds": _birds,
    "folder": _folder,
    "individuals": _individuals,
    "omniglot": _omniglot,
    "tfds": _tfds,
    "vinyals": _vinyals,
}
