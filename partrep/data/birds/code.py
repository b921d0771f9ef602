"""Bird classes are words of a Reed-Solomon code over GF(7): part i shows p(x_i), p of low degree."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np

FIELD = 7
COSETS = {"base": (0, 1, 2, 3), "validation": (4,), "novel": (5, 6), "all": tuple(range(FIELD))}


def polynomials(dimension: int, leading: tuple[int, ...]) -> np.ndarray:
    """Coefficients [C, dimension], constant first, of the polynomials with a highest one in `leading`."""
    lower = itertools.product(range(FIELD), repeat=dimension - 1)
    words = [rest[::-1] + (top,) for top, rest in itertools.product(leading, lower)]
    return np.array(words, np.int32).reshape(-1, dimension)


def evaluate(coefficients: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Values [C, n] in GF(7) of the polynomials [C, k] at the points [n].

    >>> evaluate(np.array([[1, 2, 3]]), np.array([0, 1, 2]))   # 1 + 2x + 3x^2
    array([[1, 6, 3]])
    """
    powers = np.stack([points**k % FIELD for k in range(coefficients.shape[1])])
    return coefficients @ powers % FIELD


def extension(points: np.ndarray, target: int) -> np.ndarray:
    """Weights [k] such that p(target) = sum_i weights_i p(points_i) mod 7, for every p of degree below k."""
    weights = []
    for i, x in enumerate(points):
        weight = 1
        for j, other in enumerate(points):
            if i != j:
                weight *= int(target - other) * pow(int(x - other) % FIELD, -1, FIELD)
        weights.append(weight % FIELD)
    return np.array(weights, np.int32)


def posterior(codes: jax.Array, values: jax.Array, visible: jax.Array) -> jax.Array:
    """Exact class posterior given the values of the visible parts, for classes equally likely beforehand.

    P(c | seen) is uniform over the classes that agree with every visible part. A row is zero where no class
    agrees (a bird that a swap made, or one that wears the reserved value).

    Args:
      codes: i32 [C, 6], part values of each class; -1 marks a part that carries no information.
      values: i32 [..., 6], the values shown.
      visible: bool [..., 6].

    Returns: f32 [..., C], rows sum to one (or zero).

    >>> codes = jnp.array([[0, 1, 2], [0, 2, 1], [1, 1, 0]])
    >>> posterior(codes, jnp.array([0, 1, 2]), jnp.array([True, False, False])).tolist()
    [0.5, 0.5, 0.0]
    """
    agrees = (codes == values[..., None, :]) | (codes < 0) | ~visible.astype(bool)[..., None, :]
    matches = jnp.all(agrees, axis=-1).astype(jnp.float32)
    return matches / jnp.maximum(matches.sum(-1, keepdims=True), 1.0)
