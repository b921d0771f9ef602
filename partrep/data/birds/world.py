"""A world of birds: what part values look like, what part plays what role, which class is in which split."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

from partrep import UserError, lookup
from partrep.data.birds import code, hashing

VERSION = 2  # of the pictures: any change to what a key and a class look like raises it
PARTS = ("beak", "crown", "wing", "tail", "feet", "eye")
VALUES = code.FIELD
RESERVED = VALUES  # an eighth value that no class shows, for open-set tests
SPLITS = ("train", "validation", "test")
SPLIT_BIT = 28  # an image's number begins with its split from this bit on

# How hard a level is. colours, shapes, textures: how many the values of a part share (with fewer,
# values differ in fewer respects). *_gain: how far apart they lie (1: as drawn). clutter, branches: how many.
# cover: chance that a branch hides a whole part. light, noise: amplitudes. blur: width of edges at most.
# wobble: of the limbs.
LEVELS = {
    "easy": dict(
        colours=4, shapes=4, textures=4, colour_gain=0.85, shape_gain=0.9, texture_gain=0.85,
        clutter=3, branches=1, cover=0.2, light=0.18, noise=0.045, blur=0.075, wobble=0.7,
    ),
    "standard": dict(
        colours=4, shapes=4, textures=4, colour_gain=0.72, shape_gain=0.86, texture_gain=0.72,
        clutter=5, branches=1, cover=0.32, light=0.26, noise=0.065, blur=0.088, wobble=0.87,
    ),
    "hard": dict(
        colours=4, shapes=4, textures=4, colour_gain=0.65, shape_gain=0.82, texture_gain=0.65,
        clutter=7, branches=1, cover=0.4, light=0.3, noise=0.075, blur=0.1, wobble=1.0,
    ),
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Split:
    """The images of one split: class of each, its key, its number in the world; the codes of the classes."""

    labels: np.ndarray  # i32 [n], 0..C-1
    keys: np.ndarray  # uint32 [n, 2]
    ids: np.ndarray  # i64 [n]
    classes: np.ndarray  # i32 [C, 6]; -1 where the part carries no information
    symbols: np.ndarray  # i32 [C], the habitat that goes with the class

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def values(self) -> np.ndarray:
        """Part values i32 [n, 6] of each image; -1: drawn at random with the image."""
        return self.classes[self.labels]


@dataclasses.dataclass(frozen=True)
class World:
    """Everything that is fixed across images; hashable, so it can be a static argument of jit.

    Args:
      seed: draws appearances of values, roles of parts and habitats. Tune on 0-2, report on 100 and up.
      level: "easy", "standard" or "hard".
      parts: how many of the six parts carry information about the class; the others are random per image.
      dimension: a class is a polynomial with this many coefficients: 3 gives 343 classes, 2 gives 49.
      shortcut: s; P(habitat = the class's) = s + (1 - s) / 7.
      ring: the same for the colour of the ring on the leg.
      absence: half of the training images lack a random 1 to this many of the parts.
      empty: fraction of images without a bird.
      zipf: exponent of the class frequencies of the training images (0: equal).
      images: train, validation and test images of each class.
    """

    seed: int = 0
    level: str = "standard"
    parts: int = 6
    dimension: int = 3
    shortcut: float = 0.0
    ring: float = 0.0
    absence: int = 0
    empty: float = 0.0
    zipf: float = 0.0
    images: tuple[int, int, int] = (100, 20, 30)

    def __post_init__(self):
        lookup(LEVELS, self.level, "level of birds")
        if not 0 <= self.seed < 2**32:
            raise UserError(f"world {self.seed} of birds; expected a number from 0 to {2**32 - 1}")
        if self.dimension not in (2, 3):
            raise UserError(f"dimension is {self.dimension}; expected 2 (49 classes) or 3 (343 classes)")
        if not self.dimension <= self.parts <= len(PARTS):
            raise UserError(f"parts is {self.parts}; expected {self.dimension} to {len(PARTS)}")
        if not 0 <= self.absence <= len(PARTS):
            raise UserError(f"absence is {self.absence}; expected 0 to {len(PARTS)} parts that may lack")
        if len(self.images) != 3 or min(self.images) < 1:
            raise UserError(f"images is {self.images}; expected train, validation and test images of each class")
        for name in ("shortcut", "ring", "empty"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"{name} is {getattr(self, name)}; expected a number from 0 to 1")

    @property
    def settings(self) -> dict:
        """The numbers of this world's level."""
        return LEVELS[self.level]

    def _draw(self, purpose: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, purpose])

    @functools.cached_property
    def points(self) -> np.ndarray:
        """Evaluation points i32 [7] in GF(7): those of the six parts, then that of the habitat."""
        return self._draw(0).permutation(code.FIELD).astype(np.int32)

    @functools.cached_property
    def informative(self) -> np.ndarray:
        """bool [6]: the parts that carry information about the class."""
        return np.isin(np.arange(len(PARTS)), self._draw(1).permutation(len(PARTS))[: self.parts])

    @functools.cached_property
    def habitats(self) -> np.ndarray:
        """i32 [7]: which scenery stands for which symbol."""
        return self._draw(2).permutation(code.FIELD).astype(np.int32)

    @functools.cached_property
    def appearance(self) -> np.ndarray:
        """i32 [6, 8, 3]: colour, shape, texture of each value of each part; the eighth is reserved."""
        return np.stack([_triples(self._draw(3 + part), self.settings) for part in range(len(PARTS))])

    @functools.cached_property
    def extension(self) -> tuple[np.ndarray, np.ndarray]:
        """Parts [k] and weights [k] that give the habitat's symbol of a class from its values, mod 7."""
        parts = np.flatnonzero(self.informative)[: self.dimension]
        return parts, code.extension(self.points[parts], self.points[-1])

    def classes(self, group: str) -> np.ndarray:
        """Codes i32 [C, 6] of the classes of "base", "validation", "novel" or "all"; -1: not informative."""
        words = code.evaluate(self._polynomials(group), self.points[:-1])
        return np.where(self.informative, words, -1).astype(np.int32)

    def symbols(self, group: str) -> np.ndarray:
        """Habitat symbols i32 [C] of the classes of a group."""
        return code.evaluate(self._polynomials(group), self.points[-1:])[:, 0].astype(np.int32)

    def _polynomials(self, group: str) -> np.ndarray:
        return code.polynomials(self.dimension, lookup(code.COSETS, group, "group of classes"))

    def names(self, group: str) -> list[str]:
        """A name for each class: its polynomial, constant first."""
        return ["p" + "".join(map(str, word)) for word in self._polynomials(group)]

    def split(self, group: str, split: str) -> Split:
        """The images of a group of classes ("base", "validation", "novel", "all") in a split of images."""
        if split not in SPLITS:
            raise UserError(f"unknown split {split!r}; known: {', '.join(SPLITS)}")
        numbers = self._polynomials(group) @ (code.FIELD ** np.arange(self.dimension))
        counts = self._counts(len(numbers), split)
        labels = np.repeat(np.arange(len(numbers), dtype=np.int32), counts)
        index = np.concatenate([np.arange(n) for n in counts])
        ids = (SPLITS.index(split) << SPLIT_BIT) | (numbers[labels].astype(np.int64) << 19) | index
        world = hashing.mix(np.array([self.seed + 1], np.uint32))
        keys = np.stack([np.broadcast_to(world, ids.shape), ids.astype(np.uint32)], axis=-1)
        return Split(labels, keys, ids, self.classes(group), self.symbols(group))

    def _counts(self, classes: int, split: str) -> np.ndarray:
        each = self.images[SPLITS.index(split)]
        if self.zipf == 0 or split != "train":
            return np.full(classes, each)
        weight = np.arange(1, classes + 1.0) ** -self.zipf
        share = weight / weight.sum() * each * classes
        return np.maximum(1, np.round(share[self._draw(9).permutation(classes)])).astype(int)


def _triples(rng: np.random.Generator, settings: dict) -> np.ndarray:
    """Eight triples (colour, shape, texture); any two differ in at least two respects."""
    sizes: list[int] = [settings[name] for name in ("colours", "shapes", "textures")]
    choices = [rng.permutation(VALUES)[:size] for size in sizes]
    for _ in range(200):  # a greedy choice may run into a corner
        rows = _greedy_rows(rng, sizes)
        if len(rows) == VALUES + 1:
            return np.stack([choices[k][rows[:, k]] for k in range(3)], axis=-1).astype(np.int32)
    raise ValueError(f"{sizes} colours, shapes and textures are too few for {VALUES + 1} values two apart")


def _greedy_rows(rng: np.random.Generator, sizes: list[int]) -> np.ndarray:
    """Up to eight triples, two apart each, that use all colours, shapes and textures about equally."""
    grid = np.stack(np.meshgrid(*map(np.arange, sizes), indexing="ij"), -1).reshape(-1, 3)
    rows, fits = grid[:0], grid
    while len(rows) <= VALUES and len(fits):
        used = [np.bincount(rows[:, k], minlength=size)[fits[:, k]] for k, size in enumerate(sizes)]
        load = np.sum(used, axis=0)
        best = fits[load == load.min()]
        rows = np.concatenate([rows, best[rng.integers(len(best))][None]])
        fits = fits[np.sum(fits != rows[-1], axis=-1) >= 2]
    return rows
