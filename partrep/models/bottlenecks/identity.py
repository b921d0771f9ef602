"""No constraint on what a part may say."""

from __future__ import annotations

import flax.linen as nn
import jax


class Identity(nn.Module):
    """No constraint: the codes are the part vectors (M = D); explained as well as the part method is.

    >>> Identity().apply({}, jax.numpy.ones((1, 2, 3)), train=False).shape
    (1, 2, 3)
    """

    affine = True

    @nn.compact
    def __call__(self, vectors: jax.Array, train: bool) -> jax.Array:
        """Returns the vectors."""
        return vectors
