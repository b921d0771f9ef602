"""Pairs of images of one class, and classes invented by a warp that both images of a pair share."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from partrep import UserError
from partrep.data import transforms
from partrep.data.pipeline import process_slice


class PairBatches:
    """Endless batches of B / 2 classes, two examples of each side by side: `batches[t]` is {index i32[b]}.

    Places 2i and 2i + 1 hold different examples of one class; the classes of a batch are all different, each as
    likely as the others. The slices of all processes in a row are the batch that one process alone would read.

    Args:
        labels: int [n].
        batch_size: B over all processes, an even number in each; b = B / process_count.
        seed: any int >= 0.

    Raises:
        UserError: a class with one example, fewer classes than pairs, an odd batch.

    >>> labels = np.array([0, 0, 1, 1, 2, 2])
    >>> pairs = PairBatches(labels, batch_size=4, seed=0)[7]["index"].reshape(2, 2)
    >>> bool((labels[pairs[:, 0]] == labels[pairs[:, 1]]).all() and (pairs[:, 0] != pairs[:, 1]).all())
    True
    """

    def __init__(
        self, labels: np.ndarray, batch_size: int, seed: int, process_index: int = 0, process_count: int = 1
    ):
        _, inverse, self.counts = np.unique(labels, return_inverse=True, return_counts=True)
        self.order = np.argsort(inverse, kind="stable").astype(np.int32)
        self.starts = np.concatenate([[0], np.cumsum(self.counts)[:-1]])
        self.pairs, self.seed = batch_size // 2, seed
        if batch_size % (2 * process_count):
            raise UserError(f"batch of {batch_size} over {process_count} processes; expected an even number in each")
        if self.counts.min() < 2:
            raise UserError(f"a class with {self.counts.min()} image; expected at least 2 of each, to make pairs")
        if len(self.counts) < self.pairs:
            raise UserError(f"{len(self.counts)} classes for {self.pairs} pairs of different classes in a batch")
        self.slice = process_slice(batch_size, process_index, process_count)

    def __getitem__(self, t: int) -> dict[str, np.ndarray]:
        rng = np.random.default_rng([self.seed, t])
        classes = rng.permutation(len(self.counts))[: self.pairs]
        count = self.counts[classes]
        first = rng.integers(0, count)
        second = (first + rng.integers(1, count)) % count
        places = self.starts[classes][:, None] + np.stack([first, second], 1)
        return {"index": self.order[places.reshape(-1)][self.slice]}


def invent_classes(
    key: jax.Array, images: jax.Array, settings: transforms.WarpSettings, share: float
) -> tuple[jax.Array, jax.Array]:
    """Puts a share of the pairs under a warp that both images have in common: characters that nobody has drawn.

    A warp strong enough to make another character of a drawing makes the same one of another person's drawing, so
    the pair is two drawings of a class without a label.

    Args:
        images: u8 [2P,H,H,C], pairs side by side; what comes in is filled with paper (255), in colours with the edge.
        settings: ranges of the common warp.
        share: of the pairs, in [0,1], drawn independently.

    Returns:
        f32 [2P,H,H,C] in [0,255], and bool [2P], whether the image is of an invented class.

    Source: this project; after the synthetic classes by rotation of Santoro et al. (2016), section 4.1.
    """
    pairs, size = images.shape[0] // 2, images.shape[1]
    chosen, drawn = jax.random.split(key)
    invented = jnp.repeat(jax.random.bernoulli(chosen, share, (pairs,)), 2)
    moves = jax.tree.map(lambda x: jnp.repeat(x, 2, 0), transforms.random_warp(drawn, pairs, settings))
    images = jnp.asarray(images, jnp.float32)
    moved = transforms.apply_to_images(moves, images, size, fill=255.0 if images.shape[-1] == 1 else None)
    return jnp.where(invented[:, None, None, None], moved, images), invented
