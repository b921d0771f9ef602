"""Residual networks: ResNet-12 of the few-shot literature, and ResNet-18, 34, 50 and 101."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from partrep import lookup
from partrep.models.backbones.layers import batch_norm, conv1x1, conv3x3, he_normal, max_pool, per_stage


class FewShotBlock(nn.Module):
    """Three 3x3 convolutions beside a 1x1 shortcut, then leaky ReLU and max-pooling."""

    width: int
    stride: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """[B,h,w,D] -> [B,h/stride,w/stride,width]."""
        y = x
        for i in range(3):
            y = batch_norm(train, self.dtype)(conv3x3(self.width, dtype=self.dtype)(y))
            y = nn.leaky_relu(y, 0.1) if i < 2 else y
        shortcut = batch_norm(train, self.dtype)(conv1x1(self.width, dtype=self.dtype)(x))
        return max_pool(nn.leaky_relu(y + shortcut, 0.1), self.stride)


class ResNet12(nn.Module):
    """ResNet-12 with widths 64, 160, 320, 640 (Lee et al. 2019, MetaOptNet; Wertheimer et al. 2021, FRN).

    12,424,320 parameters for RGB images; 84 px to 5x5. DropBlock is left out: FRN trains without it.

    Attributes:
        widths: channels of each block.
        strides: max-pooling size after each block; as long as `widths`.
        dtype: of the computation; parameters and statistics are float32.
    """

    widths: Sequence[int] = (64, 160, 320, 640)
    strides: Sequence[int] = (2, 2, 2, 2)
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, image: jax.Array, train: bool) -> jax.Array:
        """[B,H,W,C] -> [B,h,w,D]."""
        x = image.astype(self.dtype)
        for width, stride in per_stage(widths=self.widths, strides=self.strides):
            x = FewShotBlock(width, stride, self.dtype)(x, train)
        return x


STEMS = {"standard": (7, 2, 3), "small": (3, 1, 1)}  # Size, stride and padding of the first convolution.


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut that is the identity where shapes allow (He et al. 2016)."""

    width: int
    stride: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """[B,h,w,D] -> [B,h/stride,w/stride,width]."""
        y = conv3x3(self.width, self.stride, self.dtype)(x)
        y = nn.relu(batch_norm(train, self.dtype)(y))
        y = batch_norm(train, self.dtype)(conv3x3(self.width, dtype=self.dtype)(y))
        if x.shape != y.shape:
            x = batch_norm(train, self.dtype)(conv1x1(self.width, self.stride, self.dtype)(x))
        return nn.relu(x + y)


class BottleneckBlock(nn.Module):
    """1x1, 3x3 and 1x1 convolution beside a shortcut; the 3x3 has the stride, as in torchvision ("v1.5")."""

    width: int
    stride: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """[B,h,w,D] -> [B,h/stride,w/stride,4*width]."""
        y = nn.relu(batch_norm(train, self.dtype)(conv1x1(self.width, dtype=self.dtype)(x)))
        y = nn.relu(batch_norm(train, self.dtype)(conv3x3(self.width, self.stride, self.dtype)(y)))
        y = batch_norm(train, self.dtype)(conv1x1(4 * self.width, dtype=self.dtype)(y))
        if x.shape != y.shape:
            x = batch_norm(train, self.dtype)(conv1x1(4 * self.width, self.stride, self.dtype)(x))
        return nn.relu(x + y)


class ResNet18(nn.Module):
    """ResNet-18 in the layout of torchvision, without pooling and classifier: 11,176,512 parameters.

    That count is torchvision's 11,689,512 less its classifier's 512 x 1000 + 1000. With the defaults 224 px
    give 7x7; `strides=(1, 2, 2, 1)` gives 14x14; `stem="small"` (3x3, stride 1, no pooling) suits images of
    32 px.

    Attributes:
        stages: blocks in each stage.
        widths: channels of each stage.
        strides: stride of the first block of each stage.
        stem: "standard" (7x7 of stride 2, then 3x3 max-pooling of stride 2) or "small".
        dtype: of the computation; parameters and statistics are float32.
    """

    stages: Sequence[int] = (2, 2, 2, 2)
    widths: Sequence[int] = (64, 128, 256, 512)
    strides: Sequence[int] = (1, 2, 2, 2)
    stem: str = "standard"
    dtype: Any = jnp.float32
    block: ClassVar[Any] = BasicBlock

    @nn.compact
    def __call__(self, image: jax.Array, train: bool) -> jax.Array:
        """[B,H,W,C] -> [B,h,w,D]."""
        x = image.astype(self.dtype)
        size, stride, pad = lookup(STEMS, self.stem, "stem of ResNet-18")
        x = nn.Conv(
            self.widths[0],
            (size, size),
            (stride, stride),
            padding=((pad, pad), (pad, pad)),
            use_bias=False,
            kernel_init=he_normal,
            dtype=self.dtype,
        )(x)
        x = nn.relu(batch_norm(train, self.dtype)(x))
        if self.stem == "standard":
            x = nn.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))
        stages = per_stage(stages=self.stages, widths=self.widths, strides=self.strides)
        for depth, width, first in stages:
            for i in range(depth):
                x = self.block(width, first if i == 0 else 1, self.dtype)(x, train)
        return x


class ResNet34(ResNet18):
    """ResNet-34: 21,284,672 parameters; the fields are those of `ResNet18`."""

    stages: Sequence[int] = (3, 4, 6, 3)


class ResNet50(ResNet18):
    """ResNet-50, whose features have four times `widths[-1]` channels: 23,508,032 parameters."""

    stages: Sequence[int] = (3, 4, 6, 3)
    block: ClassVar[Any] = BottleneckBlock


class ResNet101(ResNet18):
    """ResNet-101, whose features have four times `widths[-1]` channels: 42,500,160 parameters."""

    stages: Sequence[int] = (3, 4, 23, 3)
    block: ClassVar[Any] = BottleneckBlock
