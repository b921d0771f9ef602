"""What the parts of a part model contributed to a logit: exact, where the model says that it is.

Level 1, `part_contributions`: what each part adds; the sum is the logit less the bias. Level 2,
`location_contributions`: what each location adds through each part, with the assignment as it is. Level 3, isolated:
level 1 of a model whose parts see nothing but their own pixels.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp

from partrep import UserError
from partrep.models.outputs import PartOutputs
from partrep.models.part_model import PartModel
from partrep.parts.readout import SMALLEST_MASS


def part_contributions(outputs: PartOutputs, target: jax.Array) -> jax.Array:
    """What each part adds to the logit of a class, `c_k` with `sum_k c_k = logit - bias`.

    Args:
        outputs: of a model with a classifier, in evaluation mode.
        target: int [B], the class of each image.

    Returns:
        f32 [B,K], in units of the logit, signed.

    Raises:
        UserError: a model without classifier.

    Source: the levels of explanation, level 1; part-CAM of PDiscoNet heads.
    """
    if outputs.contributions is None:
        raise UserError("the model has no classifier; expected one whose logits the parts contribute to")
    return jnp.take_along_axis(outputs.contributions, target[:, None, None], axis=2)[..., 0]


def location_contributions(model: PartModel, variables: Any, outputs: PartOutputs, target: jax.Array) -> jax.Array:
    """What each location adds to the logit of a class through each part, the assignment being as it is.

    `c_kn = <z_n, d v_k / d z_n  d logit / d v_k>`: exact because, with the assignment frozen, the logit is affine in
    the features. Zeroing the feature at n lowers the logit by exactly `sum_k c_kn`.

    Args:
        model: whose head is linear in the codes, whose bottleneck is affine and whose read-out is linear.
        variables: of the model.
        outputs: of the model, in evaluation mode.
        target: int [B], the class of each image.

    Returns:
        f32 [B,K,h,w], in units of the logit, signed. What a bottleneck adds that no location does (the mean that
        standardising takes off) is in no location.

    Raises:
        UserError: a model whose logit is not affine in the features: it has no level 2.

    Source: the levels of explanation, level 2; the class activation map (Zhou et al. 2016) for each part.
    """
    if reason := _no_level_two(model):
        raise UserError(f"no exact contributions of locations: {reason}; expected level 2")
    assert outputs.parts.vectors is not None
    vectors = outputs.parts.vectors

    def logit(vectors: jax.Array) -> jax.Array:
        made = jnp.asarray(model.apply(variables, vectors, outputs.parts.presence, method=PartModel.classify))
        return jnp.take_along_axis(made, target[:, None], axis=1).sum()

    slope = jax.grad(logit)(vectors)
    read_out = functools.partial(model.apply, variables, method=PartModel.read_out)
    _, pull = jax.vjp(lambda z: read_out(z, outputs.parts), outputs.features)

    def of_part(part: jax.Array) -> jax.Array:
        alone = jnp.where(jnp.arange(vectors.shape[1])[:, None] == part, slope, 0.0)
        return (pull(alone.astype(vectors.dtype))[0] * outputs.features).sum(-1)

    return jnp.moveaxis(jax.lax.map(of_part, jnp.arange(vectors.shape[1])), 0, 1).astype(jnp.float32)


def centred_contributions(model: PartModel, variables: Any, outputs: PartOutputs, target: jax.Array) -> jax.Array:
    """Level 2 measured from the average training image: the contributions of locations sum to those of their parts.

    `c_kn - s_kn (sum_m c_km - c_k)`, with `c_kn` the contribution of location n through part k, `c_k` that of the
    part and `s_kn = a_kn / sum_m a_km` where the part lies. The bracket is what the bottleneck takes off, the same
    number for every image: `c_kn` is measured from a feature of zero, which no image has, and this from the part's
    mean.

    Args:
        model: of level 2, as for `location_contributions`.
        variables: of the model.
        outputs: of the model, in evaluation mode.
        target: int [B], the class of each image.

    Returns:
        f32 [B,K,h,w], in units of the logit, signed. Of a part that lies nowhere, the contributions of locations.

    Raises:
        UserError: a model that has no level 2.

    Source: this library. For a weighted mean of the locations (`sum_n a_kn = 1`) it is the contribution of
    `z_n - mean`, the centring of features that CAM leaves out.
    """
    locations = location_contributions(model, variables, outputs, target)
    taken_off = locations.sum((2, 3)) - part_contributions(outputs, target)
    return locations - _shares(outputs) * taken_off[..., None, None]


def spread_contributions(outputs: PartOutputs, target: jax.Array) -> jax.Array:
    """A map of level 1: the contribution of each part spread over where it lies, `sum_k c_k a_kn / sum_n a_kn`.

    Args:
        outputs: of a model with a classifier, in evaluation mode.
        target: int [B], the class of each image.

    Returns:
        f32 [B,h,w], in units of the logit, signed; sums to what the parts that have a place contribute.

    Raises:
        UserError: a model without classifier.
    """
    return jnp.einsum("bk,bkhw->bhw", part_contributions(outputs, target), _shares(outputs))


def _shares(outputs: PartOutputs) -> jax.Array:
    """Which share of each part lies at each location, [B,K,h,w]; next to none of a part that lies nowhere."""
    assignment = outputs.parts.assignment
    return assignment / jnp.maximum(assignment.sum((2, 3), keepdims=True), SMALLEST_MASS)


def level(model: PartModel) -> int:
    """The level of explanation that a model has for certain: 0, 1, 2 or 3.

    A model of level 3 is not one of level 2 as well: what its tokens add through a part is no location's, since the
    tokens of a part have seen each other.

    >>> from partrep.models.part_model import build
    >>> names = dict(backbone=dict(name="patchnet"), method=dict(name="landmarks"))
    >>> level(build(dict(**names, head=dict(name="concat")), 3))
    2
    >>> level(build(dict(**names, head=dict(name="cosine")), 3))
    0
    >>> level(build(dict(**names, head=dict(name="concat"), readout=dict(name="isolated")), 3))
    3
    """
    if model.head is None or not model.head.linear_in_codes:
        return 0
    if model.readout is not None:
        return 3 if model.bottleneck.affine else 1  # an affine one makes each part's code of its own vector alone
    return 1 if _no_level_two(model) else 2


def _no_level_two(model: PartModel) -> str:
    """Why a model has no level 2; empty where it has."""
    if model.head is None or not model.head.linear_in_codes:
        return f"the head {_name(model.head)} is not linear in the codes"
    if not model.bottleneck.affine:
        return f"the bottleneck {_name(model.bottleneck)} is not affine"
    if model.readout is not None:
        return f"the read-out {_name(model.readout)} reads the image again, and not the features of its locations"
    if not hasattr(model.method, "read_out"):
        return f"the read-out of the part method {_name(model.method)} is not linear in the features"
    return ""


def _name(module: Any) -> str:
    return type(module).__name__ if dataclasses.is_dataclass(module) else "None"
