"""Batches of a set of images: endless ones to train on, padded ones of every image to evaluate."""

from __future__ import annotations

import numpy as np

from partrep import UserError
from partrep.data.classes import ClassBalanced
from partrep.data.imageset import Batch, ImageSet
from partrep.data.pipeline import EvalBatches, TrainBatches, process_slice
from partrep.train import sharding


def shuffled(count: int, batch_size: int, seed: int) -> TrainBatches:
    """This process's slices of endless batches of the indices of `count` examples."""
    return TrainBatches(count, batch_size, seed, sharding.process_index(), sharding.process_count())


class EqualGroups:
    """Batch t with equally many examples of each group, in any order; every group is gone through by itself.

    The slices of all processes in a row are the batch that one process alone would read, as of `TrainBatches`.

    Args:
        groups: int [n] in 0..G-1, of the examples.
        batch_size: B over all processes, a multiple of G.
        seed: any int >= 0.
        process_index, process_count: whose slice of each batch this is.

    Raises:
        UserError: a group without examples, a batch that the groups or the processes do not divide.

    >>> index = EqualGroups(np.array([0, 0, 0, 0, 0, 1]), batch_size=4, seed=0)[0]["index"]
    >>> sorted((index == 5).tolist()), len(set(index.tolist()))
    ([False, False, True, True], 3)
    """

    def __init__(
        self, groups: np.ndarray, batch_size: int, seed: int, process_index: int = 0, process_count: int = 1
    ):
        count = int(groups.max()) + 1
        self.members = [np.flatnonzero(groups == group) for group in range(count)]
        if min(map(len, self.members)) < 1 or count < 2:
            found = ", ".join(str(len(members)) for members in self.members)
            raise UserError(f"groups of {found} training images; expected two at least, none of them empty")
        if batch_size % count:
            raise UserError(f"batch_size {batch_size} with {count} groups; expected a multiple, for as many of each")
        self.orders = [TrainBatches(len(members), batch_size // count, seed) for members in self.members]
        self.seed, self.slice = seed, process_slice(batch_size, process_index, process_count)

    def __getitem__(self, t: int) -> dict[str, np.ndarray]:
        chosen = np.concatenate([members[order.indices(t)] for members, order in zip(self.members, self.orders)])
        return {"index": np.random.default_rng([self.seed, t]).permutation(chosen)[self.slice]}


def balanced(groups: np.ndarray, batch_size: int, seed: int) -> EqualGroups:
    """This process's slices of endless batches with as many of each of the groups [n]."""
    return EqualGroups(groups, batch_size, seed, sharding.process_index(), sharding.process_count())


def of_classes(labels: np.ndarray, classes: int, examples: int, seed: int) -> ClassBalanced:
    """This process's slices of endless batches of some classes with as many examples of each."""
    return ClassBalanced(labels, classes, examples, seed, sharding.process_index(), sharding.process_count())


class ClassBatches:
    """Batch t of the base classes: what the step needs to make the images, and their labels."""

    def __init__(self, images: ImageSet, order: TrainBatches | EqualGroups | ClassBalanced):
        self.images, self.order = images, order

    def __getitem__(self, t: int) -> Batch:
        return self.images.load(self.order[t]["index"])


def eval_batches(images: ImageSet, batch_size: int, indices: np.ndarray | None = None):
    """Padded batches of every image, or of those at `indices`, in order, as `predict` takes them.

    Each process gets its slice of them; a batch size that the processes do not divide is rounded up.
    """
    chosen = np.arange(len(images)) if indices is None else indices
    processes = sharding.process_count()
    size = -(-batch_size // processes) * processes
    order = EvalBatches(len(chosen), size, sharding.process_index(), processes)
    for t in range(len(order)):
        batch = order[t]
        yield {**images.load(chosen[batch["index"]]), "valid": batch["valid"]}


def spaced(images: ImageSet, most: int) -> np.ndarray:
    """Indices of at most `most` evenly spaced images of a set."""
    return np.linspace(0, len(images) - 1, min(most, len(images))).astype(np.int64)
