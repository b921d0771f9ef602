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


def fit_directions(vectors: np.ndarray, parts: int, seed: int = 0) -> np.ndarray:
    """f32 [K,D] of length one: the directions that vectors [...,D] cluster in, each standardised over its entries.

    K-means of what `parts.similarity.negative_standardised_distance` compares, to start prototypes from; the most
    frequent direction along the rim of the maps [n,h,w,D] is the last.

    >>> maps = np.zeros((8, 3, 3, 4)) + [1.0, 0.0, 0.0, 0.0]
    >>> maps[:, 1, 1] = [0.0, 0.0, 1.0, 0.0]
    >>> fit_directions(maps, 2).argmax(1).tolist()
    [2, 0]
    """
    vectors = np.asarray(vectors, np.float32)
    centred = vectors - vectors.mean(-1, keepdims=True)
    unit = centred / np.maximum(np.linalg.norm(centred, axis=-1, keepdims=True), 1e-6)
    centres = fit_kmeans(unit, parts, seed)
    centres /= np.maximum(np.linalg.norm(centres, axis=1, keepdims=True), 1e-6)
    rim = np.concatenate([edge.reshape(-1, unit.shape[-1]) for edge in (unit[:, (0, -1)], unit[:, :, (0, -1)])])
    last = np.bincount((rim @ centres.T).argmax(1), minlength=parts).argmax()
    return centres[[*np.delete(np.arange(parts), last), last]]
