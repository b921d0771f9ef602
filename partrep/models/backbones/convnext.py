"""ConvNeXt of the size tiny."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from partrep.models.backbones.layers import Depthwise, per_stage

EPSILON = 1e-6  # of all LayerNorms


class ConvNeXtBlock(nn.Module):
    """7x7 convolution of each channel, LayerNorm, and two linear layers with GELU between, added to the input."""

    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B,h,w,D] -> [B,h,w,D]."""
        width = x.shape[-1]
        y = Depthwise(7, padding=(3, 3), bias=True, dtype=self.dtype, name="depthwise")(x)
        y = nn.LayerNorm(EPSILON, dtype=self.dtype, name="norm")(y)
        y = nn.gelu(nn.Dense(4 * width, dtype=self.dtype, name="wide")(y), approximate=False)
        y = nn.Dense(width, dtype=self.dtype, name="narrow")(y)
        scale = self.param("layer_scale", nn.initializers.constant(1e-6), (width,))
        return x + y * scale.astype(self.dtype)


class ConvNeXtTiny(nn.Module):
    """ConvNeXt-T (Liu et al. 2022) up to its last stage: 27,818,592 parameters, 224 px to 7x7.

    That is torchvision's 28,589,128 less the classifier's LayerNorm (2 x 768) and 768 x 1000 + 1000: the norm comes
    after pooling. There is no stochastic depth, and training is evaluation.

    Attributes:
        widths: channels of each stage.
        depths: blocks in each stage; as long as `widths`.
        dtype: of the computation; parameters are float32.
    """

    widths: Sequence[int] = (96, 192, 384, 768)
    depths: Sequence[int] = (3, 3, 9, 3)
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, image: jax.Array, train: bool) -> jax.Array:
        """[B,H,W,C] -> [B,h,w,D]."""
        del train
        x = nn.Conv(self.widths[0], (4, 4), (4, 4), "VALID", dtype=self.dtype, name="stem")(image.astype(self.dtype))
        x = nn.LayerNorm(EPSILON, dtype=self.dtype, name="stem_norm")(x)
        for i, (width, depth) in enumerate(per_stage(widths=self.widths, depths=self.depths)):
            if i:
                x = nn.LayerNorm(EPSILON, dtype=self.dtype, name=f"down{i - 1}_norm")(x)
                x = nn.Conv(width, (2, 2), (2, 2), "VALID", dtype=self.dtype, name=f"down{i - 1}")(x)
            for _ in range(depth):
                x = ConvNeXtBlock(self.dtype)(x)
        return x
