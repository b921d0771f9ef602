"""Test-time averaging: an image seen under several warps, a head's logits averaged over them."""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.tree_util import Partial

from partrep.evaluate.fewshot import Head
from partrep.models.local import Local


def join(local: Local) -> Local:
    """The vectors of T views of n images as one set an image: [T,n,r,...] -> [n,T*r,...], view after view."""

    def joined(x: jax.Array) -> jax.Array:
        return jnp.moveaxis(x, 0, 1).reshape(x.shape[1], -1, *x.shape[3:])

    return jax.tree.map(joined, local)


def split(local: Local, views: int) -> Local:
    """The vectors of each of `views` views by themselves, what `join` joined: [...,T*r,...] -> [T,...,r,...]."""
    axis = local.weights.ndim - 1

    def parted(x: jax.Array) -> jax.Array:
        shape = (*x.shape[:axis], views, x.shape[axis] // views, *x.shape[axis + 1 :])
        return jnp.moveaxis(x.reshape(shape), axis, 0)

    return jax.tree.map(parted, local)


def averaged(head: Head, views: int) -> Partial:
    """The head that reads each of `views` views by itself, support and query under the same warp: mean logits.

    Args:
        head: on r local vectors an image; the returned one takes the `views * r` vectors of `join`.
        views: T >= 1.
    """
    return Partial(_average(views), head if isinstance(head, Partial) else Partial(head))


@functools.cache  # one function for each count, so that equal heads share programs
def _average(views: int) -> Callable[..., jax.Array]:
    def apply(head: Partial, support: Local, query: Local, support_mask: jax.Array) -> jax.Array:
        logits = jax.lax.map(
            lambda pair: head(*pair, support_mask), (split(support, views), split(query, views))
        )
        return logits.mean(0)

    return apply
