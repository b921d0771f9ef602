"""Training, validation and test photos: pure functions of labels and a seed, which keep copies on one side."""

from __future__ import annotations

import dataclasses

import numpy as np

from partrep import UserError, lookup
from partrep.data.photos import TEST, PhotoSet


@dataclasses.dataclass(frozen=True)
class Split:
    """Indices of three disjoint parts of a photo set, int [m] each, in ascending order."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


def stratified(
    labels: np.ndarray, test_fraction: float, seed: int, copies: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """A random split with the same share of each class: ascending indices (train, test).

    Args:
        labels: int [n].
        test_fraction: share of each class that is tested, above 0 and below 1; rounded, and at least one photo.
        seed: of the draw, 0 or more.
        copies: int [n], the same number for photos that have to stay together; None for none. Where they are, the
            share of a class may miss by some photos.

    Raises:
        UserError: a fraction out of range, a class that cannot be in both parts.

    >>> train, test = stratified(np.repeat([0, 1], 5), 0.2, seed=0)
    >>> len(train), np.repeat([0, 1], 5)[test].tolist()
    (8, [0, 1])
    """
    test = _draw(labels, _share(labels, test_fraction), (seed, 0), copies)
    return np.flatnonzero(~test), np.flatnonzero(test)


def per_class(
    labels: np.ndarray, count: int, seed: int, copies: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """A random split with `count` photos of each class to train on, the rest tested: ascending (train, test).

    `labels`, `seed`, `copies` and the errors are those of `stratified`; a class also has to have more than `count`.

    >>> train, test = per_class(np.repeat([0, 1], [3, 5]), 2, seed=0)
    >>> np.repeat([0, 1], [3, 5])[train].tolist(), len(test)
    ([0, 0, 1, 1], 4)
    """
    classes, sizes = np.unique(labels, return_counts=True)
    short = np.flatnonzero(sizes <= count)
    if count < 1 or len(short):
        found = f"class {classes[short[0]]} has {sizes[short[0]]} photos" if count > 0 else "none"
        raise UserError(f"{count} photos of each class to train on, but {found}; expected more photos than that")
    train = _draw(labels, np.full(len(classes), count), (seed, 0), copies)
    return np.flatnonzero(train), np.flatnonzero(~train)


def validation_from(
    labels: np.ndarray, indices: np.ndarray, fraction: float, seed: int, copies: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Parts `indices` int[m] once more, as `stratified` does: (train, validation).

    >>> train, validation = validation_from(np.repeat([0, 1], 5), np.arange(1, 9), 0.25, seed=0)
    >>> len(train), np.repeat([0, 1], 5)[validation].tolist()
    (6, [0, 1])
    """
    inside = labels[indices]
    chosen = _draw(inside, _share(inside, fraction), (seed, 1), None if copies is None else copies[indices])
    return indices[~chosen], indices[chosen]


def split(
    photos: PhotoSet,
    name: str,
    resplit: int = 0,
    test_fraction: float = 0.2,
    count: int = 100,
    validation: float = 0.1,
) -> Split:
    """The training, validation and test photos of a set.

    Args:
        photos: the set; copies among its photos are kept on one side.
        name: "given" is the supplied split; "stratified" tests `test_fraction` of each class (Flowers-17);
            "per_class" trains on `count` photos of each class (Scene-15).
        resplit: which random split. 0 is the supplied one where there is one, whatever the name.
        validation: share of each class of the training photos that is held out to choose with.

    Raises:
        UserError: an unknown name, a resplit that does not exist, and as the functions above.
    """
    draw = lookup({"given": None, "stratified": stratified, "per_class": per_class}, name, "split of the photos")
    if resplit < 0 or (resplit and draw is None):
        raise UserError(f"resplit {resplit} of {name!r}; expected 0" + (" or more" if draw else ""))
    if draw is None and photos.split is None:
        raise UserError(f"{photos.archive.path} has no split of its own; expected split 'stratified' or 'per_class'")
    if resplit == 0 and photos.split is not None:
        train, test = np.flatnonzero(photos.split != TEST), np.flatnonzero(photos.split == TEST)
    else:
        amount = test_fraction if draw is stratified else count
        train, test = draw(photos.labels, amount, resplit, photos.copies)
    train, held_out = validation_from(photos.labels, train, validation, resplit, photos.copies)
    return Split(train, held_out, test)


def _share(labels: np.ndarray, fraction: float) -> np.ndarray:
    """How many photos of each class a share of them is; some and not all."""
    if not 0 < fraction < 1:
        raise UserError(f"a fraction of {fraction} of the photos; expected one above 0 and below 1")
    sizes = np.unique(labels, return_counts=True)[1]
    return np.clip(np.rint(fraction * sizes).astype(int), 1, np.maximum(sizes - 1, 1))


def _draw(
    labels: np.ndarray, quota: np.ndarray, seed: tuple[int, int], copies: np.ndarray | None
) -> np.ndarray:
    """bool [n]: `quota` int[C] photos of each class that occurs, drawn so that copies stay together."""
    rng = np.random.default_rng(seed)
    classes, label = np.unique(labels, return_inverse=True)
    group = np.arange(len(label)) if copies is None else np.unique(copies, return_inverse=True)[1]
    members = np.split(np.argsort(group, kind="stable"), np.cumsum(np.bincount(group))[:-1])
    counts = np.zeros((len(members), len(classes)), int)  # a photo may have copies in other classes
    np.add.at(counts, (group, label), 1)
    home = np.array([label[photos[0]] for photos in members])
    chosen, left = np.zeros(len(members), bool), quota.copy()
    for c in range(len(classes)):
        order = rng.permutation(np.flatnonzero(home == c))
        for g in order:
            if ((counts[g] == 0) | (counts[g] <= left)).all():
                chosen[g], left = True, left - counts[g]
        if left[c] == quota[c] and len(order):  # more copies of each photo than the quota allows
            chosen[order[0]], left = True, left - counts[order[0]]
    _check(classes, counts[chosen].sum(0), counts.sum(0))
    return chosen[group]


def _check(classes: np.ndarray, drawn: np.ndarray, sizes: np.ndarray) -> None:
    wrong = np.flatnonzero((drawn == 0) | (drawn == sizes))
    if len(wrong):
        c = wrong[0]
        raise UserError(f"class {classes[c]} has {sizes[c]} photos, copies among them; expected two different ones")
