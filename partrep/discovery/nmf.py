"""NMF parts: local vectors as non-negative sums of K components (deep feature factorisation)."""

from __future__ import annotations

import warnings

import numpy as np
from sklearn.decomposition import NMF
from sklearn.exceptions import ConvergenceWarning

from partrep.discovery.maps import Finder
from partrep.discovery.subsample import one_thread, sample_vectors


def nmf(features: np.ndarray, parts: int, seed: int = 0) -> Finder:
    """Factorises features [n,h,w,D] into K components; the finder gives each location's loads, f32 >= 0.

    `min |X - A P|_F^2` over `A, P >= 0` with rows of P scaled to length one, so that the loads A of different
    components compare. Signed features are split into their positive and negative parts, [x+, x-], which
    changes nothing for features after a ReLU. Source: Collins, Achanta and Susstrunk, Deep feature
    factorization for concept discovery, ECCV 2018, equation 3; they have no negative features.
    """
    sample = _split_signs(sample_vectors(features, parts, seed))
    # Few components: with more of them than columns, the default start is not defined.
    model = NMF(parts, init="nndsvda" if parts <= min(sample.shape) else "random", random_state=seed, tol=1e-3)
    with warnings.catch_warnings(), one_thread():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(sample)
    length = np.linalg.norm(model.components_, axis=1)

    def find(features: np.ndarray) -> np.ndarray:
        features = np.asarray(features, np.float32)
        with one_thread():
            loads = model.transform(_split_signs(features.reshape(-1, features.shape[-1]))) * length
        return np.moveaxis(loads.astype(np.float32).reshape(*features.shape[:-1], parts), -1, -3)

    return find


def _split_signs(vectors: np.ndarray) -> np.ndarray:
    return np.concatenate([np.maximum(vectors, 0), np.maximum(-vectors, 0)], axis=1)
