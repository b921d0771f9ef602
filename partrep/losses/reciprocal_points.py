"""Reciprocal points: what a class is not. An image is of the class whose reciprocal point it is farthest from."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from partrep.losses.classification import softmax_cross_entropy
from partrep.losses.pairs import check_positive
from partrep.losses.reduction import mean_where
from partrep.shapes import check_shapes


def reciprocal_logits(features: jax.Array, points: jax.Array) -> jax.Array:
    """How far an image is from each class's reciprocal point, `x_bc = |z_b - p_c|^2 / D - z_b . p_c`.

    Args:
        features: [B,D], `z`, not normalised.
        points: [C,D], `p`, learned; the source starts them from a normal distribution of standard deviation 0.1.

    Returns:
        f32 [B,C], logits. The largest of an image is its score of being known: unknown ones lie about the points.

    Raises:
        ValueError: shapes that do not agree.

    Example:
        >>> reciprocal_logits(jnp.array([[2.0, 0.0]]), jnp.array([[0.0, 0.0], [1.0, 0.0]])).tolist()
        [[2.0, -1.5]]

    Source: Chen et al., Adversarial Reciprocal Points Learning (TPAMI 2021), equations 3 to 5, one point a class.
    """
    sizes = check_shapes("reciprocal_logits", features=(features, "B D"), points=(points, "C D"))
    features, points = jnp.asarray(features, jnp.float32), jnp.asarray(points, jnp.float32)
    return jnp.sum(features**2, axis=1)[:, None] / sizes["D"] + _class_terms(features, points)


def _class_terms(features: jax.Array, points: jax.Array) -> jax.Array:
    """The logits less `|z|^2 / D`, which all classes share: a softmax is the same and rounds less."""
    products = jnp.einsum("bd,cd->bc", features, points, precision=jax.lax.Precision.HIGHEST)
    return (jnp.sum(points**2, axis=1) - 2.0 * products) / points.shape[1] - products


def reciprocal_points(
    features: jax.Array,
    points: jax.Array,
    radius: jax.Array,
    labels: jax.Array,
    weight: float = 0.1,
    temperature: float = 1.0,
    label_smoothing: float = 0.0,
    where: jax.Array | None = None,
) -> jax.Array:
    """ARPL: far from the reciprocal point of the own class, but within a learned radius of it.

        l = mean_b [ CE(x_b / T, y_b) + w max(0, d_b - R + 1) ],    d_b = |z_b - p_{y_b}|^2 / D

    with `x` of `reciprocal_logits`. The second term bounds the known images, and with them the space that is open.

    Args:
        features: [B,D], `z`.
        points: [C,D], `p`.
        radius: scalar, `R`, learned, 0 at first.
        labels: int [B] in 0..C-1, `y`; an image with another label does not count.
        weight: `w` >= 0.
        temperature: `T` > 0.
        label_smoothing: of the cross entropy, in [0,1).
        where: bool [B]; false images are ignored, whatever their features.

    Returns:
        f32 scalar >= 0 (per batch); 0 where no image counts.

    Raises:
        ValueError: shapes that do not agree, a setting out of range.

    Example:
        >>> z, p = jnp.array([[2.0, 0.0]]), jnp.array([[0.0, 0.0], [1.0, 0.0]])
        >>> round(float(reciprocal_points(z, p, jnp.float32(0.0), jnp.array([0]))), 4)
        0.3298

    Source: Chen et al. (2021), equations 6, 9 and 10; w = 0.1, T = 1 and the margin of 1 as in the released code.
    Departures: none. That code has the radius and the margin in a `MarginRankingLoss`, which is the same; its
    confusing samples, an adversary that makes images, are not part of this loss.
    """
    if not isinstance(weight, jax.core.Tracer) and not weight >= 0:
        raise ValueError(f"reciprocal_points: weight is {weight}; expected at least 0")
    check_positive("reciprocal_points", temperature=temperature)
    if jnp.ndim(radius):
        raise ValueError(f"reciprocal_points: radius has shape {jnp.shape(radius)}; expected a scalar")
    axes = {"features": (features, "B D"), "labels": (labels, "B"), "where": (where, "B")}
    classes = check_shapes("reciprocal_points", **axes, points=(points, "C D"))["C"]
    features, points = jnp.asarray(features, jnp.float32), jnp.asarray(points, jnp.float32)
    labels = jnp.asarray(labels)
    counts = (labels >= 0) & (labels < classes)
    if where is not None:
        counts = counts & jnp.asarray(where, bool)
    features = jnp.where(counts[:, None], features, 0.0)
    labels = jnp.where(counts, labels, 0)
    entropy = softmax_cross_entropy(_class_terms(features, points) / temperature, labels, label_smoothing)
    distance = jnp.mean((features - points[labels]) ** 2, axis=1)
    outside = jax.nn.relu(distance - jnp.asarray(radius, jnp.float32) + 1.0)
    return mean_where(entropy + weight * outside, counts)
