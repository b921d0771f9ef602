"""Classification losses: per example [B]."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from partrep.losses.reduction import log_sum_shifted
from partrep.shapes import check_shapes


def softmax_cross_entropy(
    logits: jax.Array,
    labels: jax.Array,
    label_smoothing: float = 0.0,
    where: jax.Array | None = None,
) -> jax.Array:
    """Cross entropy of a softmax, `l_b = -sum_c t_bc log softmax(x_b)_c`, `t = (1 - s) y + s / C`.

    Args:
        logits: [B,C], `x`; -inf removes a class.
        labels: int [B] in 0..C-1, or target distributions f32 [B,C] that sum to 1, `y`.
        label_smoothing: `s` in [0,1).
        where: bool [B]; a false example gives 0 and no gradient, whatever its logits and label.

    Returns:
        f32 [B] >= 0 (per example).

    Raises:
        ValueError: shapes that do not agree, smoothing out of range.

    Example:
        >>> loss = softmax_cross_entropy(jnp.zeros((1, 4)), jnp.array([2]))
        >>> round(float(loss[0]), 4)
        1.3863

    Source: smoothing, Szegedy et al. (2016), section 7.
    """
    check_shapes("softmax_cross_entropy", logits=(logits, "B C"), where=(where, "B"))
    axes = "B" if jnp.ndim(labels) == 1 else "B C"
    classes = check_shapes("softmax_cross_entropy", logits=(logits, "B C"), labels=(labels, axes))["C"]
    if not 0.0 <= label_smoothing < 1.0:
        raise ValueError(f"softmax_cross_entropy: label_smoothing is {label_smoothing}; expected 0 <= s < 1")
    logits = logits.astype(jnp.float32)
    if where is not None:
        where = jnp.asarray(where, bool)
        logits = jnp.where(where[:, None], logits, 0.0)
    target = jax.nn.one_hot(labels, classes) if axes == "B" else labels.astype(jnp.float32)
    target = (1.0 - label_smoothing) * target + label_smoothing / classes
    log_probability = jnp.where(target > 0, _log_softmax(logits), 0.0)  # 0 log 0 = 0
    loss = -jnp.sum(target * log_probability, axis=-1)
    return loss if where is None else jnp.where(where, loss, 0.0)


def _log_softmax(logits: jax.Array) -> jax.Array:
    """`jax.nn.log_softmax` of [B,C], finite for finite logits of any size, compiled or not."""
    top = jax.lax.stop_gradient(jnp.max(logits, axis=1, keepdims=True))
    total, shifted = log_sum_shifted(logits - top)
    return shifted - total[:, None]
