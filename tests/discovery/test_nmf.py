"""NMF parts: planted components, the scale of components, signed features."""

from __future__ import annotations

import numpy as np

from partrep.discovery.nmf import nmf


def planted(seed: int, scales=(1.0, 1.0, 1.0), signed: bool = False):
    """Each location holds one of three components with disjoint channels."""
    components = np.kron(np.eye(3), np.ones((1, 4))) * np.asarray(scales)[:, None]
    if signed:
        components[:, ::2] *= -1
    generator = np.random.default_rng(seed)
    part = generator.integers(3, size=(6, 5, 5))
    return part, components[part] * generator.uniform(0.5, 1.5, size=(6, 5, 5, 1))


def agreement(part, maps) -> float:
    found = maps.argmax(axis=1)
    return sum(max((found[part == p] == k).sum() for k in range(3)) for p in range(3)) / part.size


def test_planted_components_are_found():
    _, features = planted(0)
    part, new = planted(1)
    maps = nmf(features, 3)(new)
    assert maps.shape == (6, 3, 5, 5) and maps.dtype == np.float32 and (maps >= 0).all()
    assert agreement(part, maps) == 1.0


def test_signed_features_are_split():
    _, features = planted(0, signed=True)
    part, new = planted(1, signed=True)
    assert agreement(part, nmf(features, 3)(new)) == 1.0


def test_loads_have_the_length_of_the_features():
    """Disjoint components of length one: the load of a location is the length of its vector."""
    _, features = planted(0, scales=(0.5, 1.0, 2.0))
    loads = nmf(features, 3)(features).max(axis=1)
    np.testing.assert_allclose(loads, np.linalg.norm(features, axis=-1), rtol=0.05)


def test_same_seed_same_maps_and_more_parts_than_channels():
    features = np.random.default_rng(0).random((2, 4, 4, 1))
    np.testing.assert_array_equal(nmf(features, 5, 3)(features), nmf(features, 5, 3)(features))
