"""Conv-4, the four-layer network of the few-shot literature."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from partrep.models.backbones.layers import batch_norm, conv3x3, max_pool, per_stage


class Conv4(nn.Module):
    """Blocks of 3x3 convolution, BatchNorm, ReLU and max-pooling (Vinyals et al. 2016; Snell et al. 2017).

    The defaults are the published network: 112,832 parameters for RGB images (113,088 where the convolutions
    have biases, which BatchNorm makes redundant), 84 px to 5x5. `strides=(2, 2, 1, 1)` takes 64 px to 16x16.

    Attributes:
        widths: channels of each block.
        strides: pooling size of each block, 1 for none; as long as `widths`.
        dtype: of the computation; parameters and statistics are float32.
    """

    widths: Sequence[int] = (64, 64, 64, 64)
    strides: Sequence[int] = (2, 2, 2, 2)
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, image: jax.Array, train: bool) -> jax.Array:
        """[B,H,W,C] -> [B,h,w,D]."""
        x = image.astype(self.dtype)
        for width, stride in per_stage(widths=self.widths, strides=self.strides):
            x = conv3x3(width, dtype=self.dtype)(x)
            x = max_pool(nn.relu(batch_norm(train, self.dtype)(x)), stride)
        return x
