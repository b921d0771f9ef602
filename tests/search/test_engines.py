"""The engines of the search: one answer, and a clear line where FAISS is missing."""

from __future__ import annotations

import sys
import types

import numpy as np
import pytest

from partrep import UserError
from partrep.search.engines import ENGINES
from partrep.search.index import Mapped

ROWS = np.random.default_rng(0).normal(size=(70, 4)).astype(np.float32)


class Flat:
    """A stand-in with the interface of the flat index of FAISS."""

    def __init__(self, width):
        self.rows = np.zeros((0, width), np.float32)

    def add(self, rows):
        assert rows.dtype == np.float32 and rows.flags.c_contiguous
        self.rows = np.concatenate([self.rows, rows])

    def search(self, queries, k):
        products = queries @ self.rows.T
        ids = np.argsort(-products, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(products, ids, 1), ids


@pytest.fixture(params=["installed", "stand-in"])
def library(request, monkeypatch):
    if request.param == "installed":
        pytest.importorskip("faiss")
    else:
        monkeypatch.setitem(sys.modules, "faiss", types.SimpleNamespace(IndexFlatIP=Flat))


def test_the_engines_agree(library):
    mapped = Mapped((ROWS[:30].astype(np.float16), ROWS[30:].astype(np.float16)))
    found = [make(mapped)(ROWS[:3], 5) for make in ENGINES.values()]
    np.testing.assert_array_equal(found[0][1], found[1][1])
    np.testing.assert_allclose(found[0][0], found[1][0], rtol=1e-5)


def test_a_missing_library_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(UserError, match=r"FAISS is not installed; expected it \(pip install 'partrep\[faiss\]'\)"):
        ENGINES["faiss"](ROWS)
