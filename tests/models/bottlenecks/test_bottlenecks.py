"""The table of bottlenecks, and the one that does nothing."""

import jax
import numpy as np

from partrep.models.bottlenecks import BOTTLENECKS, Binary, Disentangled, Identity, Standardised, Whitened


def test_table_names_the_modules():
    assert BOTTLENECKS == {
        "binary": Binary,
        "disentangled": Disentangled,
        "identity": Identity,
        "standardised": Standardised,
        "whitened": Whitened,
    }


def test_identity_returns_its_input():
    vectors = jax.random.normal(jax.random.key(0), (2, 3, 4))
    np.testing.assert_array_equal(Identity().apply({}, vectors, train=True), vectors)
