"""A classifier that sees each image beside what an autoencoder of known classes makes of it."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct

from partrep.models.backbones.layers import patches
from partrep.models.outputs import PartOutputs
from partrep.models.part_model import PartModel

TURNS = 4


@struct.dataclass
class Compared:
    """What a `GenerativeDiscriminative` returns.

    Attributes:
        outputs: of the classifier.
        rebuilt: f32 [B,H,W,C], the image by the autoencoder, in [0,1].
        turns: f32 [B,4], logits of how many quarter turns the image was given.
    """

    outputs: PartOutputs
    rebuilt: jax.Array
    turns: jax.Array


class ImageAutoencoder(nn.Module):
    """Patches through dense layers to one small code and back: an image of a class it knows comes back as it was.

    Attributes:
        width: channels of each cell of the map.
        code: numbers an image is described by; few enough that nothing unknown can be passed on.
        patch: side of the cells, a divisor of the image's sides.
        dtype: of the computation; the result is float32.
    """

    width: int = 64
    code: int = 32
    patch: int = 4
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, image: jax.Array) -> jax.Array:
        """[B,H,W,C] in [0,1] -> f32 [B,H,W,C] in [0,1]."""
        b, height, width, channels = image.shape
        x = patches(image.astype(self.dtype), self.patch)
        grid = x.shape[1:3]
        x = nn.relu(nn.Dense(self.width, dtype=self.dtype)(x)).reshape(b, -1)
        x = nn.relu(nn.Dense(4 * self.code, dtype=self.dtype)(x))
        x = nn.Dense(self.code, dtype=self.dtype, name="code_layer")(x)
        x = nn.relu(nn.Dense(4 * self.code, dtype=self.dtype)(x))
        x = nn.relu(nn.Dense(grid[0] * grid[1] * self.width, dtype=self.dtype)(x)).reshape(b, *grid, self.width)
        x = nn.Dense(self.patch**2 * channels, dtype=self.dtype)(x)
        x = x.reshape(b, *grid, self.patch, self.patch, channels).transpose(0, 1, 3, 2, 4, 5)
        return jax.nn.sigmoid(x.reshape(b, height, width, channels).astype(jnp.float32))


class GenerativeDiscriminative(nn.Module):
    """Classifies `[x, G(x)]`, the image and its reconstruction as channels side by side, and tells how it was turned.

    What is unknown comes back changed, and the classifier, which saw known images beside their likeness alone, is less
    sure of it. No gradient goes from the classifier to the autoencoder.

    Source: Perera et al., Generative-Discriminative Feature Representations for Open-Set Recognition (CVPR 2020).
    Departures: a small autoencoder of dense layers, with no adversary.

    Attributes:
        autoencoder: image -> image in [0,1], `G`.
        classifier: of images with twice the channels.
    """

    autoencoder: nn.Module
    classifier: PartModel

    def setup(self) -> None:
        self.transformation = nn.Dense(TURNS)

    def __call__(self, image: jax.Array, train: bool) -> Compared:
        """Images f32 [B,H,W,C] in [0,1], not standardised before."""
        rebuilt = self.autoencoder(image)
        outputs = self.classifier(jnp.concatenate([image, jax.lax.stop_gradient(rebuilt)], axis=-1), train)
        return Compared(outputs, rebuilt, self.transformation(outputs.embedding))


def turned(image: jax.Array, turns: jax.Array) -> jax.Array:
    """Square images [B,H,H,C], each by its number of quarter turns int [B] in 0..3.

    >>> turned(jnp.arange(4.0).reshape(1, 2, 2, 1), jnp.array([2]))[0, ..., 0].tolist()
    [[3.0, 2.0], [1.0, 0.0]]
    """
    every = jnp.stack([jnp.rot90(image, k, axes=(1, 2)) for k in range(TURNS)])
    return every[turns, jnp.arange(image.shape[0])]
