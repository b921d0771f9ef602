"""A classifier that sees where the parts are and no pixel: what it can tell, the masks have told it."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from partrep.models.backbones.layers import max_pool


class MaskClassifier(nn.Module):
    """Two 3x3 convolutions, each with ReLU and 2x2 max-pooling, and one linear layer over all places.

    Small, but it can read shapes, sizes, places, and which part is where: a lower bound of what masks tell.

    Attributes:
        classes: C.
        widths: channels of the two convolutions.

    Call:
        masks: [B,K,h,w] in [0,1], with h and w at least 4; the background may be one of the K.

    Returns:
        logits f32 [B,C].

    Example:
        >>> start = jax.jit(MaskClassifier(classes=5).init_with_output)
        >>> start(jax.random.key(0), jnp.ones((2, 3, 8, 8)))[0].shape
        (2, 5)

    Source: standard; selectors that code the answer in their choice, Jethani et al. (2021, arXiv 2103.01890).
    """

    classes: int
    widths: tuple[int, int] = (32, 64)

    @nn.compact
    def __call__(self, masks: jax.Array) -> jax.Array:
        """Classifies the images by their masks."""
        x = jnp.moveaxis(masks.astype(jnp.float32), 1, -1)
        for width in self.widths:
            x = max_pool(nn.relu(nn.Conv(width, (3, 3))(x)), 2)
        return nn.Dense(self.classes)(x.reshape(len(x), -1))
