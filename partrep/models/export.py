"""A classifier as one StableHLO program that runs without this library: photos in, logits and what parts added out."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from partrep import UserError
from partrep.models.part_model import PartModel, outputs_of

PLATFORMS = ("cpu", "cuda", "tpu")
"""What an exported program runs on."""

Answer = Callable[[jax.Array], dict[str, jax.Array]]
"""Photos u8 [b,S,S,3] -> arrays by name."""


def export_model(model: PartModel, variables: Any, side: int) -> jax.export.Exported:
    """The program of a classifier in evaluation mode, for any number of photos.

    Args:
        model: with a head.
        variables: of the model; they are constants of the program.
        side: S of the photos u8 [b,S,S,3], in pixels.

    Returns:
        photos -> what `answer_of` says. Products of float32 are computed as such on every platform, where those of
        training may be rounded to fewer bits on accelerators.

    Raises:
        UserError: a model without a head, or with something that no such program holds, such as a call of Python.

    >>> backbone = dict(name="patchnet", widths=(8,), depths=(0,), patch=4)
    >>> config = dict(backbone=backbone, method=dict(name="gap"), head=dict(name="concat"))
    >>> from partrep.models.part_model import build
    >>> model = build(config, classes=3)
    >>> variables = jax.jit(model.init, static_argnums=2)(jax.random.key(0), jnp.zeros((1, 16, 16, 3)), False)
    >>> program = export_model(model, variables, side=16)
    >>> program.platforms, str(program.in_avals[0])
    (('cpu', 'cuda', 'tpu'), 'uint8[b,16,16,3]')
    """
    if model.head is None:
        raise UserError("the model has no head; expected a classifier, whose logits can be exported")
    constants = jax.tree.map(np.asarray, variables)  # whatever devices they were on
    photos = jax.ShapeDtypeStruct(jax.export.symbolic_shape(f"b, {side}, {side}, 3"), jnp.uint8)
    try:
        with jax.default_matmul_precision("highest"), without_locations():
            program = jax.export.export(jax.jit(answer_of(model, constants)), platforms=PLATFORMS)(photos)
        program.serialize()
    except (NotImplementedError, ValueError, TypeError) as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise UserError(
            f"the model cannot be exported ({reason}); expected one that calls no Python and takes any number of photos"
        ) from error
    return program


@contextlib.contextmanager
def without_locations() -> Iterator[None]:
    """Programs made within it name no source file: one model gives the same bytes wherever it is exported."""
    before = jax.config.values["jax_traceback_in_locations_limit"]
    jax.config.update("jax_traceback_in_locations_limit", 0)
    try:
        yield
    finally:
        jax.config.update("jax_traceback_in_locations_limit", before)


def answer_of(model: PartModel, variables: Any) -> Answer:
    """The function that is exported: photos u8 [b,S,S,3] -> `{name: f32 array}`.

    `logits` [b,C] and `maps` [b,K,h,w], the share of each location given to each part. Where the head is linear in
    the codes also `contributions` [b,K,C] and `bias` [C], with `bias + contributions.sum(1) = logits`; of another
    head no such sum is exact, and neither is given.
    """
    head: Any = model.head

    def answer(photos: jax.Array) -> dict[str, jax.Array]:
        outputs = outputs_of(model, variables, photos.astype(jnp.float32) / 255.0)
        made = {"logits": outputs.logits, "maps": outputs.parts.assignment}
        if head.linear_in_codes:
            bias = model.apply(variables, jnp.zeros((1, *outputs.codes.shape[1:])), method=_head)
            made |= {"contributions": outputs.contributions, "bias": jnp.asarray(bias)[0]}
        return {name: jnp.asarray(value).astype(jnp.float32) for name, value in made.items()}

    return answer


def _head(module: nn.Module, codes: jax.Array) -> jax.Array:
    """The logits of codes [B,K,M] of parts that are all there; of codes of zero, the bias."""
    assert isinstance(module, PartModel) and module.head is not None
    return module.head(codes, jnp.ones(codes.shape[:2]), False)
