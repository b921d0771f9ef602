"""The part model: backbone, part method, read-out in isolation, bottleneck, head and decoder, one after the other."""

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
from partrep.models.isolated import READOUTS, regions
from partrep.models.outputs import PartOutputs
from partrep.parts import METHODS
from partrep.parts.structure import Parts


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


class Classifier(nn.Module):
    """Bottleneck and head on the vectors of parts: `Parts` -> logits f32 [B,C]."""

    bottleneck: nn.Module
    head: nn.Module

    def __call__(self, parts: Parts, train: bool) -> jax.Array:
        """Classifies the images by their parts."""
        return self.head(self.bottleneck(part_vectors(parts), train), parts.presence, train)


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
        readout: (image, Parts, train) -> features [B,h,w,D], Parts; a second stage, in which the method's
            parts are read again from the image. None: they are read as the method read them.
        proposal_head: (Parts, train) -> logits [B,classes] of the method's own parts, to train the first
            stage by; None for none.
        mean, std: of images in [0,1], one number or one a channel: backbone and read-out get `(image - mean) / std`.
    """

    backbone: nn.Module
    method: nn.Module
    bottleneck: nn.Module
    head: nn.Module | None = None
    decoder: nn.Module | None = None
    readout: nn.Module | None = None
    proposal_head: nn.Module | None = None
    mean: float | tuple[float, ...] = 0.5
    std: float | tuple[float, ...] = 0.25

    def __call__(self, image: jax.Array, train: bool) -> PartOutputs:
        """Images f32 [B,H,W,C] in [0,1] -> every named array of the model."""
        features = self.encode(image, train)
        parts = self.method(features, train)
        if self.readout is None:
            return self._classified(features, parts, train, image.shape)
        logits = None if self.proposal_head is None else self.proposal_head(parts, train)
        features, isolated = self.readout(self._standardised(image), parts, train)
        outputs = self._classified(features, isolated, train, image.shape)
        return dataclasses.replace(outputs, proposal=parts, proposal_logits=logits)

    def encode(self, image: jax.Array, train: bool = False) -> jax.Array:
        """Images f32 [B,H,W,C] in [0,1] -> features [B,h,w,D] of the backbone."""
        return self.backbone(self._standardised(image), train)

    def from_features(self, features: jax.Array, train: bool = False) -> PartOutputs:
        """Features [B,h,w,D] of the backbone -> every named array that needs no pixels: no reconstruction.

        Raises:
            UserError: a model that reads its parts again from the image.
        """
        if self.readout is not None:
            raise UserError("an isolated read-out reads the image again; expected images, not features")
        return self._classified(features, self.method(features, train), train)

    def from_masks(self, image: jax.Array, masks: jax.Array, train: bool = False) -> PartOutputs:
        """Images [B,H,W,C] and given masks [B,K,h,w] of zeros and ones -> the second stage's arrays.

        What no mask covers is background, what several cover goes to the first. The masks of an earlier pass,
        `outputs.parts.assignment`, give its arrays again.
        """
        if self.readout is None:
            raise UserError("the model has no isolated read-out; expected one, to run it on given masks")
        features, parts = self.readout(self._standardised(image), regions(masks), train)
        return self._classified(features, parts, train, image.shape)

    def project(self, image: jax.Array) -> jax.Array:
        """Images -> f32 [B,h,w,d], the features that the prototypes of the part method are compared with."""
        return self.method.project(self.encode(image))

    def read_out(self, features: jax.Array, parts: Parts) -> jax.Array:
        """Part vectors [B,K,D] of features [B,h,w,D], the places where the parts are read being as they are."""
        evidence = getattr(self.method, "evidence", None)
        return self.method.read_out(features, parts.assignment if evidence is None else evidence(parts))

    def classify(self, vectors: jax.Array, presence: jax.Array) -> jax.Array:
        """Part vectors [B,K,D] and presence [B,K] -> logits [B,C], in evaluation mode."""
        assert self.head is not None
        return self.head(self.bottleneck(vectors, False), presence, False)

    def _standardised(self, image: jax.Array) -> jax.Array:
        """Images in [0,1] as the backbone was made for."""
        return (image - jnp.asarray(self.mean)) / jnp.asarray(self.std)

    def _classified(
        self, features: jax.Array, parts: Parts, train: bool, shape: tuple[int, ...] | None = None
    ) -> PartOutputs:
        """The rest of the model, from the parts on; `shape` is the image's, for the decoder."""
        vectors = part_vectors(parts)
        codes = self.bottleneck(vectors, train)
        posterior = getattr(self.bottleneck, "posterior", None)
        painted = None
        if self.decoder is not None and shape is not None:
            painted = self.decoder(codes, parts, features, shape[1:])
        return PartOutputs(
            features=features,
            parts=parts,
            codes=codes,
            logits=None if self.head is None else self.head(codes, parts.presence, train),
            embedding=weighted_mean(codes, parts.presence),
            contributions=None if self.head is None else self.head.contributions(codes, parts.presence),
            posterior=None if posterior is None else posterior(vectors),
            reconstruction=painted,
        )


def _required(field: dataclasses.Field[Any]) -> bool:
    return field.init and field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def make(table: dict[str, Any], kind: str, fields: Mapping[str, Any]) -> nn.Module:
    """Makes the module `fields["name"]` of `table` with the other entries of `fields` as its attributes."""
    settings = {k: tuple(v) if isinstance(v, list) else v for k, v in dict(fields).items()}
    if "name" not in settings:
        raise UserError(f"{kind} without a name; known: {', '.join(sorted(table))}")
    name = str(settings.pop("name"))
    module = lookup(table, name, kind)
    known = {f.name: f for f in dataclasses.fields(module) if f.name not in ("parent", "name")}
    if unknown := sorted(set(settings) - set(known)):
        raise UserError(f"{kind} {name!r} has no field {unknown[0]!r}; it has: {', '.join(known)}")
    if missing := [f.name for f in known.values() if _required(f) and f.name not in settings]:
        raise UserError(f"{kind} {name!r} without {missing[0]!r}; expected a value for it")
    return module(**settings)


def _method(fields: Mapping[str, Any], classes: int | None) -> nn.Module:
    """Makes the part method; one whose parts belong to classes gets as many classes as the head."""
    method: Any = METHODS.get(str(fields.get("name")))
    if method and "classes" not in fields and "classes" in [f.name for f in dataclasses.fields(method)]:
        if classes is None:
            raise UserError(f"the part method {fields['name']!r} needs a number of classes; expected `classes`")
        fields = {"classes": classes, **fields}
    return make(METHODS, "part method", fields)


def _head(fields: Mapping[str, Any] | None, classes: int | None) -> nn.Module | None:
    if not fields:
        return None
    if classes is None:
        raise UserError("the model has a head and no number of classes; expected `classes`")
    return make(HEADS, "head", {"classes": classes, **fields})


def _bottleneck(config: Mapping[str, Any]) -> nn.Module:
    return make(BOTTLENECKS, "bottleneck", config.get("bottleneck") or {"name": "identity"})


ENTRIES = ("backbone", "method", "bottleneck", "head", "decoder", "readout", "proposal_head", "normalisation")


def build(config: Mapping[str, Any], classes: int | None = None, dtype: Any = jnp.float32) -> PartModel:
    """Makes a `PartModel` from names and fields.

    Arguments:
        config: mappings `backbone`, `method`, and optionally `bottleneck` (default identity), `head` (default
            none), `decoder` (default none), `readout` (default none; `{"name": "isolated"}` reads each part
            from its own pixels alone) and, with a read-out, `proposal_head` (default none; a head, after a
            bottleneck like the model's, on the parts that the method proposed), each with a `name` and the
            fields of that module; and `normalisation` (default `{"mean": 0.5, "std": 0.25}`) of images in [0,1].
        classes: width of the classifiers; needed where there is a head or where parts belong to classes.
        dtype: of the computation of backbone and read-out; the rest follows their features.

    Raises:
        UserError: an unknown name or field, a head or class-tied parts without `classes`, a head for proposals
            without a read-out.
    """
    if unknown := sorted(set(config) - set(ENTRIES)):
        raise UserError(f"model has no entry {unknown[0]!r}; expected {', '.join(ENTRIES)}")
    if config.get("proposal_head") and not config.get("readout"):
        raise UserError("the model has a proposal_head and no readout; expected both, or `head` alone")
    head, proposal_head = (_head(config.get(name), classes) for name in ("head", "proposal_head"))
    isolated = config.get("readout")
    seen = {"mean": 0.5, "std": 0.25, **(config.get("normalisation") or {})}
    return PartModel(
        backbone=make(BACKBONES, "backbone", {"dtype": dtype, **config["backbone"]}),
        method=_method(config["method"], classes),
        bottleneck=_bottleneck(config),
        head=head,
        decoder=make(DECODERS, "decoder", config["decoder"]) if config.get("decoder") else None,
        readout=make(READOUTS, "read-out", {"dtype": dtype, **isolated}) if isolated else None,
        proposal_head=None if proposal_head is None else Classifier(_bottleneck(config), proposal_head),
        mean=_per_channel(seen["mean"]),
        std=_per_channel(seen["std"]),
    )


def _per_channel(value: Any) -> float | tuple[float, ...]:
    return float(value) if isinstance(value, int | float) else tuple(float(each) for each in value)


def outputs_of(model: PartModel, variables: Any, images: jax.Array) -> PartOutputs:
    """The outputs in evaluation mode: images f32 [B,H,W,C] in [0,1]."""
    outputs = model.apply(variables, images, False)
    assert isinstance(outputs, PartOutputs)
    return outputs
