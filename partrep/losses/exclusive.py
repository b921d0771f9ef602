"""Exclusive parts: the same part at the same place in two views, every part in use, and logits that stay small."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from partrep.shapes import check_shapes

SMALLEST_AGREEMENT = 1e-12
SMALLEST_PRESENCE = 1e-8


def _disagreement(assignment: jax.Array, target: jax.Array) -> jax.Array:
    agreement = jnp.sum(assignment * jax.lax.stop_gradient(target), axis=1)
    return -jnp.mean(jnp.log(agreement + SMALLEST_AGREEMENT), axis=(1, 2))


def alignment(assignment1: jax.Array, assignment2: jax.Array) -> jax.Array:
    """Two views give each place to the same part, `l_b = -mean_n log <a_n, sg a'_n>`, both ways and halved.

    Low values need agreement and one part a place: `a = a'` uniform over K parts costs log K.

    Args:
        assignment1: [B,K,h,w] in [0,1], `a`, shares that sum to 1 over parts.
        assignment2: [B,K,h,w], `a'`, of another view with the same geometry.

    Returns:
        f32 [B] >= 0 (per example), to 1e-12. The value is the same in both directions; each view's gradient is
        half of that with the other held fixed.

    Raises:
        ValueError: shapes that do not agree.

    Example:
        >>> round(float(alignment(jnp.full((1, 2, 3, 3), 0.5), jnp.full((1, 2, 3, 3), 0.5))[0]), 4)
        0.6931

    Source: PIP-Net (Nauta et al. 2023), alignment loss, weight 5.
    Departures: 1e-12 inside the logarithm keeps the gradient alive where the views share nothing.
    """
    shapes = {"assignment1": (assignment1, "B K h w"), "assignment2": (assignment2, "B K h w")}
    check_shapes("alignment", **shapes)
    a, b = assignment1.astype(jnp.float32), assignment2.astype(jnp.float32)
    return 0.5 * (_disagreement(a, b) + _disagreement(b, a))


def tanh_presence(scores: jax.Array, where: jax.Array | None = None) -> jax.Array:
    """Every part occurs in some image, `l = -mean_k log(tanh(sum_b s_bk) + 1e-8)`.

    The sum is over the whole (global) batch: the value falls with the batch size, and nearly vanishes once each part
    is there about twice.

    Args:
        scores: [B,K] in [0,1], `s`, without a threshold.
        where: bool [B]; false examples are ignored.

    Returns:
        f32 scalar >= 0, to 1e-8 (per batch), at most 18.4.

    Raises:
        ValueError: shapes that do not agree.

    Example:
        >>> round(float(tanh_presence(jnp.array([[1.0], [1.0]]))), 4)
        0.0366

    Source: PIP-Net (Nauta et al. 2023), tanh loss, weight 5 in pretraining and 2 after.
    """
    check_shapes("tanh_presence", scores=(scores, "B K"), where=(where, "B"))
    scores = scores.astype(jnp.float32)
    if where is not None:
        scores = jnp.where(where[:, None], scores, 0.0)
    return -jnp.mean(jnp.log(jnp.tanh(jnp.sum(scores, axis=0)) + SMALLEST_PRESENCE))


def squared_log(logits: jax.Array) -> jax.Array:
    """Logits >= 0 as the cross entropy of training sees them, `log(1 + o^2)`; not a loss itself.

    Softmax of it is `(1 + o_c^2) / sum (1 + o^2)`: gains shrink as logits grow, so that a class needs few strong
    parts and not many weak ones. The order of the classes stays, so evaluation uses the logits as they are.

    Args:
        logits: [...] >= 0, `o`.

    Returns:
        f32 [...] >= 0; no gradient where a logit is 0.

    Example:
        >>> squared_log(jnp.array([0.0, 1.0])).round(4).tolist()
        [0.0, 0.6930999755859375]

    Source: PIP-Net (Nauta et al. 2023), section 3, classification loss.
    """
    return jnp.log1p(logits.astype(jnp.float32) ** 2)
