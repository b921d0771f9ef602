"""K-means parts: planted clusters are found, the same seed gives the same centres."""

from __future__ import annotations

import numpy as np

from partrep.discovery.kmeans import fit_kmeans, kmeans


def planted(seed: int = 0, n: int = 10, spread: float = 0.1):
    centres = 3 * np.random.default_rng(99).normal(size=(4, 6))
    generator = np.random.default_rng(seed)
    part = generator.integers(4, size=(n, 5, 5))
    return centres, part, centres[part] + spread * generator.normal(size=(n, 5, 5, 6))


def test_planted_clusters_are_found():
    _, _, features = planted()
    centres, part, new = planted(1)
    maps = kmeans(features, 4)(new)
    assert maps.shape == (10, 4, 5, 5) and maps.dtype == np.float32 and (maps.sum(axis=1) == 1).all()
    fitted = fit_kmeans(features, 4)
    order = ((fitted[:, None] - centres[None]) ** 2).sum(-1).argmin(axis=1)
    assert sorted(order) == [0, 1, 2, 3] and (order[maps.argmax(axis=1)] == part).all()


def test_nearest_centre_by_brute_force():
    features = np.random.default_rng(2).normal(size=(3, 4, 4, 5))
    centres = fit_kmeans(features, 6, seed=1)
    nearest = ((features[..., None, :] - centres) ** 2).sum(axis=-1).argmin(axis=-1)
    assert (kmeans(features, 6, seed=1)(features).argmax(axis=1) == nearest).all()


def test_same_seed_same_centres():
    features = np.random.default_rng(3).normal(size=(4, 8, 8, 3))
    np.testing.assert_array_equal(fit_kmeans(features, 5, 7), fit_kmeans(features, 5, 7))
