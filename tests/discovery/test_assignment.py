"""Parts by alternation: planted regions are found, objectives only rise, matchings are the best there are."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from partrep import UserError
from partrep.discovery.assignment import (
    assigned_parts,
    fit_assigned_parts,
    image_groups,
    match,
    region_statistics,
)
from partrep.parts.competition import annealed_soft_assign
from partrep.parts.similarity import discriminants

CLASSES, IMAGES, REGIONS, PARTS, DEPTH = 3, 12, 16, 3, 12


def planted(seed: int = 0):
    """Features [n,N,D], labels, and where each of the class's parts lies in each image; the rest is noise."""
    generator = np.random.default_rng(seed)
    directions = np.linalg.qr(generator.normal(size=(DEPTH, CLASSES * PARTS)))[0].T
    centres = 6 * directions.reshape(CLASSES, PARTS, DEPTH)
    labels = np.repeat(np.arange(CLASSES), IMAGES)
    features = generator.normal(size=(len(labels), REGIONS, DEPTH))
    where = np.array([generator.permutation(REGIONS)[:PARTS] for _ in labels])
    noise = 0.3 * generator.normal(size=(len(labels), PARTS, DEPTH))
    np.put_along_axis(features, where[..., None], centres[labels] + noise, axis=1)
    return features, labels, where


def same_up_to_order(regions: np.ndarray, where: np.ndarray) -> float:
    """The greatest share of planted places that one renaming of the parts explains."""
    return max((regions == where[:, list(order)]).mean() for order in itertools.permutations(range(PARTS)))


@pytest.mark.parametrize("seed", range(4))
def test_planted_regions_are_found_and_the_objective_never_falls(seed):
    features, labels, where = planted(seed)
    statistics = region_statistics(features)
    for label in range(CLASSES):
        found = assigned_parts(features[labels == label], statistics, PARTS, seed)
        assert same_up_to_order(found.regions, where[labels == label]) > 0.95
        assert (np.diff(found.objectives) >= -1e-9).all() and len(found.objectives) < 50


def test_the_objective_rises_over_many_rounds_where_nothing_is_planted():
    features = np.random.default_rng(5).normal(size=(15, 10, 6))
    statistics = region_statistics(features)
    rounds = [assigned_parts(features, statistics, 4, seed).objectives for seed in range(5)]
    assert max(map(len, rounds)) > 2
    assert all((np.diff(r) >= -1e-9).all() for r in rounds)


def test_at_fixed_detectors_the_new_matching_is_at_least_as_good():
    features, labels, _ = planted(1)
    images = features[labels == 0]
    found = assigned_parts(images, region_statistics(features), PARTS)
    scores = found.detectors @ images.transpose(0, 2, 1)
    ours = np.take_along_axis(scores, found.regions[..., None], axis=2).sum((1, 2))
    best = np.take_along_axis(scores, match(scores)[..., None], axis=2).sum((1, 2))
    np.testing.assert_allclose(ours, best)  # a fixed point
    generator = np.random.default_rng(6)
    for _ in range(20):
        other = np.array([generator.permutation(REGIONS)[:PARTS] for _ in images])
        assert (np.take_along_axis(scores, other[..., None], axis=2).sum((1, 2)) <= best + 1e-9).all()


def test_detectors_are_the_discriminants_of_the_assigned_regions():
    features, labels, _ = planted(2)
    images = features[labels == 1]
    statistics = region_statistics(features)
    found = assigned_parts(images, statistics, PARTS)
    means = np.take_along_axis(images, found.regions[..., None], axis=1).mean(axis=0)
    np.testing.assert_allclose(
        found.detectors, np.linalg.solve(statistics.covariance, (means - statistics.mean).T).T, rtol=1e-6
    )
    rows = features.reshape(-1, DEPTH)
    library = discriminants(*(jnp.float32(a) for a in (means, rows.mean(0), np.cov(rows.T, bias=True))))
    np.testing.assert_allclose(found.detectors, library, rtol=1e-2, atol=1e-3)


def test_matching_by_brute_force_and_against_soft_assign():
    scores = np.random.default_rng(3).normal(size=(8, 3, 5))
    hungarian = match(scores)
    soft = np.asarray(jax.jit(annealed_soft_assign)(jnp.float32(scores)[:, :, None]))[:, :, 0].argmax(-1)
    for image, regions, rounded in zip(scores, hungarian, soft):
        assert len(set(regions)) == 3
        value = image[np.arange(3), regions].sum()
        best = max(image[np.arange(3), list(p)].sum() for p in itertools.permutations(range(5), 3))
        assert value == pytest.approx(best)
        if len(set(rounded)) == 3:
            assert value >= image[np.arange(3), rounded].sum() - 1e-9


def test_queries_of_all_classes_fire_on_their_own_parts():
    features, labels, _ = planted(3)
    queries = fit_assigned_parts(features.reshape(len(labels), 4, 4, DEPTH), labels + 7, PARTS)
    assert queries.shape == (CLASSES * PARTS, DEPTH) and queries.dtype == np.float32
    best = (features @ queries.T).max(axis=1).reshape(len(labels), CLASSES, PARTS).sum(-1)
    assert (best.argmax(1) == labels).mean() > 0.95
    np.testing.assert_array_equal(queries, fit_assigned_parts(features, labels, PARTS))


def test_groups_stand_in_for_classes():
    features, labels, _ = planted(4)
    vectors = np.eye(CLASSES)[labels] + 0.1 * np.random.default_rng(0).normal(size=(len(labels), CLASSES))
    groups = image_groups(vectors, CLASSES, seed=1)
    assert all(len(set(groups[labels == c])) == 1 for c in range(CLASSES)) and len(set(groups)) == CLASSES
    np.testing.assert_array_equal(groups, image_groups(vectors, CLASSES, seed=1))
    by_group, by_class = (fit_assigned_parts(features, g, PARTS) for g in (groups, labels))
    ours = sorted(map(tuple, by_group.round(4)))
    np.testing.assert_allclose(ours, sorted(map(tuple, by_class.round(4))), atol=1e-3)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: match(np.zeros((1, 3, 2))), "3 parts for 2 regions an image"),
        (lambda: region_statistics(np.full((2, 3), np.nan)), "found 2 regions, not all finite or none"),
        (lambda: fit_assigned_parts(np.zeros((3, 4, 2)), [0, 1], 1), r"labels \(2,\); expected \[n,\.\.\.,D\] and \[n\]"),
        (lambda: fit_assigned_parts(np.ones((3, 4, 2)), [0, 1, 1], 5), r"found 5 parts for regions of shape \(1, 4, 2\)"),
        (lambda: image_groups(np.zeros(3), 2), r"image vectors of shape \(3,\)"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(UserError, match=message):
        call()
