"""Batches of P classes with K examples of each: the sampling of metric learning."""

from __future__ import annotations

import numpy as np

from partrep import UserError
from partrep.data.pipeline import process_slice


class ClassBalanced:
    """Endless batches of P classes, K examples of each side by side: `batches[t]` is {index i32[b]}.

    The P classes of a batch are all different, each as likely as the others, and so are the K examples of a class
    where it has as many; a smaller class gives some of its examples more than once. The slices of all processes in a
    row are the batch that one process alone would read.

    Args:
        labels: int [n].
        classes: P >= 2.
        examples: K >= 2.
        seed: any int >= 0.
        process_index, process_count: whose slice of each batch this is; b = P K / process_count.

    Raises:
        UserError: fewer classes than P, less than two classes or examples, a batch that the processes do not divide.

    >>> labels = np.array([0, 0, 1, 1, 2, 2])
    >>> index = ClassBalanced(labels, classes=2, examples=2, seed=0)[5]["index"]
    >>> pairs = labels[index].reshape(2, 2)
    >>> len(set(index.tolist())), bool((pairs[:, 0] == pairs[:, 1]).all()), len(set(pairs[:, 0].tolist()))
    (4, True, 2)
    """

    def __init__(
        self,
        labels: np.ndarray,
        classes: int,
        examples: int,
        seed: int,
        process_index: int = 0,
        process_count: int = 1,
    ):
        if classes < 2 or examples < 2:
            raise UserError(f"batches of {classes} classes with {examples} examples each; expected at least 2 of both")
        known, inverse = np.unique(labels, return_inverse=True)
        if len(known) < classes:
            raise UserError(f"batches of {classes} classes; expected at most {len(known)}, as many as there are")
        self.members = np.split(np.argsort(inverse, kind="stable"), np.cumsum(np.bincount(inverse))[:-1])
        self.classes, self.examples, self.seed = classes, examples, seed
        self.slice = process_slice(classes * examples, process_index, process_count)

    def __getitem__(self, t: int) -> dict[str, np.ndarray]:
        rng = np.random.default_rng([self.seed, t])
        chosen = rng.permutation(len(self.members))[: self.classes]
        index = np.concatenate([self._drawn(rng, self.members[c]) for c in chosen])
        return {"index": index[self.slice].astype(np.int32)}

    def _drawn(self, rng: np.random.Generator, members: np.ndarray) -> np.ndarray:
        """K of the members, each once more only when all have come as often."""
        rounds = -(-self.examples // len(members))
        return np.concatenate([rng.permutation(members) for _ in range(rounds)])[: self.examples]
