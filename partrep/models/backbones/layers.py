"""The few layers that the backbones share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from partrep import UserError

# Fan-out normal keeps the variance of the backward signal; what torchvision's ResNets use too.
he_normal = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


def batch_norm(train: bool, dtype: Any = jnp.float32) -> nn.BatchNorm:
    """BatchNorm of momentum 0.9: batch statistics when training, running ones otherwise, both float32."""
    return nn.BatchNorm(use_running_average=not train, momentum=0.9, epsilon=1e-5, dtype=dtype)


def conv3x3(width: int, stride: int = 1, dtype: Any = jnp.float32) -> nn.Conv:
    """A bias-free 3x3 convolution padded by one on every side, whatever the stride."""
    return nn.Conv(
        width,
        (3, 3),
        (stride, stride),
        padding=((1, 1), (1, 1)),
        use_bias=False,
        kernel_init=he_normal,
        dtype=dtype,
    )


def conv1x1(width: int, stride: int = 1, dtype: Any = jnp.float32) -> nn.Conv:
    """A bias-free 1x1 convolution."""
    return nn.Conv(width, (1, 1), (stride, stride), use_bias=False, kernel_init=he_normal, dtype=dtype)


class Depthwise(nn.Module):
    """A convolution of each channel by itself, `y = sum_ij w_ij x` of the image moved by (i, j).

    The same numbers, but for rounding, as `nn.Conv` with as many groups as channels, whose loops XLA does not
    vectorise on CPUs: MobileNetV2 is five times faster this way.

    Attributes:
        size: of the kernel, in px.
        stride: px between the centres of the output.
        padding: px added (before, after) on both axes.
        bias: whether there is one.
        dtype: of the computation.
    """

    size: int
    stride: int = 1
    padding: tuple[int, int] = (1, 1)
    bias: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B,H,W,D] -> [B,h,w,D]."""
        width, s = x.shape[-1], self.stride
        kernel = self.param("kernel", he_normal, (self.size, self.size, 1, width)).astype(self.dtype)
        x = jnp.pad(x.astype(self.dtype), ((0, 0), self.padding, self.padding, (0, 0)))
        h, w = ((side - self.size) // s for side in x.shape[1:3])
        y = jnp.zeros((x.shape[0], h + 1, w + 1, width), self.dtype)
        for i in range(self.size):
            for j in range(self.size):
                y = y + x[:, i : i + s * h + 1 : s, j : j + s * w + 1 : s] * kernel[i, j, 0]
        return y + self.param("bias", nn.initializers.zeros, (width,)).astype(self.dtype) if self.bias else y


def per_stage(**settings: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Goes through settings that have one entry a stage; refuses settings of different lengths.

    >>> list(per_stage(widths=(8, 16), strides=(1, 2)))
    [(8, 1), (16, 2)]
    """
    if len({len(values) for values in settings.values()}) != 1:
        found = ", ".join(f"{name} {tuple(values)}" for name, values in settings.items())
        raise UserError(f"{found}; expected one entry a stage in each")
    return zip(*settings.values(), strict=True)


def max_pool(x: jax.Array, size: int) -> jax.Array:
    """Maximum over disjoint `size` x `size` cells; a last incomplete row or column is dropped.

    Written as a reshape because the gradient of XLA's pooling window is many times slower on CPUs.

    >>> max_pool(jnp.arange(16.0).reshape(1, 4, 4, 1), 2)[0, :, :, 0].tolist()
    [[5.0, 7.0], [13.0, 15.0]]
    """
    if size == 1:
        return x
    b, h, w, d = x.shape
    h, w = h // size, w // size
    return x[:, : h * size, : w * size].reshape(b, h, size, w, size, d).max((2, 4))


def patches(x: jax.Array, size: int) -> jax.Array:
    """Disjoint `size` x `size` cells as channels: [B,H,W,C] -> [B,H/size,W/size,size*size*C].

    >>> patches(jnp.zeros((2, 8, 12, 3)), 4).shape
    (2, 2, 3, 48)
    """
    b, h, w, c = x.shape
    if h % size or w % size:
        raise UserError(f"image or map of {h}x{w}; expected sides that are multiples of the patch, {size}")
    x = x.reshape(b, h // size, size, w // size, size, c)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(b, h // size, w // size, size * size * c)
