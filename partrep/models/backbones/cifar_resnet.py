"""The ResNets of 32 px images: ResNet-20, 32, 44, 56, 110."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from partrep import UserError
from partrep.models.backbones.layers import batch_norm, conv3x3


class PaddedBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut without weights (option A of He et al. 2016).

    Where the grid becomes coarser, the shortcut takes every other location; where there are more channels, zeros
    are added on both sides.
    """

    width: int
    stride: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """[B,h,w,D] -> [B,h/stride,w/stride,width]."""
        y = nn.relu(batch_norm(train, self.dtype)(conv3x3(self.width, self.stride, self.dtype)(x)))
        y = batch_norm(train, self.dtype)(conv3x3(self.width, dtype=self.dtype)(y))
        more = self.width - x.shape[-1]
        shortcut = x[:, :: self.stride, :: self.stride]
        shortcut = jnp.pad(shortcut, ((0, 0), (0, 0), (0, 0), (more // 2, more - more // 2)))
        return nn.relu(shortcut + y)


class CifarResNet(nn.Module):
    """ResNet of 6n + 2 layers for images of 32 px, which it takes to 8x8 (He et al. 2016, section 4.2).

    Without the classifier, ResNet-20 has 269,072 parameters and ResNet-56 852,368.

    Attributes:
        depth: layers, 6n + 2: 20, 32, 44, 56, 110.
        widths: channels of the three stages, none fewer than before.
        dtype: of the computation; parameters and statistics are float32.
    """

    depth: int = 20
    widths: Sequence[int] = (16, 32, 64)
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, image: jax.Array, train: bool) -> jax.Array:
        """[B,H,W,C] -> [B,h,w,D]."""
        blocks, rest = divmod(self.depth - 2, 6)
        if rest or blocks < 1:
            raise UserError(f"depth {self.depth} of a CIFAR ResNet; expected 6n + 2, as 20, 32 or 56")
        x = conv3x3(self.widths[0], dtype=self.dtype)(image.astype(self.dtype))
        x = nn.relu(batch_norm(train, self.dtype)(x))
        for i, width in enumerate(self.widths):
            for j in range(blocks):
                x = PaddedBlock(width, 2 if i and not j else 1, self.dtype)(x, train)
        return x
