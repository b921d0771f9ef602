"""Files of weights: every format gives the same numbers, and damaged or malicious ones a line."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import zipfile

import numpy as np
import pytest
import safetensors.numpy

from partrep import UserError
from partrep.models.pretrained.weights import read_weights


class Call:
    """Pickles as a call of `function`."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def refused(path, *messages):
    with pytest.raises(UserError) as error:
        read_weights(path)
    message = str(error.value)
    assert message.startswith(str(path)) and "\n" not in message, message
    assert all(part in message for part in messages), message


def saved(path, root, **members):
    """A file as `torch.save` writes it, of a pickle of `root`."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", root if isinstance(root, bytes) else pickle.dumps(root, 2))
        for name, data in members.items():
            archive.writestr(f"archive/data/{name.removeprefix('_')}", data)
    return path


def tensor_pickle(count=6, offset=0, shape=(2, 3), strides=(3, 1), kind="FloatStorage"):
    """The pickle of {"a": tensor}, written by hand, without PyTorch."""

    def integers(values):
        return b"(" + b"".join(b"J" + struct.pack("<i", v) for v in values) + b"t"

    storage = b"(X\x07\x00\x00\x00storagectorch\n" + kind.encode() + b"\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu"
    storage += b"J" + struct.pack("<i", count) + b"tQ"
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"J" + struct.pack("<i", offset)
    tensor += integers(shape) + integers(strides) + b"\x89}tR"
    return b"\x80\x02}X\x01\x00\x00\x00a" + tensor + b"s."


@pytest.mark.parametrize("name", ["zip.pth", "legacy.pth"])
def test_formats_of_torch(name, folder, golden):
    found = read_weights(folder / name)
    expected = {key.removeprefix("torch."): golden[key] for key in golden.files if key.startswith("torch.")}
    assert sorted(found) == sorted(expected)
    for key, array in found.items():
        np.testing.assert_array_equal(array, expected[key], err_msg=key)
        assert array.dtype == (np.int64 if key == "module.count" else np.float32)


def test_a_pickle_by_hand(tmp_path):
    path = saved(tmp_path / "a.pt", tensor_pickle(), _0=np.arange(6, dtype=np.float32).tobytes())
    np.testing.assert_array_equal(read_weights(path)["a"], [[0, 1, 2], [3, 4, 5]])


def test_safetensors_of_all_precisions(tmp_path):
    values = np.array([1.5, -2.0, 3.140625], np.float32)  # exact in each
    arrays = {str(np.dtype(t)): values.astype(t) for t in (np.float64, np.float32, np.float16)}
    header = {"b": {"dtype": "BF16", "shape": [3], "data_offsets": [0, 6]}}
    brain = (values.view(np.uint32) >> 16).astype(np.uint16)
    text = json.dumps(header).encode()
    (tmp_path / "brain.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + brain.tobytes())
    safetensors.numpy.save_file(arrays, tmp_path / "a.safetensors")
    for name in ("a", "brain"):
        for array in read_weights(tmp_path / f"{name}.safetensors").values():
            assert array.dtype == np.float32
            np.testing.assert_array_equal(array, values)


def test_truncated_safetensors(folder, tmp_path):
    whole = (folder / "dino.safetensors").read_bytes()
    path = tmp_path / "cut.safetensors"
    header = 8 + int.from_bytes(whole[:8], "little")
    for length, expected in ((len(whole) - 1, len(whole)), (header + 3, len(whole)), (header - 5, header), (100, header)):
        path.write_bytes(whole[:length])
        refused(path, f"{length} bytes found, {expected} or more expected")
    for data in (b"", b"abc", b"\xff" * 50, b"\x02\0\0\0\0\0\0\0[]", b"\x08\0\0\0\0\0\0\0" + b'{"a":12}'):
        path.write_bytes(data)
        refused(path, "not a safetensors file")


@pytest.mark.parametrize("name", ["zip.pth", "legacy.pth"])
def test_truncated_torch(name, folder, tmp_path):
    whole = (folder / name).read_bytes()
    path = tmp_path / "cut.pth"
    for length in (*range(0, len(whole) - 1, 97), len(whole) - 1):
        path.write_bytes(whole[:length])
        refused(path)


def test_malicious_pickles(tmp_path):
    trace = tmp_path / "trace"
    calls = {
        "posix.system": Call(os.system, f"touch {trace}"),
        "builtins.eval": Call(eval, f"open({str(trace)!r}, 'w')"),
        "builtins.getattr": Call(getattr, "a", "upper"),
        f"{io.open.__module__}.open": Call(io.open, str(trace), "w"),  # of _io from Python 3.12 on
    }
    for name, call in calls.items():
        shown = {"builtins.eval": "__builtin__.eval", "builtins.getattr": "__builtin__.getattr"}.get(name, name)
        refused(saved(tmp_path / "a.pth", {"state_dict": call}), f"asks for {shown}")  # protocol 2 says __builtin__
        legacy = b"".join(pickle.dumps(value, 4) for value in (0x1950A86A20F9469CFC6C, 1001, {}, {"a": call}))
        (tmp_path / "b.pth").write_bytes(legacy)
        refused(tmp_path / "b.pth", f"asks for {name}")
        (tmp_path / "c.pth").write_bytes(pickle.dumps(call))
        refused(tmp_path / "c.pth", f"asks for {name}")
    assert not trace.exists()


def test_tensors_outside_of_their_storage(tmp_path):
    numbers = np.arange(6, dtype=np.float32).tobytes()
    for fields in ({"offset": 1}, {"offset": -1}, {"strides": (4, 1)}, {"strides": (-1, 1)}, {"shape": (9, 9), "strides": (0, 0)}):
        refused(saved(tmp_path / "a.pth", tensor_pickle(**fields), _0=numbers), "does not lie in its storage of 6 numbers")
    refused(saved(tmp_path / "a.pth", tensor_pickle(), _0=numbers[:-4]), "20 bytes found, 24 expected")
    refused(saved(tmp_path / "a.pth", tensor_pickle(count=2**30), _0=numbers), "24 bytes found, 4294967296 expected")
    refused(saved(tmp_path / "a.pth", tensor_pickle()), "damaged", "data/0")
    refused(saved(tmp_path / "a.pth", tensor_pickle(kind="StringStorage"), _0=numbers), "asks for torch.StringStorage")


def test_a_zip_larger_than_its_file(tmp_path):
    path = tmp_path / "bomb.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({}))
        archive.writestr("archive/data/0", bytes(10**7))
    refused(path, "declares 10000", "expected uncompressed members")


def test_files_without_weights(tmp_path):
    refused(saved(tmp_path / "a.pth", {"epoch": 3}), "no tensors, but the entries 'epoch'; expected a state dict")
    refused(saved(tmp_path / "a.pth", [1]), "the pickle holds list; expected a state dict")
    with zipfile.ZipFile(tmp_path / "b.pth", "w") as archive:
        archive.writestr("photo.jpg", b"")
    refused(tmp_path / "b.pth", "a zip without data.pkl")
    (tmp_path / "c.pth").write_bytes(pickle.dumps(7))
    refused(tmp_path / "c.pth", "no magic number of PyTorch")
    refused(tmp_path / "none.pth", "does not exist")
    refused(tmp_path / "model.onnx", "expected a file that ends in .safetensors")
