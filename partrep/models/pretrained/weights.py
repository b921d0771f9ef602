"""Files of weights as named arrays: .safetensors, and PyTorch's own formats without PyTorch."""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Callable

import numpy as np
import safetensors

from partrep import UserError
from partrep.models.pretrained.torch_file import read_torch

Weights = dict[str, np.ndarray]
TYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1", "BOOL": "?",
}  # fmt: skip


def read_weights(path: str | os.PathLike) -> Weights:
    """The arrays of a file of weights by name; those of real numbers as float32.

    Arguments:
        path: ends in .safetensors, or in .pth, .pt, .th or .bin for what `torch.save` writes, of which only the
            tensors are read. Of a training checkpoint, the mapping `state_dict`, `model` or `teacher` is taken.

    Raises:
        UserError: no such file, another suffix, a file cut short or damaged, a pickle that holds more than data.

    >>> read_weights("weights.onnx")
    Traceback (most recent call last):
    partrep.UserError: weights.onnx: expected a file that ends in .safetensors, .bin, .pt, .pth, .th

    Source: own; https://github.com/huggingface/safetensors for the format.
    """
    path = pathlib.Path(path)
    if path.suffix not in READERS:
        raise UserError(f"{path}: expected a file that ends in {', '.join(READERS)}")
    if not path.is_file():
        raise UserError(f"{path} does not exist; expected a file of weights")
    return {name: _float32(array) for name, array in sorted(READERS[path.suffix](path).items())}


def _float32(array: np.ndarray) -> np.ndarray:
    """Real numbers as float32, others as they are."""
    return array.astype(np.float32, copy=False) if array.dtype.kind == "f" else array


def read_safetensors(path: pathlib.Path) -> Weights:
    """The arrays of a .safetensors file; bfloat16 as float32."""
    data = path.read_bytes()
    try:
        found = safetensors.deserialize(data)
    except safetensors.SafetensorError as error:
        raise UserError(f"{path}: {_cut_short(data) or f'not a safetensors file ({error})'}") from None
    if unknown := sorted({entry["dtype"] for _, entry in found} - set(TYPES)):
        raise UserError(f"{path} holds numbers of type {unknown[0]}; expected one of {', '.join(TYPES)}")
    return {name: _array(**entry) for name, entry in found}


def _array(shape: list[int], dtype: str, data: bytes) -> np.ndarray:
    """One entry of `safetensors.deserialize`."""
    array = np.frombuffer(data, TYPES[dtype]).reshape(shape)
    return (array.astype("<u4") << 16).view("<f4") if dtype == "BF16" else array


def _cut_short(data: bytes) -> str | None:
    """Says how many bytes are missing at the end of a safetensors file, where its beginning tells."""
    start = 8 + int.from_bytes(data[:8], "little")
    expected = start
    try:
        header = json.loads(data[8:start])
        expected += max(entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):  # cut in the header, or no safetensors
        if data[8:9] != b"{":
            return None
    return f"{len(data)} bytes found, {expected} or more expected" if len(data) < expected else None


READERS: dict[str, Callable[[pathlib.Path], Weights]] = {
    ".safetensors": read_safetensors,
    ".bin": read_torch,
    ".pt": read_torch,
    ".pth": read_torch,
    ".th": read_torch,
}
