"""Loads a pretrained network: its backbone as a module of this library, its variables, its classifier."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import pathlib
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from partrep import UserError, lookup
from partrep.models.backbones import BACKBONES
from partrep.models.part_model import make
from partrep.models.pretrained.convert import Named, Path, fitted, leftover, renamed, unwrapped
from partrep.models.pretrained.families import FAMILIES
from partrep.models.pretrained.hub import local_file
from partrep.models.pretrained.preprocessing import Preprocessing
from partrep.models.pretrained.weights import read_weights

Classifier = tuple[np.ndarray, np.ndarray]
Fields = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Pretrained:
    """A pretrained backbone.

    Attributes:
        family: the key of `FAMILIES`.
        backbone: name and fields of the module, as `part_model.build` takes them.
        variables: `params`, and `batch_stats` where the module has them; float32.
        classifier: kernel [D,C] and bias [C] on `classifier_input`; None where the file has none.
        preprocessing: what the network expects to have been done to images.
        fingerprint: the first 16 hexadecimal digits of the file's SHA-256.
    """

    family: str
    backbone: dict[str, Any]
    variables: dict[str, Any]
    classifier: Classifier | None
    preprocessing: Preprocessing
    fingerprint: str


def load_pretrained(path: str, family: str) -> Pretrained:
    """Loads a pretrained backbone from a file of torchvision, timm, DINO or DINOv2.

    Arguments:
        path: of a .safetensors, .pth, .pt, .th or .bin file; or `hf:OWNER/REPO[/FILE]`.
        family: the network, a key of `FAMILIES`; which library's names the file has is found out.

    Raises:
        UserError: an unknown family, a file that cannot be read, and names or shapes that are not the network's.

    >>> load_pretrained("resnet50.safetensors", "resnet50")
    Traceback (most recent call last):
    partrep.UserError: resnet50.safetensors does not exist; expected a file of weights

    Source: own.
    """
    known = lookup(FAMILIES, family, "family of pretrained networks")
    file = local_file(path)
    weights = unwrapped(read_weights(file))
    source = min(known.sources, key=lambda source: len(leftover(weights, source.table)))
    try:
        found = renamed(weights, source.table)
        backbone = known.backbone
        if backbone["name"] == "vit":
            found, backbone = _split_position(found, backbone)
        shapes, width = _shapes(make(BACKBONES, "backbone", backbone), source.preprocessing.crop)
        variables = fitted({p: a for p, a in found.items() if p[1] != "classifier"}, shapes)
        classifier = _classifier({p[2:]: a for p, a in found.items() if p[1] == "classifier"}, width)
    except UserError as error:
        raise UserError(f"{path} does not fit {family}: {error}") from None
    return Pretrained(family, backbone, variables, classifier, source.preprocessing, _fingerprint(file))


def module(pretrained: Pretrained, dtype: Any = jnp.float32) -> nn.Module:
    """The backbone `(image [B,H,W,3], train) -> features [B,h,w,D]`, for `pretrained.variables`."""
    return make(BACKBONES, "backbone", {"dtype": dtype, **pretrained.backbone})


def classifier_input(pretrained: Pretrained, image: jax.Array) -> jax.Array:
    """What the family's classifier reads: images f32 [B,H,W,3], preprocessed -> f32 [B,D].

    The class token of a transformer, which is not among the features; the mean of the features otherwise, of
    ConvNeXt with mean 0 and variance 1 over channels, as LayerNorm makes it (epsilon 1e-6).
    """
    backbone = module(pretrained)
    features, state = backbone.apply(pretrained.variables, image, False, mutable=["intermediates"])
    reads = FAMILIES[pretrained.family].classified
    if reads == "class token":
        return state["intermediates"]["cls_token"][0]
    mean = features.mean((1, 2))
    return nn.standardize(mean, axis=-1, epsilon=1e-6) if reads == "standardised mean" else mean


def logits(pretrained: Pretrained, image: jax.Array) -> jax.Array:
    """Images f32 [B,H,W,3], preprocessed -> logits [B,C] of the file's classifier.

    Raises:
        UserError: the file has no classifier.
    """
    if pretrained.classifier is None:
        raise UserError(f"the file of {pretrained.family} has no classifier; expected one, for logits")
    kernel, bias = pretrained.classifier
    return classifier_input(pretrained, image) @ kernel + bias


def _shapes(backbone: nn.Module, side: int) -> tuple[Any, int]:
    """Shapes of the variables, and channels of the features."""
    image = jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)
    features, variables = jax.eval_shape(
        lambda x: backbone.init_with_output(jax.random.key(0), x, False, mutable=["params", "batch_stats"]), image
    )
    return variables, features.shape[-1]


def _split_position(found: dict[Path, Named], backbone: Fields) -> tuple[dict[Path, Named], Fields]:
    """Makes a grid of the position embeddings; the class token's own, where there is one, is added to the token."""
    place, token = ("params", "position_embedding"), ("params", "cls_token")
    if place not in found or token not in found:  # said as every missing array is
        return found, backbone
    (name, array), (token_name, token_array) = found[place], found[token]
    shape = array.shape if array.ndim == 3 else (0, 0, 0)
    grid = math.isqrt(shape[1])
    extra = shape[1] - grid * grid
    if shape[0] != 1 or extra > 1 or token_array.shape != (1, 1, shape[2]):
        found_shapes = f"{name} {array.shape}, {token_name} {token_array.shape}"
        raise UserError(f"{found_shapes}; expected a square grid of positions, and at most one for the class token")
    if extra:
        token_array = token_array + array[:, :1]
    positions = Named(name, array[:, extra:].reshape(grid, grid, shape[2]))
    return {**found, place: positions, token: Named(token_name, token_array)}, {**backbone, "grid": grid}


def _classifier(found: dict[Path, Named], width: int) -> Classifier | None:
    """Kernel and bias, where there are any; scale and shift of a LayerNorm before them become part of them."""
    arrays = {"/".join(path): named.array.astype(np.float32) for path, named in found.items()}
    if not {"kernel", "bias"} & set(arrays):
        return None
    classes = arrays["bias"].size if "bias" in arrays else 0
    expected: dict[str, tuple[int, ...]] = {"kernel": (width, classes), "bias": (classes,)}
    if len(arrays) > 2:
        expected |= {"norm/scale": (width,), "norm/bias": (width,)}
    if {name: array.shape for name, array in arrays.items()} != expected:
        names = ", ".join(f"{named.name} {named.array.shape}" for named in found.values())
        raise UserError(f"classifier of {names}; expected weight [C, {width}] and bias [C]")
    kernel, bias = arrays["kernel"], arrays["bias"]
    if "norm/scale" in arrays:
        bias = bias + arrays["norm/bias"] @ kernel
        kernel = arrays["norm/scale"][:, None] * kernel
    return kernel, bias


def _fingerprint(path: pathlib.Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
