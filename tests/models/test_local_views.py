"""Local views of model outputs against loops."""

from __future__ import annotations

import numpy as np
import pytest

from partrep.models.local_views import (
    VIEWS,
    dense,
    embedding,
    grid,
    nearest_centroid,
    parts,
    pooled,
)
from partrep.models.outputs import PartOutputs
from partrep.parts.structure import Parts

B, H, W, D, K = 2, 4, 6, 3, 5


@pytest.fixture(scope="module")
def outputs():
    rng = np.random.default_rng(0)
    found = Parts(
        similarity=None,
        assignment=None,
        background=None,
        vectors=None,
        scores=None,
        presence=rng.uniform(size=(B, K)).astype(np.float32),
        centroid=rng.uniform(size=(B, K, 2)).astype(np.float32),
    )
    features = rng.normal(size=(B, H, W, D)).astype(np.float32)
    return PartOutputs(features, found, rng.normal(size=(B, K, 7)), None, rng.normal(size=(B, 7)))


def test_dense(outputs):
    local = dense(outputs)
    np.testing.assert_array_equal(local.vectors[1, 2 * W + 4], outputs.features[1, 2, 4])
    np.testing.assert_allclose(local.positions[1, 2 * W + 4], [2.5 / H, 4.5 / W], rtol=1e-6)
    np.testing.assert_array_equal(local.weights, np.ones((B, H * W)))


def test_grid_of_whole_cells(outputs):
    local = grid(outputs, cells=2)
    expected = outputs.features.reshape(B, 2, 2, 2, 3, D).mean((2, 4)).reshape(B, 4, D)
    np.testing.assert_allclose(local.vectors, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(local.positions[0], [[0.25, 0.25], [0.25, 0.75], [0.75, 0.25], [0.75, 0.75]])


def test_grid_of_split_cells_is_the_mean_of_a_finer_map(outputs):
    fine = outputs.features.repeat(3, 1)
    expected = fine.reshape(B, 3, 4, 3, 2, D).mean((2, 4)).reshape(B, 9, D)
    np.testing.assert_allclose(grid(outputs, cells=3).vectors, expected, rtol=1e-5, atol=1e-6)


def test_one_vector_an_image(outputs):
    np.testing.assert_allclose(pooled(outputs).vectors[:, 0], outputs.features.mean((1, 2)), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(embedding(outputs).vectors[:, 0], outputs.embedding)
    np.testing.assert_array_equal(pooled(outputs).positions, np.full((B, 1, 2), 0.5))


def test_parts(outputs):
    local = parts(outputs)
    np.testing.assert_array_equal(local.vectors, outputs.codes)
    np.testing.assert_array_equal(local.weights, outputs.parts.presence)
    np.testing.assert_array_equal(local.positions, outputs.parts.centroid)


def test_nearest_centroid(outputs):
    rng = np.random.default_rng(1)
    centroids = np.concatenate([rng.normal(size=(3, D)), np.full((1, D), 99.0)]).astype(np.float32)
    local = nearest_centroid(outputs, centroids)
    for b in range(B):
        members = {k: [] for k in range(4)}
        for i, j in np.ndindex(H, W):
            x = outputs.features[b, i, j].astype(np.float64)
            members[int(np.argmin(((centroids - x) ** 2).sum(1)))].append((x, ((i + 0.5) / H, (j + 0.5) / W)))
        for k, found in members.items():
            assert float(local.weights[b, k]) == bool(found)
            if found:
                np.testing.assert_allclose(local.vectors[b, k], np.mean([x for x, _ in found], 0), rtol=1e-5, atol=1e-6)
                np.testing.assert_allclose(local.positions[b, k], np.mean([p for _, p in found], 0), rtol=1e-5)
    assert float(local.weights[0, 3]) == 0.0
    np.testing.assert_array_equal(local.positions[0, 3], [0.5, 0.5])


def test_names():
    assert set(VIEWS) == {"dense", "grid", "pooled", "embedding", "parts"}
