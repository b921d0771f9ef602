"""Antialiased resampling of images by two small matrix products (NumPy; `transforms.resize` is for JAX)."""

from __future__ import annotations

import functools

import numpy as np


@functools.lru_cache(maxsize=32)
def resize_matrix(n_in: int, n_out: int) -> np.ndarray:
    """Weights f32[n_out,n_in] of a triangle filter as wide as the shrinkage; rows sum to one.

    >>> resize_matrix(4, 2).round(3)
    array([[0.429, 0.429, 0.143, 0.   ],
           [0.   , 0.143, 0.429, 0.429]], dtype=float32)
    """
    width = max(n_in / n_out, 1.0)
    centre = (np.arange(n_out) + 0.5) * (n_in / n_out)
    distance = np.abs(centre[:, None] - (np.arange(n_in) + 0.5)) / width
    weight = np.maximum(1.0 - distance, 0.0)
    return (weight / weight.sum(1, keepdims=True)).astype(np.float32)


def resize_u8(images: np.ndarray, height: int, width: int, block: int = 256) -> np.ndarray:
    """Images u8[n,H,W,C] to u8[n,height,width,C], in blocks so that the float copies stay small."""
    n, h, w, c = images.shape
    if (h, w) == (height, width):
        return images
    rows, columns = resize_matrix(h, height), resize_matrix(w, width)
    out = np.empty((n, height, width, c), np.uint8)
    for i in range(0, n, block):
        chunk = images[i : i + block].astype(np.float32)
        tall = np.matmul(rows, chunk.reshape(-1, h, w * c)).reshape(-1, height, w, c)
        small = np.matmul(columns, tall.reshape(-1, w, c)).reshape(-1, height, width, c)
        out[i : i + block] = np.clip(small + 0.5, 0, 255)
    return out
