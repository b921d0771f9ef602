"""MobileNetV2 of width 1.0."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from partrep import UserError, lookup
from partrep.models.backbones.layers import Depthwise, batch_norm, conv1x1, he_normal, per_stage

PADDINGS = {"same": "SAME", "symmetric": ((1, 1), (1, 1))}  # of the 3x3 convolutions: TensorFlow's, PyTorch's
STRIDES = {32: (1, 2, 2, 2, 1, 2, 1), 16: (1, 2, 2, 2, 1, 1, 1)}
EXPANSION = 6


def _added(side: int, stride: int) -> tuple[int, int]:
    """Pixels that TensorFlow's SAME adds (before, after) a side for a kernel of three; the odd one goes behind.

    >>> _added(112, 2), _added(111, 2), _added(14, 1)
    ((0, 1), (1, 1), (1, 1))
    """
    total = max((-(-side // stride) - 1) * stride + 3 - side, 0)
    return total // 2, total - total // 2


class InvertedResidual(nn.Module):
    """1x1 convolution to more channels, 3x3 convolution of each, 1x1 to fewer; added to its input where that fits."""

    width: int
    stride: int
    expansion: int
    padding: Any
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """[B,h,w,D] -> [B,h/stride,w/stride,width]."""
        hidden = self.expansion * x.shape[-1]
        y = x
        if self.expansion > 1:
            y = nn.relu6(batch_norm(train, self.dtype)(conv1x1(hidden, dtype=self.dtype)(y)))
        padding = _added(x.shape[1], self.stride) if self.padding == "SAME" else (1, 1)
        y = Depthwise(3, self.stride, padding, dtype=self.dtype, name="depthwise")(y)
        y = nn.relu6(batch_norm(train, self.dtype)(y))
        y = batch_norm(train, self.dtype)(conv1x1(self.width, dtype=self.dtype)(y))
        return x + y if x.shape == y.shape else y


class MobileNetV2(nn.Module):
    """MobileNetV2 (Sandler et al. 2018) up to the ReLU6 after its last convolution: 2,223,872 parameters.

    That is the published 3,504,872 less the classifier's 1280 x 1000 + 1000. 224 px give 7x7, with `stride=16`
    14x14: the last stride of two is left out, and the weights stay as they are.

    Attributes:
        widths: channels of each of the seven stages.
        depths: blocks in each stage.
        stem: channels of the first convolution.
        head: channels of the last one.
        padding: "same" (weights of TensorFlow: at stride 2 and even sides nothing is added above and on the left)
            or "symmetric" (of PyTorch). Weights of one kind lose some ten points of accuracy with the other.
        stride: px between locations, 32 or 16.
        dtype: of the computation; parameters and statistics are float32.
    """

    widths: Sequence[int] = (16, 24, 32, 64, 96, 160, 320)
    depths: Sequence[int] = (1, 2, 3, 4, 3, 3, 1)
    stem: int = 32
    head: int = 1280
    padding: str = "symmetric"
    stride: int = 32
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, image: jax.Array, train: bool) -> jax.Array:
        """[B,H,W,C] -> [B,h,w,D]."""
        padding: Any = lookup(PADDINGS, self.padding, "padding of MobileNetV2")
        if self.stride not in STRIDES:
            raise UserError(f"stride {self.stride} of MobileNetV2; expected 32 or 16")
        x = image.astype(self.dtype)
        x = nn.Conv(
            self.stem, (3, 3), (2, 2), padding, use_bias=False, kernel_init=he_normal, dtype=self.dtype, name="first"
        )(x)
        x = nn.relu6(batch_norm(train, self.dtype)(x))
        stages = per_stage(widths=self.widths, depths=self.depths, strides=STRIDES[self.stride])
        for i, (width, depth, first) in enumerate(stages):
            for j in range(depth):
                expansion = EXPANSION if i else 1
                x = InvertedResidual(width, 1 if j else first, expansion, padding, self.dtype)(x, train)
        return nn.relu6(batch_norm(train, self.dtype)(conv1x1(self.head, dtype=self.dtype)(x)))
