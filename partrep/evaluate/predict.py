"""Runs a model over padded evaluation batches and returns whole arrays in the order of the examples."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import jax
import numpy as np

from partrep.train import sharding

Tree = Any


def predict(apply: Callable[[Tree, Tree], Tree], variables: Tree, batches: Iterable[Tree]) -> Tree:
    """Returns `apply(variables, batch)`, arrays [B, ...], joined over the batches without their padding.

    A batch is this process's slice as a dict of NumPy arrays [B, ...]; its `valid` bool [B] tells examples
    from padding (absent: all are examples). Every batch is padded to one shape that the devices divide, so
    any set size works and the program compiles once; each process must bring as many batches as the others.
    `apply` must be the same function object from call to call to be compiled once.
    """
    run = sharding.jit_apply(apply)
    variables = sharding.replicate(variables)
    collected, pending, size = [], None, 0
    for batch in batches:
        batch = {"valid": np.ones(len(jax.tree.leaves(batch)[0]), bool), **batch}
        size = size or padded_size(len(batch["valid"]))
        placed = sharding.put_batch(pad(batch, size))
        started = (run(variables, placed), placed["valid"])
        if pending is not None:  # gathered one batch late, while the device works on this one
            collected.append(without_padding(*pending))
        pending = started
    if pending is None:
        raise ValueError("predict needs at least one batch")
    collected.append(without_padding(*pending))
    return jax.tree.map(lambda *parts: np.concatenate(parts), *collected)


def padded_size(size: int) -> int:
    """The smallest size of at least `size` that this process's devices divide."""
    devices = sharding.local_device_count()
    return -(-size // devices) * devices


def pad(batch: Tree, size: int) -> Tree:
    """Repeats the last example up to `size`, marked as not valid."""
    short = size - len(batch["valid"])

    def longer(leaf: Any) -> np.ndarray:
        leaf = np.asarray(leaf)
        return np.pad(leaf, [(0, short)] + [(0, 0)] * (leaf.ndim - 1), mode="edge")

    return {**jax.tree.map(longer, batch), "valid": np.pad(batch["valid"], (0, short))}


def without_padding(outputs: Tree, valid: jax.Array) -> Tree:
    """Gathers the outputs of one batch in every process and keeps the examples."""
    outputs, valid = sharding.gather((outputs, valid))
    return jax.tree.map(lambda leaf: leaf[valid], outputs)
