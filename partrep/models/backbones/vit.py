"""Vision transformers: the ViT of ImageNet classifiers, of DINO and of DINOv2, with and without registers."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from partrep import UserError, lookup
from partrep.models.backbones.layers import patches

EPSILON = 1e-6  # of all LayerNorms
SHARPNESS = -0.75  # of the cubic kernel of PyTorch; antialiased it is -0.5 there, as in Pillow


class ViTBlock(nn.Module):
    """Self-attention and two linear layers with GELU between, each after LayerNorm and added to its input."""

    heads: int
    layer_scale: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B,T,D] -> [B,T,D]."""
        width = x.shape[-1]
        y = nn.LayerNorm(EPSILON, dtype=self.dtype, name="norm1")(x)
        query, key, value = jnp.split(nn.Dense(3 * width, dtype=self.dtype, name="qkv")(y), 3, -1)
        y = nn.Dense(width, dtype=self.dtype, name="projection")(attention(query, key, value, self.heads))
        x = x + self._scaled(y, "layer_scale1")
        y = nn.LayerNorm(EPSILON, dtype=self.dtype, name="norm2")(x)
        y = nn.gelu(nn.Dense(4 * width, dtype=self.dtype, name="wide")(y), approximate=False)
        return x + self._scaled(nn.Dense(width, dtype=self.dtype, name="narrow")(y), "layer_scale2")

    def _scaled(self, y: jax.Array, name: str) -> jax.Array:
        if not self.layer_scale:
            return y
        return y * self.param(name, nn.initializers.constant(1e-5), y.shape[-1:]).astype(self.dtype)


class ViT(nn.Module):
    """Vision transformer (Dosovitskiy et al. 2021) that gives the grid of its patch tokens after the last norm.

    The class token is read by classifiers alone: it is in the collection `intermediates` as `cls_token` [B,D], where
    that is mutable. The parameters `cls_token` [1,1,D], `register_tokens` [1,R,D] and `position_embedding` [G,G,D] can
    be trained with the rest frozen; the class token's own position is part of the token. There is no dropout and no
    stochastic depth, and training is evaluation.

    Attributes:
        patch: side of the pixel cells.
        width: channels.
        depth: blocks.
        heads: of the attention; they divide `width`.
        registers: tokens that belong to no patch (Darcet et al. 2024).
        layer_scale: whether a learned factor a channel follows each branch (DINOv2).
        grid: side G of the grid of position embeddings.
        interpolation: of the position embeddings to another grid, see `resized`: "offset" or "antialias".
        dtype: of the computation; parameters are float32.
    """

    patch: int = 16
    width: int = 384
    depth: int = 12
    heads: int = 6
    registers: int = 0
    layer_scale: bool = False
    grid: int = 14
    interpolation: str = "antialias"
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, image: jax.Array, train: bool) -> jax.Array:
        """[B,H,W,C] -> [B,h,w,D]; sides that are no multiples of the patch are a `UserError`."""
        del train
        x = patches(image.astype(self.dtype), self.patch)
        x = nn.Dense(self.width, dtype=self.dtype, name="patch_embedding")(x)
        b, h, w, d = x.shape
        normal = nn.initializers.normal(0.02)
        position = self.param("position_embedding", normal, (self.grid, self.grid, d))
        x = (x + resized(position, h, w, self.interpolation).astype(self.dtype)).reshape(b, h * w, d)
        tokens = [self.param("cls_token", normal, (1, 1, d))]
        if self.registers:
            tokens.append(self.param("register_tokens", normal, (1, self.registers, d)))
        x = jnp.concatenate([*(jnp.broadcast_to(t.astype(self.dtype), (b, *t.shape[1:])) for t in tokens), x], 1)
        for _ in range(self.depth):
            x = ViTBlock(self.heads, self.layer_scale, self.dtype)(x)
        x = nn.LayerNorm(EPSILON, dtype=self.dtype, name="norm")(x)
        self.sow("intermediates", "cls_token", x[:, 0])
        return x[:, 1 + self.registers :].reshape(b, h, w, d)


def attention(query: jax.Array, key: jax.Array, value: jax.Array, heads: int) -> jax.Array:
    """Scaled dot-product attention of several heads: [B,T,D] thrice -> [B,T,D]; the softmax is float32.

    Raises:
        UserError: heads that do not divide D.

    >>> attention(jnp.ones((1, 2, 4)), jnp.ones((1, 2, 4)), jnp.ones((1, 2, 4)), 2).tolist()[0][0]
    [1.0, 1.0, 1.0, 1.0]
    """
    b, t, d = query.shape
    if d % heads:
        raise UserError(f"{heads} heads on {d} channels; expected a number that divides them")
    query, key, value = (x.reshape(b, t, heads, d // heads) for x in (query, key, value))
    similarity = jnp.einsum("bqhd,bkhd->bhqk", query * (d // heads) ** -0.5, key).astype(jnp.float32)
    weights = nn.softmax(similarity, -1).astype(value.dtype)
    return jnp.einsum("bhqk,bkhd->bqhd", weights, value).reshape(b, t, d)


def resized(position: jax.Array, h: int, w: int, interpolation: str) -> jax.Array:
    """Position embeddings on another grid, bicubic as the networks' own code has it: [G,G,D] -> [h,w,D].

    Arguments:
        position: f32 [G,G,D]; for G x G they stay as they are.
        h, w: locations.
        interpolation: "offset": location i of h is read at (i + 1/2) G / (h + 0.1) - 1/2 with PyTorch's kernel, and
            without antialiasing (DINO; DINOv2 without registers). "antialias": at (i + 1/2) G / h - 1/2, antialiased
            (DINOv2 with registers; timm).

    Raises:
        UserError: another interpolation.

    >>> resized(jnp.ones((2, 2, 1)), 3, 4, "offset").shape
    (3, 4, 1)

    Source: Caron et al. 2021, Oquab et al. 2024, Darcet et al. 2024; github.com/facebookresearch/dino and dinov2.
    """
    resize = lookup({"offset": _offset, "antialias": _antialias}, interpolation, "interpolation of positions")
    return position if position.shape[:2] == (h, w) else resize(position, h, w)


def _antialias(position: jax.Array, h: int, w: int) -> jax.Array:
    return jax.image.resize(position, (h, w, position.shape[-1]), "cubic", precision=jax.lax.Precision.HIGHEST)


def _offset(position: jax.Array, h: int, w: int) -> jax.Array:
    rows, columns = (_weights(side, n) for side, n in zip(position.shape, (h, w)))
    return jnp.einsum("hg,wk,gkd->hwd", rows, columns, position, precision=jax.lax.Precision.HIGHEST)


def _weights(grid: int, count: int) -> np.ndarray:
    """How much each of `grid` points counts for each of `count`: f32 [count,grid]; outside is what is at the edge."""
    scale = np.float32(grid / (count + 0.1))
    centre = scale * (np.arange(count) + 0.5) - 0.5
    weights = np.zeros((count, grid))
    for step in range(-1, 3):
        point = np.floor(centre) + step
        np.add.at(weights, (np.arange(count), np.clip(point, 0, grid - 1).astype(int)), _cubic(np.abs(centre - point)))
    return weights.astype(np.float32)


def _cubic(distance: np.ndarray) -> np.ndarray:
    """Keys' kernel: two cubic pieces, zero from 2 on."""
    a, x = SHARPNESS, distance
    near = (a + 2) * x**3 - (a + 3) * x**2 + 1
    return np.where(x <= 1, near, a * (x**3 - 5 * x**2 + 8 * x - 4))
