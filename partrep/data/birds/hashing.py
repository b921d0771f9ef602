"""Random numbers by counting, from a pair of 32-bit words: the same in NumPy, JAX and every version."""

from __future__ import annotations

import math

import numpy as np


def mix(x):
    """A bijective 32-bit mixing of uint32 values, NumPy or JAX (the lowbias32 finaliser of C. Wellons)."""
    x = x ^ (x >> 16)
    x = x * np.uint32(0x7FEB352D)
    x = x ^ (x >> 15)
    x = x * np.uint32(0x846CA68B)
    return x ^ (x >> 16)


def uniforms(key, stream: int, count: int, xp):
    """Numbers in (0, 1), f32 [count]: a pure function of key uint32 [2] and stream; xp is numpy or jnp."""
    return _uniforms(key, xp.asarray(np.arange(count, dtype=np.uint32) + np.uint32(stream << 12)), xp)


def _uniforms(key, counter, xp):
    bits = mix(mix(mix(counter) ^ key[0]) + key[1])
    return ((bits >> 8).astype(xp.float32) + 0.5) * np.float32(2.0**-24)


def streams(key, shapes: dict[str, tuple[int, ...]], xp) -> dict:
    """Uniform numbers of many shapes at once, by name: the n-th has stream n.

    >>> {name: u.shape for name, u in streams(np.zeros(2, np.uint32), {"a": (), "b": (2, 3)}, np).items()}
    {'a': (), 'b': (2, 3)}
    """
    sizes = [math.prod(shape) for shape in shapes.values()]
    counter = [np.arange(size, dtype=np.uint32) + np.uint32(n << 12) for n, size in enumerate(sizes)]
    pieces = xp.split(_uniforms(key, xp.asarray(np.concatenate(counter)), xp), np.cumsum(sizes)[:-1])
    return {name: piece.reshape(shape) for (name, shape), piece in zip(shapes.items(), pieces)}
