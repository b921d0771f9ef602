"""Descriptors of several scales as one, against loops in float64."""

import numpy as np
import pytest

from partrep.search.multiscale import combined_scales


def oracle(descriptors, power):
    made = []
    for n in range(descriptors.shape[1]):
        mean = [(sum(x[n, e] ** power for x in descriptors) / len(descriptors)) ** (1 / power) for e in range(descriptors.shape[2])]
        made.append(np.array(mean) / np.sqrt(sum(v * v for v in mean)))
    return np.array(made)


@pytest.mark.parametrize("power", [1.0, 3.0, 0.5])
def test_the_generalised_mean_of_scales_at_length_one(power):
    descriptors = np.random.default_rng(0).random((3, 4, 5))
    np.testing.assert_allclose(combined_scales(descriptors, power), oracle(descriptors, power), atol=1e-6)


def test_one_scale_is_the_descriptor_and_opposite_ones_are_nothing():
    x = np.array([[[0.6, -0.8]], [[-0.6, 0.8]]])
    np.testing.assert_allclose(combined_scales(x[:1]), x[0], atol=1e-7)
    assert not combined_scales(x).any()


@pytest.mark.parametrize("descriptors, power, message", [
    (np.ones((0, 2, 3)), 1.0, "0 scales"),
    (np.ones((1, 2, 3)), 0.0, "power 0.0; expected"),
    (-np.ones((1, 2, 3)), 3.0, "power 3.0 of negative entries; expected power 1"),
    (np.ones((2, 3)), 1.0, "descriptors"),
])  # fmt: skip
def test_mistakes_are_named(descriptors, power, message):
    with pytest.raises(ValueError, match=message):
        combined_scales(descriptors, power)
