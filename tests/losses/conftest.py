"""Gradients against central differences of a float64 oracle."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest


def _numeric_gradient(oracle, x: np.ndarray, step: float) -> np.ndarray:
    gradient = np.empty_like(x)
    for index in np.ndindex(x.shape):
        ends = []
        for sign in (1, -1):
            moved = x.copy()
            moved[index] += sign * step
            ends.append(np.sum(oracle(moved)))
        gradient[index] = (ends[0] - ends[1]) / (2 * step)
    return gradient


@pytest.fixture
def matches():
    """Asserts that value and gradient of a loss of one array are those of its oracle."""

    def check(loss, oracle, x, rtol=1e-3, atol=1e-5, step=1e-6):
        x = np.asarray(x, np.float64)
        value, gradient = jax.jit(lambda a: (loss(a), jax.grad(lambda b: jnp.sum(loss(b)))(a)))(jnp.float32(x))
        assert value.dtype == jnp.float32
        np.testing.assert_allclose(value, oracle(x), rtol=rtol, atol=atol)
        np.testing.assert_allclose(gradient, _numeric_gradient(oracle, x, step), rtol=rtol, atol=atol)

    return check
