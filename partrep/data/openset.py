"""Known and unknown classes: images to learn the known ones from, and test images of both, from any source."""

from __future__ import annotations

import dataclasses
import functools
import pathlib
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np

from partrep import UserError, lookup
from partrep.data import birds, imageset
from partrep.data.archives import TAR_SUFFIXES
from partrep.data.folder import FolderSource
from partrep.data.imageset import ImageSet
from partrep.data.photo_splits import stratified
from partrep.data.source import ArraySource, Settings
from partrep.data.transforms import WarpSettings
from partrep.train.settings import from_mapping

KNOWN = {
    "mnist": ((2, 4, 5, 9, 8, 3), (3, 2, 6, 9, 4, 0), (5, 8, 3, 2, 4, 6), (3, 7, 8, 4, 0, 5), (6, 3, 4, 9, 8, 2)),
    "cifar10": ((0, 6, 4, 9, 1, 7), (7, 6, 4, 9, 0, 1), (1, 5, 7, 3, 9, 4), (8, 6, 1, 9, 0, 7), (2, 4, 1, 7, 9, 6)),
}
"""The known classes of each trial, as numbers of the official classes; all others are unknown.

The lists of Neal et al. (ECCV 2018) as the code of Vaze et al. (ICLR 2022) has them, which the published tables use.
"""

UNKNOWN, NOVEL, RESERVED, EMPTY = "unknown classes", "novel classes", "reserved value", "no bird"
MNIST_FILE = "mnist.npz"
MNIST_ARRAYS = ("x_train", "y_train", "x_test", "y_test")


@dataclasses.dataclass(frozen=True)
class OpensetData:
    """Three sets of images of the known classes, and test images of what is unknown.

    Attributes:
        train: of known classes; nothing unknown is trained on.
        validation: of known classes, from the training images: thresholds and settings come from these alone.
        known: test images of known classes.
        unknown: test images of others, by kind.
        altered: i32 [m], which part of each image of the kind `RESERVED` is unknown; None where no part is.
        part_names: of the true parts, where there are any.
        attributes: int [C,P], the value of each part of each known class; None where classes have no such values.
        channels: of the images.
    """

    train: ImageSet
    validation: ImageSet
    known: ImageSet
    unknown: Mapping[str, ImageSet]
    altered: np.ndarray | None
    part_names: tuple[str, ...]
    channels: int
    attributes: np.ndarray | None = None

    def __post_init__(self):
        sets = (self.train, self.validation, self.known, *self.unknown.values())
        if len({s.fingerprint for s in sets}) < len(sets):
            raise UserError("two of the training, validation and test sets share images; expected disjoint ones")


def load(settings: Mapping[str, Any], trial: int) -> OpensetData:
    """The data named by `settings.name` (mnist, cifar10 or birds) with the known classes of a trial."""
    return lookup(SOURCES, settings["name"], "open-set data")(Settings(settings), trial)


def known_classes(name: str, trial: int) -> tuple[int, ...]:
    """The classes that are known in a trial of a data set with published trials."""
    if not 0 <= trial < len(KNOWN[name]):
        raise UserError(f"trial {trial} of {name}; expected 0 to {len(KNOWN[name]) - 1}")
    return KNOWN[name][trial]


def _mnist(settings: Mapping[str, Any], trial: int) -> OpensetData:
    return _by_class(*read_mnist(settings["dir"]), settings, known_classes("mnist", trial), trial)


@functools.lru_cache(maxsize=1)
def read_mnist(folder: str) -> tuple[ArraySource, ArraySource]:
    """Training and test digits of `mnist.npz`, the file that Keras hands out; ink is 0, as in any drawing here."""
    path = pathlib.Path(folder)
    path = path / MNIST_FILE if path.is_dir() else path
    if not folder or not path.exists():
        raise UserError(f"config.data.dir is {folder!r}; expected {MNIST_FILE} of Keras or its folder")
    try:
        with np.load(path) as file:
            x, y, u, v = (file[name] for name in MNIST_ARRAYS)
        if x.shape[1:] != (28, 28) or u.shape[1:] != (28, 28) or y.shape != x.shape[:1] or v.shape != u.shape[:1]:
            raise ValueError(f"shapes {x.shape}, {y.shape}, {u.shape}, {v.shape}")
        if x.dtype != np.uint8 or u.dtype != np.uint8:
            raise ValueError(f"images of {x.dtype} and {u.dtype}, not uint8")
        if any(not np.isin(labels, np.arange(10)).all() for labels in (y, v)):
            raise ValueError(f"labels {min(y.min(), v.min())} to {max(y.max(), v.max())}, not digits 0 to 9")
    except (KeyError, ValueError, TypeError, AttributeError, OSError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} is not readable ({error}); expected the arrays {', '.join(MNIST_ARRAYS)}") from error
    names = [str(digit) for digit in range(10)]
    return ArraySource(255 - x[..., None], y, names), ArraySource(255 - u[..., None], v, names)


def _cifar10(settings: Mapping[str, Any], trial: int) -> OpensetData:
    return _by_class(*read_cifar10(settings["dir"]), settings, known_classes("cifar10", trial), trial)


@functools.lru_cache(maxsize=1)
def read_cifar10(folder: str) -> tuple[ArraySource, ArraySource]:
    """Training and test images of class folders in `train` and `test`, each a folder, zip or tar."""
    train, test = (_in_memory(FolderSource(_part(pathlib.Path(folder), name), 32)) for name in ("train", "test"))
    for source in (train, test):
        if len(source.classes) != 10 or source.classes != train.classes:
            found = ", ".join(source.classes[:10])
            raise UserError(f"{folder} holds the classes {found}; expected the ten of CIFAR-10 in train and in test")
    return train, test


def _part(folder: pathlib.Path, name: str) -> pathlib.Path:
    paths = [folder / f"{name}{suffix}" for suffix in ("", ".zip", *TAR_SUFFIXES)]
    found = [path for path in paths if path.exists()]
    if not found or folder == pathlib.Path():
        raise UserError(f"config.data.dir is {str(folder)!r}; expected a folder with {name}, {name}.zip or {name}.tar")
    return found[0]


def _in_memory(source: FolderSource) -> ArraySource:
    images = np.stack([source[i]["image"] for i in range(len(source))])
    return ArraySource(images, source.labels, source.classes)


def _by_class(
    train: ArraySource, test: ArraySource, settings: Mapping[str, Any], known: tuple[int, ...], trial: int
) -> OpensetData:
    """Some classes of a data set are known; the validation images are a share of their training images."""
    size, warp = settings["size"], from_mapping(WarpSettings, settings["warp"]) if settings["warp"] else None
    learned = train.take(np.flatnonzero(np.isin(train.labels, known)))
    fitted, held_out = stratified(learned.labels, settings["validation_share"], trial)
    inside = np.isin(test.labels, known)
    return OpensetData(
        train=imageset.of_arrays(learned.take(fitted), size, warp),
        validation=imageset.of_arrays(learned.take(held_out), size),
        known=imageset.of_arrays(test.take(np.flatnonzero(inside)), size),
        unknown={UNKNOWN: imageset.of_arrays(test.take(np.flatnonzero(~inside)), size)},
        altered=None,
        part_names=(),
        channels=train.images.shape[-1],
    )


def _birds(settings: Mapping[str, Any], trial: int) -> OpensetData:
    """A world of its own for each trial, and three kinds of unknown birds.

    Novel classes are new combinations of seen values; birds of known classes with a value on one part that no class
    has; and images without a bird.
    """
    if trial < 0:
        raise UserError(f"trial {trial} of birds; expected 0 or more")
    world = birds.World(settings["world"] + trial, settings["level"], images=tuple(settings["images"]))
    size = settings["size"]
    known = imageset.of_birds(world, "base", "test", size)
    altered = np.random.default_rng([world.seed, 1]).integers(0, len(birds.PARTS), len(known)).astype(np.int32)
    return OpensetData(
        train=imageset.of_birds(world, "base", "train", size),
        validation=imageset.of_birds(world, "base", "validation", size),
        known=known,
        unknown={
            NOVEL: imageset.of_birds(world, "novel", "test", size),
            RESERVED: with_reserved(known, altered),
            EMPTY: imageset.of_birds(dataclasses.replace(world, empty=1.0), "base", "test", size),
        },
        altered=altered,
        part_names=birds.PARTS,
        channels=3,
        attributes=world.classes("base"),
    )


def with_reserved(images: ImageSet, altered: np.ndarray) -> ImageSet:
    """The same birds, each with the reserved value on one part: `altered` int [n] says which."""

    def load(indices: np.ndarray) -> imageset.Batch:
        batch = images.load(indices)
        values = batch["values"].copy()
        values[np.arange(len(indices)), altered[indices]] = birds.RESERVED
        return {**batch, "values": values}

    digest = imageset.fingerprint(images.fingerprint, altered.tobytes(), "reserved")
    return dataclasses.replace(images, load=load, fingerprint=digest)


SOURCES = {"mnist": _mnist, "cifar10": _cifar10, "birds": _birds}
