"""Gradients of the class logit with respect to the pixels: maps at the resolution of the image."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from partrep import UserError
from partrep.explain.baselines import Baseline, baseline_images
from partrep.explain.model import Explained, check_inputs, class_logit


def pixel_gradient(model: Explained, images: jax.Array, target: jax.Array) -> jax.Array:
    """`dy/dx` of each image's class logit, f32 [B,H,W,3]."""
    return jax.grad(lambda x: jnp.sum(class_logit(model, x, target)))(images)


def saliency(model: Explained, images: jax.Array, target: jax.Array) -> jax.Array:
    """How much the logit moves with a pixel, `sum_colours |dy/dx|`.

    Args:
        model: the classifier.
        images: [B,H,W,3] in [0,1].
        target: i32 [B].

    Returns:
        f32 [B,H,W] >= 0.

    Raises:
        ValueError: shapes that do not agree.

    Example:
        >>> model = Explained(lambda x: x, lambda z: 2 * z[:, 0, 1, :1] - 3 * z[:, 0, 1, 1:])
        >>> jax.jit(saliency, static_argnums=0)(model, jnp.ones((1, 1, 2, 2)), jnp.array([0])).tolist()
        [[[0.0, 5.0]]]

    Source: Simonyan, Vedaldi and Zisserman, Deep inside convolutional networks (2013), section 3.
    Departures: the sum over colours, where the paper takes the greatest: all that a pixel can do counts.
    """
    images = check_inputs("saliency", images, target)
    return jnp.sum(jnp.abs(pixel_gradient(model, images, target)), axis=-1)


def input_gradient(model: Explained, images: jax.Array, target: jax.Array) -> jax.Array:
    """Gradient times input, `sum_colours x * dy/dx`: what a pixel adds to a model that is linear in pixels.

    Args:
        model: the classifier.
        images: [B,H,W,3] in [0,1]; a black pixel gets 0 whatever the model makes of it.
        target: i32 [B].

    Returns:
        f32 [B,H,W], signed.

    Raises:
        ValueError: shapes that do not agree.

    Example:
        >>> model = Explained(lambda x: x, lambda z: 2 * z[:, 0, 1, :1] - 3 * z[:, 0, 1, 1:])
        >>> jax.jit(input_gradient, static_argnums=0)(model, jnp.full((1, 1, 2, 2), 0.5), jnp.array([0])).tolist()
        [[[0.0, -0.5]]]

    Source: Shrikumar et al., Not just a black box (2016), the baseline of its comparisons.
    Departures: none.
    """
    images = check_inputs("input_gradient", images, target)
    return jnp.sum(images * pixel_gradient(model, images, target), axis=-1)


def integrated_gradients(
    model: Explained, images: jax.Array, target: jax.Array, steps: int = 32, baseline: Baseline = 0.0
) -> jax.Array:
    """Integrated gradients, `sum_colours (x - b) * integral_0^1 dy/dx(b + t (x - b)) dt`.

    Complete: the sum over pixels is `y(x) - y(b)`, up to the error of the quadrature (none where the logit is
    quadratic in the pixels).

    Args:
        model: the classifier.
        images: [B,H,W,3] in [0,1], `x`.
        target: i32 [B].
        steps: >= 1 points of the midpoint rule, each a forward and a backward pass.
        baseline: `b`: a number (default black), a colour [3], images, or None for each image's mean colour.

    Returns:
        f32 [B,H,W], signed.

    Raises:
        UserError: no steps, a baseline of another shape.
        ValueError: shapes that do not agree.

    Example:
        >>> model = Explained(lambda x: x, lambda z: (z**2).sum((1, 2)))
        >>> images = jnp.array([[[[0.5], [1.0]]]])
        >>> jax.jit(integrated_gradients, static_argnums=0)(model, images, jnp.array([0])).tolist()
        [[[0.25, 1.0]]]

    Source: Sundararajan, Taly and Yan, Axiomatic attribution for deep networks (ICML 2017), equation 1.
    Departures: midpoints in place of right ends (equation 3): the error falls with the square of the steps.
    """
    images = check_inputs("integrated_gradients", images, target)
    if steps < 1:
        raise UserError(f"integrated_gradients: found {steps} steps; expected at least 1")
    start = baseline_images(images, baseline)
    way = images - start

    def add(total: jax.Array, t: jax.Array) -> tuple[jax.Array, None]:
        return total + pixel_gradient(model, start + t * way, target), None

    total, _ = jax.lax.scan(add, jnp.zeros_like(images), (jnp.arange(steps) + 0.5) / steps)
    return jnp.sum(way * total, axis=-1) / steps


def smooth_grad(
    model: Explained, images: jax.Array, target: jax.Array, samples: int = 32, noise: float = 0.15, seed: int = 0
) -> jax.Array:
    """SmoothGrad, `sum_colours | mean_s dy/dx(x + e_s) |` with Gaussian noise `e_s`.

    Args:
        model: the classifier.
        images: [B,H,W,3] in [0,1].
        target: i32 [B].
        samples: >= 1.
        noise: >= 0, deviation of the noise as a share of the image's range of values.
        seed: of the noise, which is the same for every image: a map does not depend on the rest of its batch.

    Returns:
        f32 [B,H,W] >= 0.

    Raises:
        UserError: no samples, negative noise.
        ValueError: shapes that do not agree.

    Example:
        >>> model = Explained(lambda x: x, lambda z: 2 * z[:, 0, 1, :1] - 3 * z[:, 0, 1, 1:])
        >>> jax.jit(smooth_grad, static_argnums=0)(model, jnp.ones((1, 1, 2, 2)), jnp.array([0])).tolist()
        [[[0.0, 5.0]]]

    Source: Smilkov et al., SmoothGrad (2017); noise of 10 to 20 percent.
    Departures: the sum over colours of sizes, as `saliency`.
    """
    images = check_inputs("smooth_grad", images, target)
    if samples < 1 or noise < 0:
        raise UserError(f"smooth_grad: found {samples} samples of noise {noise}; expected at least 1 of 0 or more")
    scale = noise * (jnp.max(images, axis=(1, 2, 3)) - jnp.min(images, axis=(1, 2, 3)))[:, None, None, None]

    def add(total: jax.Array, key: jax.Array) -> tuple[jax.Array, None]:
        moved = images + scale * jax.random.normal(key, images.shape[1:])
        return total + pixel_gradient(model, moved, target), None

    total, _ = jax.lax.scan(add, jnp.zeros_like(images), jax.random.split(jax.random.key(seed), samples))
    return jnp.sum(jnp.abs(total / samples), axis=-1)
