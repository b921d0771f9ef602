"""Batches of a set of images: endless ones to train on, padded ones of every image to evaluate."""

from __future__ import annotations

import numpy as np

from partrep.data.imageset import Batch, ImageSet
from partrep.data.pipeline import EvalBatches, TrainBatches
from partrep.train import sharding


class ClassBatches:
    """Batch t of the base classes: what the step needs to make the images, and their labels."""

    def __init__(self, images: ImageSet, batch_size: int, seed: int):
        self.images = images
        self.order = TrainBatches(len(images), batch_size, seed, sharding.process_index(), sharding.process_count())

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
