"""The part model: backbone, part method, bottleneck, head and decoder, one after the other."""

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
from partrep.models.decoder import DECODERS
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
    """Composes its modules into one pass from images to `PartOutputs`.

    With a decoder the model is generative: it also paints the image again from its parts and codes.

    Attributes:
        backbone: (image [B,H,W,C], train) -> features [B,h,w,D].
        method: (features, train) -> Parts.
        bottleneck: (vectors [B,K,D], train) -> codes [B,K,M]; one with random codes also has
        `posterior(vectors) -> Posterior`.
        head: (codes [B,K,M], presence [B,K], train) -> logits [B,classes]; None for a model without
        classifier.
        decoder: (codes, parts, features, image shape) -> Reconstruction; None for a model that paints nothing.
    """

    backbone: nn.Module
    method: nn.Module
    bottleneck: nn.Module
    head: nn.Module | None = None
    decoder: nn.Module | None = None

    def __call__(self, image: jax.Array, train: bool) -> PartOutputs:
        """Images f32 [B,H,W,C] in [0,1] -> every named array of the model."""
        return self.from_features(self.encode(image, train), train)

    def encode(self, image: jax.Array, train: bool = False) -> jax.Array:
        """Images f32 [B,H,W,C] in [0,1] -> features [B,h,w,D]."""
        return self.backbone(standardise(image), train)

    def from_features(self, features: jax.Array, train: bool = False) -> PartOutputs:
        """Features [B,h,w,D] of the backbone -> every named array of the model."""
        parts = self.method(features, train)
        codes = self.bottleneck(part_vectors(parts), train)
        embedding = weighted_mean(codes, parts.presence)
        if self.head is None:
            return PartOutputs(features, parts, codes, None, embedding)
        logits = self.head(codes, parts.presence, train)
        shares = self.head.contributions(codes, parts.presence)
        return PartOutputs(features, parts, codes, logits, embedding, shares)

    def read_out(self, features: jax.Array, parts: Parts) -> jax.Array:
        """Part vectors [B,K,D] of features [B,h,w,D], the places where the parts are read being as they are."""
        evidence = getattr(self.method, "evidence", None)
        return self.method.read_out(features, parts.assignment if evidence is None else evidence(parts))

    def classify(self, vectors: jax.Array, presence: jax.Array) -> jax.Array:
        """Part vectors [B,K,D] and presence [B,K] -> logits [B,C], in evaluation mode."""
        assert self.head is not None
        return self.head(self.bottleneck(vectors, False), presence, False)
        vectors = part_vectors(parts)
        codes = self.bottleneck(vectors, train)
        posterior = getattr(self.bottleneck, "posterior", None)
        return PartOutputs(
            features=features,
            parts=parts,
            codes=codes,
            logits=None if self.head is None else self.head(codes, parts.presence, train),
            embedding=weighted_mean(codes, parts.presence),
            posterior=None if posterior is None else posterior(vectors),
            reconstruction=None if self.decoder is None else self.decoder(codes, parts, features, image.shape[1:]),
        )


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


def build(config: Mapping[str, Any], classes: int | None = None, dtype: Any = jnp.float32) -> PartModel:
    """Makes a `PartModel` from names and fields.

    Arguments:
        config: mappings `backbone`, `method`, and optionally `bottleneck` (default identity), `head` (default
            none) and `decoder` (default none), each with a `name` and the fields of that module.
        classes: width of the classifier; needed where there is a head.
        dtype: of the backbone's computation; the rest follows its features.

    Raises:
        UserError: an unknown name or field, or a head without `classes`.
    """
    if unknown := sorted(set(config) - {"backbone", "method", "bottleneck", "head", "decoder"}):
        raise UserError(f"model has no entry {unknown[0]!r}; expected backbone, method, bottleneck, head, decoder")
    head = None
    if config.get("head"):
        if classes is None:
            raise UserError("the model has a head and no number of classes; expected `classes`")
        head = make(HEADS, "head", {"classes": classes, **config["head"]})
    return PartModel(
        backbone=make(BACKBONES, "backbone", {"dtype": dtype, **config["backbone"]}),
        method=make(METHODS, "part method", config["method"]),
        bottleneck=make(BOTTLENECKS, "bottleneck", config.get("bottleneck") or {"name": "identity"}),
        head=head,
        decoder=make(DECODERS, "decoder", config["decoder"]) if config.get("decoder") else None,
    )


def outputs_of(model: PartModel, variables: Any, images: jax.Array) -> PartOutputs:
    """The outputs in evaluation mode: images f32 [B,H,W,C] in [0,1]."""
    outputs = model.apply(variables, images, False)
    assert isinstance(outputs, PartOutputs)
    return outputs
