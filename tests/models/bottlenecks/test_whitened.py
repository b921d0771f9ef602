"""The whitening inside the network: Gordo's formula in float64, where it starts, and the descriptor that it makes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from partrep import UserError
from partrep.models.bottlenecks import Whitened
from partrep.models.bottlenecks.whitened import started
from partrep.models.part_model import weighted_mean
from partrep.parts.rmac import rmac


def test_codes_are_shifted_projected_unit_vectors():
    rng = np.random.default_rng(0)
    vectors, shift, projection = rng.normal(size=(3, 2, 5)), rng.normal(size=5), rng.normal(size=(5, 4))
    vectors[1, 0] = 0.0
    params = {"params": {"shift": jnp.float32(shift), "projection": jnp.float32(projection)}}
    codes = np.asarray(Whitened(width=4).apply(params, jnp.float32(vectors), train=False))
    for b in range(3):
        for k in range(2):
            length = np.sqrt((vectors[b, k] ** 2).sum())
            moved = (vectors[b, k] / length if length else vectors[b, k]) - shift
            made = moved @ projection
            np.testing.assert_allclose(codes[b, k], made / np.sqrt((made**2).sum()), atol=1e-5)


def test_with_all_regions_present_the_descriptor_is_that_of_rmac():
    rng = np.random.default_rng(1)
    features = jnp.float32(rng.random((2, 5, 5, 6)))
    params = {"params": {"shift": jnp.float32(rng.normal(size=6)), "projection": jnp.float32(rng.normal(size=(6, 3)))}}
    wanted = rmac(features, whitening=lambda f: (f - params["params"]["shift"]) @ params["params"]["projection"])
    from partrep.parts.rmac import region_max, rmac_regions

    codes = Whitened(width=3).apply(params, region_max(features, rmac_regions(5, 5)), train=False)
    made = np.asarray(weighted_mean(codes, jnp.ones(codes.shape[:2])))
    np.testing.assert_allclose(made / np.linalg.norm(made, axis=1, keepdims=True), wanted, atol=1e-5)


def test_it_starts_from_the_principal_components_of_unit_vectors():
    rng = np.random.default_rng(2)
    vectors = (rng.normal(size=(500, 4)) * [3.0, 1.0, 0.5, 0.0] + [0, 0, 0, 4.0]).astype(np.float32)
    vectors[7] = 0.0  # of a region that is not there
    made = started({"shift": np.zeros(4), "projection": np.full((4, 4), 9.0)}, vectors)
    units = np.delete(vectors, 7, 0)
    units = units / np.linalg.norm(units, axis=1, keepdims=True)
    np.testing.assert_allclose(made["shift"], units.mean(0), atol=1e-5)
    moved = (units - made["shift"]) @ made["projection"]
    spread = np.cov(moved.T, bias=True)
    np.testing.assert_allclose(spread, np.eye(4) * spread[0, 0], atol=2e-3 * spread[0, 0])
    np.testing.assert_allclose((made["projection"] ** 2).sum(), 4.0, rtol=1e-5)


def test_directions_in_which_nothing_differs_stay_as_they_were():
    vectors = np.zeros((10, 3), np.float32)
    vectors[:, 0], vectors[:, 1] = np.cos(np.arange(10)), np.sin(np.arange(10))
    before = np.asarray(jax.random.normal(jax.random.key(0), (3, 3)))
    made = started({"shift": np.zeros(3), "projection": before}, vectors)
    np.testing.assert_array_equal(made["projection"][:, 2], before[:, 2])


def test_a_width_below_one_is_refused():
    with pytest.raises(UserError, match="width 0; expected at least 1"):
        Whitened(width=0).init(jax.random.key(0), jnp.ones((1, 1, 2)), False)
