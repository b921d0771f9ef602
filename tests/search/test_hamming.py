"""Search over packed codes against bits counted one by one."""

from __future__ import annotations

import numpy as np
import pytest

from partrep.search.hamming import pack, search


@pytest.mark.parametrize("words", [np.uint8, np.uint32])
def test_the_nearest_codes_are_those_of_brute_force_with_ties_by_id(words):
    rng = np.random.default_rng(0)
    codes, queries = rng.integers(0, 2, (2500, 32)), rng.integers(0, 2, (3, 32))
    distances = np.array([[sum(int(a != b) for a, b in zip(q, x)) for x in codes] for q in queries])
    expected = np.argsort(distances, axis=1, kind="stable")[:, :7]
    found, ids = search(pack(queries).view(words), pack(codes).view(words), 7, block=1024)
    np.testing.assert_array_equal(ids, expected)
    np.testing.assert_array_equal(found, np.take_along_axis(distances, expected, 1))
    assert found.dtype == np.int32 and ids.dtype == np.int64


def test_more_neighbours_than_codes_are_filled_up():
    distances, ids = search(pack([[0, 1]]), pack([[1, 0], [0, 1]]), 4)
    assert distances.tolist() == [[0, 2, -1, -1]] and ids.tolist() == [[1, 0, -1, -1]]


def test_no_query_gives_no_rows():
    assert search(np.zeros((0, 1), np.uint8), pack([[1]]), 2)[1].shape == (0, 2)


@pytest.mark.parametrize(
    "queries, database, k, message",
    [
        ([[1]], pack([[1]]), 1, r"queries: int64 of shape \(1, 1\); expected packed u8 or u32"),
        (pack([[1]]), pack([[1] * 9]), 1, "of 1 words, database uint8 of 2; expected codes of one length"),
        (pack([[1]]), np.zeros((0, 1), np.uint8), 1, "1 <= N"),
        (pack([[1]]), pack([[1]]), 0, "k=0"),
    ],
)
def test_mistakes_are_named(queries, database, k, message):
    with pytest.raises(ValueError, match=message):
        search(queries, database, k)
    with pytest.raises(ValueError, match=r"codes of shape \(2,\); expected \[n,bits\]"):
        pack([1, 0])
