"""What every source offers, a source held in memory, and a source cut down to some of its examples."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from partrep import UserError


class Settings(dict[str, Any]):
    """The settings of a data set, `name` and what it takes; one that is missing raises a `UserError`.

    >>> Settings(name="folder", dir="photos")["dir"]
    'photos'
    """

    def __missing__(self, key: str) -> Any:
        raise UserError(f"data {self['name']!r} needs config.data.{key}; expected a preset that has it")


class Source(Protocol):
    """`source[i]` is {image u8[H,W,C], label, id; where known box, keypoints, visible, part_mask, group}."""

    labels: np.ndarray

    @property
    def classes(self) -> Sequence[str]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> dict[str, Any]: ...


class ArraySource:
    """Examples in memory: images u8[n,H,W,C], labels i32[n]; `gather(indices)` gives many at once.

    `groups` i32[n] (names in `group_names`) and each of `attributes` i32[n] serve the episode sampler.
    """

    def __init__(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        classes: Sequence[str],
        ids: Sequence[str] | None = None,
        groups: np.ndarray | None = None,
        group_names: Sequence[str] = (),
        attributes: Mapping[str, np.ndarray] | None = None,
    ):
        if len(images) != len(labels):
            raise UserError(f"{len(images)} images with {len(labels)} labels; expected as many")
        self.images, self.labels = images, np.asarray(labels, np.int32)
        self.classes, self.group_names = list(classes), list(group_names)
        self.ids = list(ids) if ids is not None else [str(i) for i in range(len(images))]
        self.groups = None if groups is None else np.asarray(groups, np.int32)
        self.attributes = {k: np.asarray(v, np.int32) for k, v in (attributes or {}).items()}

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict[str, Any]:
        columns = self._columns()
        return {"id": self.ids[index]} | {name: column[index] for name, column in columns.items()}

    def gather(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        """The columns at `indices` int[...]: image u8[...,H,W,C], label i32[...], group, attributes."""
        return {name: column[indices] for name, column in self._columns().items()}

    def take(self, indices: np.ndarray) -> ArraySource:
        """The examples at `indices` int[m]; labels are counted anew from 0 over the classes that remain."""
        part = copy.copy(self)
        part.images, part.ids = self.images[indices], [self.ids[i] for i in indices]
        part.labels, part.classes = relabelled(self.labels[indices], self.classes)
        part.groups = None if self.groups is None else self.groups[indices]
        part.attributes = {name: values[indices] for name, values in self.attributes.items()}
        return part

    def _columns(self) -> dict[str, np.ndarray]:
        columns = {"image": self.images, "label": self.labels, **self.attributes}
        return columns if self.groups is None else columns | {"group": self.groups}


def relabelled(labels: np.ndarray, classes: Sequence[str]) -> tuple[np.ndarray, list[str]]:
    """Labels counted anew from 0 over the classes that occur, and the names of those classes.

    >>> relabelled(np.array([4, 1, 4]), ["a", "b", "c", "d", "e"])
    (array([1, 0, 1], dtype=int32), ['b', 'e'])
    """
    if not len(labels):
        raise UserError("a choice of no example at all; expected at least one")
    kept, new = np.unique(labels, return_inverse=True)
    return new.astype(np.int32), [classes[i] for i in kept]


def split_groups(
    groups: np.ndarray | None, names: Sequence[str], held_out: Sequence[str]
) -> tuple[np.ndarray, ...]:
    """Indices (kept, held out) of the examples, split by whole groups: `held_out` are some of the `names`.

    >>> split_groups(np.array([0, 1, 0]), ["Greek", "Latin"], ["Latin"])
    (array([0, 2]), array([1]))
    """
    if groups is None:
        raise UserError("a source without groups; expected one with groups, such as alphabets, to hold out")
    for name in held_out:
        if name not in names:
            raise UserError(f"no group {name!r}; known: {', '.join(names)}")
    inside = np.isin(groups, [list(names).index(name) for name in held_out])
    if inside.all():
        raise UserError(f"all {len(names)} groups are held out; expected some left to train on")
    return np.flatnonzero(~inside), np.flatnonzero(inside)
