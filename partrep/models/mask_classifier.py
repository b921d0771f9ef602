"""A classifier that sees where the parts are and no pixel: what it can tell, the masks have told it."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from partrep.models.backbones.layers import patches


class MaskClassifier(nn.Module):
    """Cells of 2x2 locations merged by a matrix product and ReLU, twice, and one linear layer over all places.

    Small, but it can read shapes, sizes, places, and which part is where: a lower bound of what masks tell.
    Without overlapping convolutions, which XLA runs many times slower inside a loop on CPUs.

    Attributes:
        classes: C.
        widths: of the two mergers.

    Call:
        masks: [B,K,h,w] in [0,1]; the background may be one of the K. Zeros fill h and w up to multiples of 4.

    Returns:
        logits f32 [B,C].

    Example:
        >>> start = jax.jit(MaskClassifier(classes=5).init_with_output)
        >>> start(jax.random.key(0), jnp.ones((2, 3, 7, 8)))[0].shape
        (2, 5)

    Source: standard; selectors that code the answer in their choice, Jethani et al. (2021, arXiv 2103.01890).
    """

    classes: int
    widths: tuple[int, int] = (64, 128)

    @nn.compact
    def __call__(self, masks: jax.Array) -> jax.Array:
        """Classifies the images by their masks."""
        x = jnp.moveaxis(masks.astype(jnp.float32), 1, -1)
        x = jnp.pad(x, ((0, 0), (0, -x.shape[1] % 4), (0, -x.shape[2] % 4), (0, 0)))
        for width in self.widths:
            x = nn.relu(nn.Dense(width)(patches(x, 2)))
        return nn.Dense(self.classes)(x.reshape(len(x), -1))
