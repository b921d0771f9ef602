"""The part model: backbone, part method, bottleneck and head, one after the other."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from partrep import UserError, lookup
from partrep.models.backbones import BACKBONES
from partrep.models.bottlenecks import BOTTLENECKS
from partrep.models.heads import HEADS
from partrep.models.outputs import PartOutputs
from partrep.parts import METHODS
from partrep.parts.structure import Parts


def standardise(image: jax.Array) -> jax.Array:
    """Brings images in [0,1] to about zero mean and unit variance: (x - 0.5) / 0.25."""
    return (image - 0.5) / 0.25


def weighted_mean(codes: jax.Array, presence: jax.Array) -> jax.Array:
    """The presence-weighted mean of part codes: [B,K,M], [B,K] -> f32 [B,M]; zero where no part is present.

    >>> weighted_mean(jnp.array([[[1.0], [4.0]]]), jnp.array([[1.0, 0.5]])).tolist()
    [[2.0]]
    """
    presence = presence.astype(jnp.float32)
    total = jnp.maximum(presence.sum(-1, keepdims=True), 1e-6)
    return jnp.einsum("bk,bkm->bm", presence / total, codes.astype(jnp.float32))


def part_vectors(parts: Parts) -> jax.Array:
    """The vectors of the parts [B,K,D], or their scores as one number each where a method only scores."""
    if parts.vectors is not None:
        return parts.vectors
    if parts.scores is None:
        raise UserError("the part method gave neither vectors nor scores; expected one of them")
    return parts.scores[..., None]


class PartModel(nn.Module):
    """Composes four modules into one pass from images to `PartOutputs`.

    Attributes:
        backbone: (image [B,H,W,C], train) -> features [B,h,w,D].
        method: (features, train) -> Parts.
        bottleneck: (vectors [B,K,D], train) -> codes [B,K,M].
        head: (codes [B,K,M], presence [B,K], train) -> logits [B,classes]; None for a model without
        classifier.
    """

    backbone: nn.Module
    method: nn.Module
    bottleneck: nn.Module
    head: nn.Module | None = None

    def __call__(self, image: jax.Array, train: bool) -> PartOutputs:
        """Images f32 [B,H,W,C] in [0,1] -> every named array of the model."""
        features = self.backbone(standardise(image), train)
        parts = self.method(features, train)
        codes = self.bottleneck(part_vectors(parts), train)
        logits = None if self.head is None else self.head(codes, parts.presence, train)
        return PartOutputs(features, parts, codes, logits, weighted_mean(codes, parts.presence))


def make(table: dict[str, Any], kind: str, fields: Mapping[str, Any]) -> nn.Module:
    """Makes the module `fields["name"]` of `table` with the other entries of `fields` as its attributes."""
    settings = {k: tuple(v) if isinstance(v, list) else v for k, v in dict(fields).items()}
    if "name" not in settings:
        raise UserError(f"{kind} without a name; known: {', '.join(sorted(table))}")
    name = str(settings.pop("name"))
    module = lookup(table, name, kind)
    known = [f.name for f in dataclasses.fields(module) if f.name not in ("parent", "name")]
    if unknown := sorted(set(settings) - set(known)):
        raise UserError(f"{kind} {name!r} has no field {unknown[0]!r}; it has: {', '.join(known)}")
    return module(**settings)


def _make_method(fields: Mapping[str, Any], classes: int | None) -> nn.Module:
    """Makes the part method; one whose parts belong to classes gets as many classes as the head."""
    method: Any = METHODS.get(str(fields.get("name")))
    if method and "classes" not in fields and "classes" in [f.name for f in dataclasses.fields(method)]:
        if classes is None:
            raise UserError(f"the part method {fields['name']!r} needs a number of classes; expected `classes`")
        fields = {"classes": classes, **fields}
    return make(METHODS, "part method", fields)


def build(config: Mapping[str, Any], classes: int | None = None, dtype: Any = jnp.float32) -> PartModel:
    """Makes a `PartModel` from names and fields.

    Arguments:
        config: mappings `backbone`, `method`, and optionally `bottleneck` (default identity) and `head`
        (default
            none), each with a `name` and the fields of that module.
        classes: width of the classifier; needed where there is a head or where parts belong to classes.
        dtype: of the backbone's computation; the rest follows its features.

    Raises:
        UserError: an unknown name or field, or a head or class-tied parts without `classes`.
    """
    if unknown := sorted(set(config) - {"backbone", "method", "bottleneck", "head"}):
        raise UserError(f"model has no entry {unknown[0]!r}; expected backbone, method, bottleneck, head")
    head = None
    if config.get("head"):
        if classes is None:
            raise UserError("the model has a head and no number of classes; expected `classes`")
        head = make(HEADS, "head", {"classes": classes, **config["head"]})
    return PartModel(
        backbone=make(BACKBONES, "backbone", {"dtype": dtype, **config["backbone"]}),
        method=_make_method(config["method"], classes),
        bottleneck=make(BOTTLENECKS, "bottleneck", config.get("bottleneck") or {"name": "identity"}),
        head=head,
    )
