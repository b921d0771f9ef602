"""A seeded sample of local vectors to fit on, and the threads to do it with."""

from __future__ import annotations

import contextlib

import numpy as np
from threadpoolctl import threadpool_limits

from partrep import UserError

LARGEST_FIT = 16_384
"""Vectors that k-means and NMF are fitted on at most; all vectors are assigned."""


def sample_vectors(features: np.ndarray, parts: int, seed: int) -> np.ndarray:
    """f32 [m,D]: at most `LARGEST_FIT` rows of features [...,D], drawn by seed without replacement."""
    features = np.asarray(features, np.float32)
    vectors = features.reshape(-1, features.shape[-1])
    if not 1 <= parts <= len(vectors):
        raise UserError(f"found {len(vectors)} local vectors for {parts} parts; expected at least as many")
    if len(vectors) > LARGEST_FIT:
        kept = np.random.default_rng(seed).choice(len(vectors), LARGEST_FIT, replace=False)
        vectors = vectors[np.sort(kept)]
    if not np.isfinite(vectors).all():
        raise UserError("found local vectors that are not finite; expected none")
    return vectors


def one_thread() -> contextlib.AbstractContextManager:
    """Keeps scikit-learn's fits on one thread.

    Its threads wait for each other by spinning: where the cores are shared, a fit takes up to thirty times as long
    with two threads as with one, and where they are not, little is gained. One thread also always adds up in the
    same order.
    """
    return threadpool_limits(limits=1)
