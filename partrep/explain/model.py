"""The classifier that is explained, as two pure functions, and the class logit that is."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp

from partrep import UserError
from partrep.shapes import check_shapes


@dataclasses.dataclass(frozen=True)
class Explained:
    """A classifier in evaluation mode, cut at the maps that the CAM family reads: `logits = head(features(x))`.

    Both functions treat the images of a batch separately (no batch statistics): gradients of all images are
    taken at once. To keep the weights an argument of a jitted explanation, make the `Explained` inside it.

    Attributes:
        features: images f32 [B,H,W,3] in [0,1] -> maps [B,h,w,D]; any normalisation of colours is inside, so
            that 0 is black.
        head: maps f32 [B,h,w,D] -> logits [B,C].

    Example:
        >>> model = Explained(features=lambda x: x, head=lambda z: z.mean((1, 2)))
        >>> model.logits(jnp.full((1, 4, 4, 3), 0.5)).tolist()
        [[0.5, 0.5, 0.5]]
    """

    features: Callable[[jax.Array], jax.Array]
    head: Callable[[jax.Array], jax.Array]

    def maps(self, images: jax.Array) -> jax.Array:
        """The features as float32 [B,h,w,D], in which gradients and sums are taken."""
        return self.features(images).astype(jnp.float32)

    def logits(self, images: jax.Array) -> jax.Array:
        """Images f32 [B,H,W,3] -> logits f32 [B,C]."""
        return self.head(self.maps(images)).astype(jnp.float32)


def check_inputs(function: str, images: jax.Array, target: jax.Array) -> jax.Array:
    """The images as float32, once they are [B,H,W,c] and the target is [B]; else a `ValueError`."""
    check_shapes(function, images=(images, "B H W c"), target=(target, "B"))
    return jnp.asarray(images, jnp.float32)


def pick(logits: jax.Array, target: jax.Array) -> jax.Array:
    """The logit of each image's class: [B,C], i32 [B] -> f32 [B].

    A class outside [0, C) gives NaN, and NaN gradients: a wrong target is never explained by a plausible map.

    >>> pick(jnp.array([[1.0, 2.0], [3.0, 4.0]]), jnp.array([1, -1])).tolist()
    [2.0, nan]
    """
    check_shapes("the explained class", logits=(logits, "B C"), target=(target, "B"))
    known = (target >= 0) & (target < logits.shape[1])
    chosen = jnp.take_along_axis(logits, jnp.where(known, target, 0)[:, None], axis=1)[:, 0]
    return chosen.astype(jnp.float32) * jnp.where(known, 1.0, jnp.nan)


def class_logit(model: Explained, images: jax.Array, target: jax.Array) -> jax.Array:
    """The logit that is explained, f32 [B]."""
    return pick(model.logits(images), target)


def logits_of_views(
    model: Explained,
    view: Callable[[jax.Array], jax.Array],
    choices: jax.Array,
    target: jax.Array,
    block: int,
) -> jax.Array:
    """The class logit of every changed batch `view(choice)` [B,H,W,3], `block` choices at a time: f32 [n,B].

    Memory is that of `block` batches, whatever n is.
    """
    if block < 1:
        raise UserError(f"found a block of {block} batches at a time; expected at least 1")
    size = min(block, len(choices))
    return jax.lax.map(lambda choice: class_logit(model, view(choice), target), choices, batch_size=size)
