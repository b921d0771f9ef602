"""K-means parts: clusters of local vectors, each location given to the nearest centre."""

from __future__ import annotations

import numpy as np
from sklearn.cluster import KMeans

from partrep.discovery.maps import Finder, one_hot_maps
from partrep.discovery.subsample import one_thread, sample_vectors


def fit_kmeans(vectors: np.ndarray, parts: int, seed: int = 0) -> np.ndarray:
    """f32 [K,D]: centres of Lloyd's algorithm on vectors [...,D]; k-means++ starts, the best of three."""
    sample = sample_vectors(vectors, parts, seed)
    with one_thread():
        fitted = KMeans(parts, n_init=3, max_iter=100, random_state=seed).fit(sample)
    return fitted.cluster_centers_.astype(np.float32)


def kmeans(features: np.ndarray, parts: int, seed: int = 0) -> Finder:
    """Fits K clusters on features [n,h,w,D]; the finder gives each location wholly to its nearest centre.

    `a_kn = [k = argmin_j |x_n - c_j|^2]`.
    """
    centres = fit_kmeans(features, parts, seed)

    def find(features: np.ndarray) -> np.ndarray:
        score = np.asarray(features, np.float32) @ centres.T - (centres**2).sum(axis=1) / 2
        return one_hot_maps(score.argmax(axis=-1), parts)

    return find
