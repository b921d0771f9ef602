"""ConvNet: stages of plain 3x3 convolutions behind a strided stem, for drawings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from partrep.models.backbones.layers import batch_norm, conv3x3, he_normal, max_pool, per_stage


class ConvNet(nn.Module):
    """Two 3x3 convolutions a stage with BatchNorm and ReLU, 2x2 max-pooling before a stage that asks for it.

    The first convolution is 5x5 at stride 2: with XLA on one CPU core a training step on 28 px drawings takes two
    thirds of the time that it takes with 3x3 at stride 1. The last BatchNorm has no ReLU behind it, so that the
    features of a batch have mean zero and the cosine of two of them is free to be negative. 28 px with the
    defaults give 3x3; `pools=(False, False, True)` on three stages 7x7.

    Attributes:
        widths: channels of each stage.
        pools: whether each stage starts with max-pooling; as long as `widths`, the first usually False.
        dtype: of the computation; parameters and statistics are float32.
    """

    widths: Sequence[int] = (48, 96, 128, 160)
    pools: Sequence[bool] = (False, False, True, True)
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, image: jax.Array, train: bool) -> jax.Array:
        """[B,H,W,C] -> [B,h,w,D]."""
        x = image.astype(self.dtype)
        stem = nn.Conv(
            self.widths[0], (5, 5), (2, 2), "SAME", use_bias=False, kernel_init=he_normal, dtype=self.dtype
        )
        stages = per_stage(widths=self.widths, pools=self.pools)
        layers = [(width, pool and first) for width, pool in stages for first in (True, False)]
        for i, (width, pool) in enumerate(layers):
            x = max_pool(x, 2) if pool else x
            x = stem(x) if i == 0 else conv3x3(width, dtype=self.dtype)(x)
            x = batch_norm(train, self.dtype)(x)
            x = nn.relu(x) if i + 1 < len(layers) else x
        return x
