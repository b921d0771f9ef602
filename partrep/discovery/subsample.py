"""A seeded sample of local vectors to fit on."""

from __future__ import annotations

import numpy as np

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
