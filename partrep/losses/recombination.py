"""Evidence that adds up: the logits of a cut-and-paste of two images are what its cells said in their own images."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from partrep.shapes import check_shapes

SMALLEST_VARIANCE = 1e-6


def recombination(logits: jax.Array, predicted: jax.Array) -> jax.Array:
    """How far logits are from what their cells say, `l = sum_bc (x_bc - p_bc)^2 / sum_bc (x_bc - x_c)^2`.

    `x_c` is the mean of the class's logits over the batch, so that the loss is the share of their variance that the
    contributions do not explain, and can be lowered neither by shrinking the logits nor by shifting them. The
    variance gets no gradient.

    Args:
        logits: [B,C], `x`, of images of which some cells were replaced by those of another image.
        predicted: [B,C], `p`: the bias, what the kept cells contribute to the logits of their own image, and what the
            pasted ones contribute to those of theirs.

    Returns:
        f32 scalar >= 0 (per batch); 0 where contributions do not depend on the other cells.

    Raises:
        ValueError: shapes that do not agree.

    Example:
        >>> logits = jnp.array([[1.0, 0.0], [3.0, 0.0]])
        >>> float(recombination(logits, logits)), float(recombination(logits, logits.at[0, 0].set(2.0)))
        (0.0, 0.5)

    Source: none known to the authors; the images are those of CutMix (Yun et al. 2019), the aim is that of additive
    models over image regions (Brendel and Bethge 2019, BagNets) without a bound on the receptive field.
    """
    check_shapes("recombination", logits=(logits, "B C"), predicted=(predicted, "B C"))
    x, p = logits.astype(jnp.float32), predicted.astype(jnp.float32)
    variance = jax.lax.stop_gradient(jnp.sum((x - x.mean(0)) ** 2))
    return jnp.sum((x - p) ** 2) / jnp.maximum(variance, SMALLEST_VARIANCE)
