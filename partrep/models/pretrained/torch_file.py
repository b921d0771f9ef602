"""What `torch.save` writes, read without PyTorch: the zip of today, and the format before 1.6."""

from __future__ import annotations

import dataclasses
import io
import math
import pathlib
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

import numpy as np

from partrep import UserError
from partrep.data.unpickler import Allowed, read_pickle

MAGIC = 0x1950A86A20F9469CFC6C  # the first pickle of the format before 1.6
WRAPPERS = ("state_dict", "model", "teacher")  # in which training checkpoints keep the weights
STORAGES = {
    "DoubleStorage": "<f8", "FloatStorage": "<f4", "HalfStorage": "<f2", "BFloat16Storage": "bfloat16",
    "LongStorage": "<i8", "IntStorage": "<i4", "ShortStorage": "<i2", "CharStorage": "i1", "ByteStorage": "u1",
    "BoolStorage": "?",
}  # fmt: skip
INERT = (
    ("argparse", "Namespace"), ("torch", "device"), ("torch", "float32"), ("numpy", "dtype"), ("_codecs", "encode"),
    ("numpy.core.multiarray", "scalar"), ("numpy._core.multiarray", "scalar"),
)  # what training checkpoints hold besides: read as nothing  # fmt: skip


@dataclasses.dataclass(frozen=True)
class _Storage:
    """A run of numbers that lies outside of the pickle."""

    dtype: str
    key: str
    count: int

    def decode(self, data: bytes) -> np.ndarray:
        """The numbers; bfloat16, the upper half of a float32, as that."""
        dtype = np.dtype("<u2" if self.dtype == "bfloat16" else self.dtype)
        if len(data) != self.count * dtype.itemsize:
            raise UserError(f"storage {self.key}: {len(data)} bytes found, {self.count * dtype.itemsize} expected")
        array = np.frombuffer(data, dtype)
        return (array.astype("<u4") << 16).view("<f4") if self.dtype == "bfloat16" else array


@dataclasses.dataclass(frozen=True)
class _Tensor:
    """A view of a storage."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def view(self, numbers: np.ndarray) -> np.ndarray:
        """The array; a view that reaches outside of its storage, or repeats it, is refused."""
        last = self.offset + sum((n - 1) * step for n, step in zip(self.shape, self.strides, strict=True))
        wrong = min((self.offset, *self.shape, *self.strides)) < 0 or math.prod(self.shape) > len(numbers)
        if wrong or (0 not in self.shape and last >= len(numbers)):
            raise UserError(f"a tensor of shape {self.shape} does not lie in its storage of {len(numbers)} numbers")
        steps = [step * numbers.itemsize for step in self.strides]
        return np.lib.stride_tricks.as_strided(numbers[self.offset :], self.shape, steps, writeable=False)


def read_torch(path: pathlib.Path) -> dict[str, np.ndarray]:
    """The tensors of a state dict saved by `torch.save`, or of the one in a training checkpoint.

    Raises:
        UserError: a damaged file, a pickle that names anything but tensors and plain data, no tensors.
    """
    try:
        with path.open("rb") as file:
            tensors, load = (_read_zip if zipfile.is_zipfile(file) else _read_legacy)(file, str(path))
        return {name: tensor.view(load(tensor.storage)) for name, tensor in tensors.items()}
    except UserError as error:
        raise UserError(f"{path}: {str(error).removeprefix(f'{path}: ')}") from None
    except Exception as error:  # bytes of any kind can fail in any way
        found = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{path} is damaged ({found}); expected what torch.save writes") from None


Read = tuple[dict[str, _Tensor], Callable[[_Storage], np.ndarray]]


def _read_zip(file: BinaryIO, source: str) -> Read:
    """The tensors of a zip, and their numbers; a zip that would unpack to more than itself is refused."""
    size = file.seek(0, io.SEEK_END)
    with zipfile.ZipFile(file) as archive:
        declared = sum(info.file_size for info in archive.infolist())
        if declared > size:
            raise UserError(f"a zip of {size} bytes declares {declared}; expected uncompressed members")
        members = {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}
    if "data.pkl" not in members:
        raise UserError("a zip without data.pkl; expected what torch.save writes")
    if members.get("byteorder", b"little") != b"little":
        raise UserError("numbers in big-endian order; expected little-endian")
    root = read_pickle(io.BytesIO(members["data.pkl"]), _allowed(), source, _stored)
    numbers: dict[_Storage, np.ndarray] = {}

    def load(storage: _Storage) -> np.ndarray:
        if storage not in numbers:
            numbers[storage] = storage.decode(members[f"data/{storage.key}"])
        return numbers[storage]

    return _tensors(root), load


def _read_legacy(file: BinaryIO, source: str) -> Read:
    """The tensors of pickles in a row: magic number, version, system, weights, keys; then the storages."""
    file.seek(0)
    if read_pickle(file, {}, source) != MAGIC:
        raise UserError("no zip, and no magic number of PyTorch; expected what torch.save writes")
    for _ in range(2):
        read_pickle(file, {}, source)
    storages: dict[str, _Storage] = {}

    def stored(pid: Any) -> _Storage:
        storage = _stored(pid)
        return storages.setdefault(storage.key, storage)

    root = read_pickle(file, _allowed(), source, stored)
    numbers = {}
    for key in read_pickle(file, {}, source):
        storage = storages[key]
        count = int.from_bytes(file.read(8), "little")
        if count != storage.count:
            raise UserError(f"storage {key} of {count} numbers; expected {storage.count}")
        width = 2 if storage.dtype == "bfloat16" else np.dtype(storage.dtype).itemsize
        numbers[key] = storage.decode(file.read(count * width))
    return _tensors(root), lambda storage: numbers[storage.key]


def _stored(pid: Any) -> _Storage:
    """The storage of a persistent id `("storage", type, key, place, count[, None])`."""
    match pid:
        case ("storage", str(dtype), str(key), _, int(count)) | ("storage", str(dtype), str(key), _, int(count), None):
            return _Storage(dtype, key, count)
    raise UserError("the pickle refers to something else than a whole storage of numbers; expected only those")


def _allowed() -> Allowed:
    """What the pickles of tensors may name, made anew for each file."""

    def rebuild(storage: _Storage, offset: int, shape: tuple, strides: tuple, *_: Any) -> _Tensor:
        if not isinstance(storage, _Storage) or len(shape) != len(strides):
            raise UserError("a tensor without storage or strides; expected both")
        return _Tensor(storage, offset, tuple(shape), tuple(strides))

    class Ordered(OrderedDict):
        """Has a dictionary of attributes that is thrown away with the class."""

    class Inert:
        """Takes whatever it is given, and holds nothing."""

        def __init__(self, *_: Any):
            pass

        def __setstate__(self, _: Any) -> None:
            pass

    table: dict[tuple[str, str], Any] = {("torch", name): dtype for name, dtype in STORAGES.items()}
    table.update(dict.fromkeys(INERT, Inert))
    table["collections", "OrderedDict"] = Ordered
    table["torch", "Size"] = lambda sizes: tuple(sizes)
    table["torch._utils", "_rebuild_tensor"] = rebuild
    table["torch._utils", "_rebuild_tensor_v2"] = rebuild
    table["torch._utils", "_rebuild_parameter"] = lambda tensor, *_: tensor
    return table


def _tensors(root: Any) -> dict[str, _Tensor]:
    """The named tensors of a state dict, or of the one that a training checkpoint wraps."""
    if not isinstance(root, Mapping):
        raise UserError(f"the pickle holds {type(root).__name__}; expected a state dict")
    for key in WRAPPERS:
        if isinstance(root.get(key), Mapping):
            return _tensors(root[key])
    tensors = {name: value for name, value in root.items() if isinstance(value, _Tensor) and isinstance(name, str)}
    if not tensors:
        names = [repr(name[:40]) for name in root if isinstance(name, str)]
        raise UserError(f"no tensors, but the entries {', '.join(names[:5])}; expected a state dict")
    return tensors
