"""Ground-truth files of the revisited protocol: lists and arrays, any protocol, and files that mean harm."""

from __future__ import annotations

import copy
import os
import pickle

import numpy as np
import pytest
from PIL import Image

from partrep import UserError
from partrep.data.revisited import crop_query, load
from partrep.metrics.revisited import revisited_scores

TRUTH = {
    "imlist": ["all_souls_000013", "oxford_002985", "radcliffe_000158"],
    "qimlist": ["all_souls_000051", "hertford_000015"],
    "gnd": [
        {"bbx": [136.5, 34.1, 648.5, 955.7], "easy": [0], "hard": [], "junk": [2]},
        {"bbx": [1, 2, 3, 4], "easy": [], "hard": [1, 2], "junk": []},
    ],
}


def changed(**entries):
    """The truth with entries of its first query, or its own, in place of those it has."""
    made = copy.deepcopy(TRUTH)
    for name, value in entries.items():
        (made if name in made else made["gnd"][0])[name] = value
    return made


@pytest.fixture
def write(tmp_path):
    def written(value, protocol=4):
        path = tmp_path / "gnd_roxford5k.pkl"
        path.write_bytes(value if isinstance(value, bytes) else pickle.dumps(value, protocol))
        return path

    return written


@pytest.mark.parametrize("dtype", [None, np.int64, np.uint16])
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_lists_and_arrays(write, protocol, dtype):
    arrays = {name: np.array(TRUTH["gnd"][0][name], dtype) for name in ("easy", "hard", "junk")} if dtype else {}
    box = {"bbx": np.array(TRUTH["gnd"][0]["bbx"])} if dtype else {}
    truth = load(write(changed(**arrays, **box), protocol))
    assert truth.gallery == tuple(TRUTH["imlist"]) and truth.queries == tuple(TRUTH["qimlist"])
    np.testing.assert_array_equal(truth.boxes, [one["bbx"] for one in TRUTH["gnd"]])
    for found, one in zip(truth.relevant, TRUTH["gnd"]):
        assert {name: photos.tolist() for name, photos in found.items()} == {k: one[k] for k in found}
        assert all(photos.dtype == np.int64 for photos in found.values())


def test_the_protocol_takes_what_is_read(write):
    scores = revisited_scores([[2, 0, 1], [1, 2, 0]], load(write(TRUTH)).relevant)
    assert scores["easy/map"] == scores["hard/map"] == 1 and scores["medium/queries"] == 2


class Call:
    """Pickles as a call of `function`."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", range(6))
def test_a_malicious_file_runs_nothing(write, protocol, tmp_path):
    for function in (os.system, eval, np.load):
        path = write(changed(easy=Call(function, f"touch {tmp_path / 'trace'}")), protocol)
        with pytest.raises(UserError, match=r"gnd_roxford5k.pkl: the pickle asks for \S+, which is not allowed"):
            load(path)
    assert not (tmp_path / "trace").exists()


def test_arrays_of_objects_are_refused(write):
    for array in (np.array([{}], object), np.array(["a"]), np.array([1], ">i8"), np.array([True])):
        with pytest.raises(UserError, match="gnd_roxford5k.pkl"):
            load(write(changed(easy=array)))


@pytest.mark.parametrize(
    "truth, message",
    [
        ([], "the pickle has no 'imlist'"),
        (changed(gnd=[]), "gnd is no list of 2 queries"),
        (changed(imlist=["../../etc/passwd"]), "names '../../etc/passwd'; expected names of photos without a folder"),
        (changed(imlist=["..\\x"]), "without a folder"),
        (changed(imlist=[1]), "imlist is no list of names"),
        (changed(imlist=["a", "a", "b"]), "imlist has a name twice"),
        (changed(imlist=["a", "b", "hertford_000015"]), "hertford_000015 is a query and in the gallery"),
        (changed(gnd=[{"bbx": [0, 0, 1, 1], "easy": [], "hard": []}] * 2), "query all_souls_000051 has no 'junk'"),
        (changed(bbx=[5, 5, 1, 9]), r"bbx of query all_souls_000051 is \[5.0, 5.0, 1.0, 9.0\]"),
        (changed(bbx=[0, 0, 1, float("nan")]), "finite"),
        (changed(easy=[3]), "easy of query all_souls_000051 has numbers other than 0 to 2"),
        (changed(junk=[-1]), "junk of query"),
        (changed(hard=[0.5]), "hard of query"),
        (changed(hard="012"), "hard of query .* is no list of numbers"),
        (b"no pickle", "damaged pickle"),
    ],
)
def test_mistakes(write, truth, message):
    with pytest.raises(UserError, match=message):
        load(write(truth))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match="no file .*x.pkl; expected gnd_roxford5k.pkl"):
        load(tmp_path / "x.pkl")


@pytest.mark.parametrize("box", [(1.5, 2.5, 7.2, 5.5), (0.0, 0.0, 9.0, 6.0), (2, 3, 4, 5)])
def test_crops_are_those_of_pillow(box):
    photo = np.random.default_rng(0).integers(256, size=(6, 9, 3), dtype=np.uint8)
    np.testing.assert_array_equal(crop_query(photo, box), np.asarray(Image.fromarray(photo).crop(box)))


def test_crops_end_at_the_border():
    photo = np.zeros((6, 9, 3), np.uint8)
    assert crop_query(photo, (-3, 1, 20, 20)).shape == (5, 9, 3)
    with pytest.raises(UserError, match=r"box \(9.0, 0.0, 12.0, 3.0\) with no pixel in a photo of 6 x 9"):
        crop_query(photo, (9, 0, 12, 3))
