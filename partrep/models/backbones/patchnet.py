"""PatchNet: a small backbone without convolutions at full resolution, to train on two CPU cores.

Measured with XLA on two CPU cores (batch 64, 64x64x3 to 16x16x64, forward and backward, CPU time over two):
144 ms a step; 223 with nine shifted copies and one matrix product in place of each 3x3 convolution; 453 with two
attention blocks; Conv-4 on the same grid 320. At 64 channels the convolution's own weight gradient is fast.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from partrep.models.backbones.layers import batch_norm, conv3x3, he_normal, patches, per_stage


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with BatchNorm, added to their input."""

    width: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """[B,h,w,D] -> [B,h,w,D]."""
        y = nn.relu(batch_norm(train, self.dtype)(conv3x3(self.width, dtype=self.dtype)(x)))
        y = batch_norm(train, self.dtype)(conv3x3(self.width, dtype=self.dtype)(y))
        return nn.relu(x + y)


class PatchNet(nn.Module):
    """Patches through one matrix product, then stages of residual 3x3 blocks.

    Each stage starts with disjoint cells of `strides[i]` locations merged by one matrix product (the first
    with cells of `patch` pixels); a stage of stride 1 and unchanged width starts with its blocks. 64 px with
    the defaults give 16x16; Omniglot's 28 px with `patch=2` 14x14, with `patch=2, strides=(1, 2)` 7x7.

    Attributes:
        widths: channels of each stage.
        depths: residual blocks in each stage; as long as `widths`.
        patch: side of the pixel cells.
        strides: how many times coarser each stage's grid is than the one before; the first is usually 1.
        dtype: of the computation; parameters and statistics are float32.
    """

    widths: Sequence[int] = (64,)
    depths: Sequence[int] = (2,)
    patch: int = 4
    strides: Sequence[int] = (1,)
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, image: jax.Array, train: bool) -> jax.Array:
        """[B,H,W,C] -> [B,h,w,D]."""
        x = patches(image.astype(self.dtype), self.patch)
        stages = per_stage(widths=self.widths, depths=self.depths, strides=self.strides)
        for i, (width, depth, stride) in enumerate(stages):
            x = patches(x, stride)
            if i == 0 or x.shape[-1] != width:
                x = nn.Dense(width, use_bias=False, kernel_init=he_normal, dtype=self.dtype)(x)
                x = nn.relu(batch_norm(train, self.dtype)(x))
            for _ in range(depth):
                x = ResidualBlock(width, self.dtype)(x, train)
        return x
