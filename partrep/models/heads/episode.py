"""What every few-shot head does first: float32, and nothing left of vectors that are masked or weigh zero.

The calling convention of all heads, so that tasks switch by name:

    logits = head(support, query, support_mask, params=None, **settings)     f32 [Q,C]

    support       Local, vectors [C,n,r,D], weights [C,n,r], positions [C,n,r,2]
    query         Local, vectors [Q,s,D], weights [Q,s], positions [Q,s,2]; s may differ from r unless said
    support_mask  bool [C,n]; False entries have exactly no influence, whatever they hold (NaN too)
    params        the head's learned parameters as its `init` makes them; None for the training-free head
    settings      keyword arguments with defaults, Python numbers or strings (static under jit)

A weight of zero removes a vector: the logits are those of inputs without it. `params["log_scale"]` multiplies
the logits of every head by its exponential.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from partrep import UserError
from partrep.directions import unit
from partrep.models.local import Local

Params = dict[str, Any]
NEGATIVE = -1e30  # Stands for -inf where a gradient has to stay finite.
einsum = partial(jnp.einsum, precision="highest")  # Accelerators would round float32 products to fewer bits.


def clean(local: Local, mask: jax.Array | None = None) -> Local:
    """Float32 copies in which all that is masked or weighs nothing is zero, whatever it was (NaN too)."""
    weights = local.weights.astype(jnp.float32)
    if mask is not None:
        weights = jnp.where(mask[..., None], weights, 0.0)
    there = (weights > 0)[..., None]
    vectors = jnp.where(there, local.vectors.astype(jnp.float32), 0.0)
    positions = jnp.where(there, local.positions.astype(jnp.float32), 0.0)
    return Local(vectors, jnp.maximum(weights, 0.0), positions)


def prepare(support: Local, query: Local, support_mask: jax.Array) -> tuple[Local, Local]:
    """Checks the shapes of an episode and cleans both sides."""
    shape = support.vectors.shape
    if len(shape) != 4 or query.vectors.ndim != 3 or support_mask.shape != shape[:2]:
        raise UserError(
            f"support vectors {shape}, query vectors {query.vectors.shape}, mask {support_mask.shape}; "
            "expected [C,n,r,D], [Q,s,D] and [C,n]"
        )
    return clean(support, support_mask), clean(query)


def flatten_shots(support: Local) -> Local:
    """The vectors of all shots of a class as one set: [C,n,r,...] -> [C,n*r,...]."""
    return jax.tree.map(lambda x: x.reshape(x.shape[0], -1, *x.shape[3:]), support)


def average(values: jax.Array, weights: jax.Array, axis: int) -> jax.Array:
    """The weighted mean along an axis; zero where all weights are zero.

    Arguments:
        values: weights.shape plus any further axes.
        weights: >= 0.
        axis: of `weights`, non-negative.
    """
    weights = jnp.expand_dims(weights, range(weights.ndim, values.ndim))
    return (values * weights).sum(axis) / jnp.maximum(weights.sum(axis), 1e-12)


def log_weights(weights: jax.Array) -> jax.Array:
    """The logarithm of weights >= 0, with a very negative number and a zero gradient for zero."""
    there = weights > 0
    return jnp.where(there, jnp.log(jnp.where(there, weights, 1.0)), NEGATIVE)


def learned_scale(params: Params | None) -> jax.Array | float:
    """The exponential of `params["log_scale"]`; one without parameters."""
    return 1.0 if params is None else jnp.exp(params["log_scale"])


def init_scale(key: jax.Array, width: int) -> Params:
    """The parameters of a head that learns nothing but the scale of its logits."""
    return {"log_scale": jnp.zeros(())}


__all__ = [
    "NEGATIVE",
    "Params",
    "average",
    "clean",
    "einsum",
    "flatten_shots",
    "init_scale",
    "learned_scale",
    "log_weights",
    "prepare",
    "unit",
]
