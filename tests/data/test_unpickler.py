"""Pickles of strangers: plain data is read, names only from the list, and nothing runs."""

from __future__ import annotations

import collections
import fractions
import io
import os
import pickle
import struct

import pytest

from partrep import UserError
from partrep.data.unpickler import read_pickle

PLAIN = {"a": [1, 2.5, None, True], (1, "b"): {"c", b"d"}, "long": 2**80, "nested": {"x": ({},)}}


class Call:
    """Pickles as a call of `function`."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def read(data, allowed=None, **more):
    return read_pickle(io.BytesIO(data), allowed or {}, "a.pkl", **more)


@pytest.mark.parametrize("protocol", range(6))
def test_plain_data(protocol):
    value = PLAIN if protocol >= 4 else {k: v for k, v in PLAIN.items() if k != (1, "b")}  # sets were calls before
    assert read(pickle.dumps(value, protocol)) == value


def test_pickles_in_a_row():
    file = io.BytesIO(b"".join(pickle.dumps(value) for value in (1, "two", [3])) + b"rest")
    assert [read_pickle(file, {}, "a.pkl") for _ in range(3)] == [1, "two", [3]]
    assert file.read() == b"rest"


@pytest.mark.parametrize("protocol", range(6))
def test_a_forbidden_call_does_not_run(protocol, tmp_path):
    for function in (os.system, eval, exec, fractions.Fraction):
        code = pickle.dumps({"weights": Call(function, f"touch {tmp_path / 'trace'}")}, protocol)
        with pytest.raises(UserError, match=rf"a.pkl: the pickle asks for \S+\.{function.__name__}, which is not allowed"):
            read(code)
    assert not list(tmp_path.iterdir())


def test_dotted_names_are_no_way_round():
    dotted = b"\x80\x04\x8c\x0bcollections\x8c\x14OrderedDict.__init__\x93."
    with pytest.raises(UserError, match="asks for collections.OrderedDict.__init__"):
        read(dotted, {("collections", "OrderedDict"): dict})


def test_allowed_names_mean_what_the_table_says():
    data = pickle.dumps(collections.OrderedDict(a=1))
    assert type(read(data, {("collections", "OrderedDict"): dict})) is dict


def test_persistent_ids():
    class Pickler(pickle.Pickler):
        def persistent_id(self, value):
            return ("kept", 7) if value == "there" else None

    file = io.BytesIO()
    Pickler(file).dump(["there", "here"])
    assert read(file.getvalue(), stored=lambda pid: pid[1]) == [7, "here"]
    with pytest.raises(UserError, match="refers to data outside of it"):
        read(file.getvalue())


def test_damage():
    whole = pickle.dumps(PLAIN)
    for length in range(len(whole)):
        with pytest.raises(UserError, match="a.pkl holds a damaged pickle"):
            read(whole[:length])
    for data in (b"\x80\x04}}R.", b"0.", b"\xff", b"\x8e" + struct.pack("<Q", 2**62) + b"a.", b"Rabc\n."):
        with pytest.raises(UserError, match="a.pkl holds a damaged pickle"):
            read(data)


def test_a_huge_table_of_places():
    with pytest.raises(UserError, match="a pickle of 8 bytes asks for 2000000000 places"):
        read(b"]r" + struct.pack("<I", 2 * 10**9) + b"0" * 1 + b".")
