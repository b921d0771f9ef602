"""Exact search against brute force in float64: values, ids, ties, padding, every similarity."""

from __future__ import annotations

import numpy as np
import pytest

from partrep.search import exact
from partrep.search.exact import Exact, search

BLOCK, K = 1024, 5  # of all tests, so that few programs are compiled


def brute(queries, database, k, similarity):
    """One query and one row at a time in float64, listed by a stable sort."""
    ids, values = [], []
    for q in np.asarray(queries, np.float64):
        row = []
        for x in np.asarray(database, np.float64):
            if similarity == "euclidean":
                row.append(np.sqrt(((q - x) ** 2).sum()))
            else:
                length = 1.0 if similarity == "dot" else np.sqrt((q @ q) * (x @ x))
                row.append(q @ x / length if length else 0.0)
        row = np.array(row)
        order = np.argsort(row if similarity == "euclidean" else -row, kind="stable")[:k]
        ids.append(order)
        values.append(row[order])
    return np.array(values), np.array(ids)


@pytest.mark.parametrize("similarity", exact.SIMILARITIES)
def test_the_nearest_are_those_of_brute_force(similarity):
    rng = np.random.default_rng(0)
    queries, database = rng.normal(size=(3, 8)), rng.normal(size=(2500, 8))
    values, ids = search(queries, database, K, similarity, BLOCK)
    expected_values, expected_ids = brute(queries, database, K, similarity)
    np.testing.assert_array_equal(ids, expected_ids)
    np.testing.assert_allclose(values, expected_values, rtol=1e-5)
    assert values.dtype == np.float32 and ids.dtype == np.int64


@pytest.mark.parametrize("similarity", exact.SIMILARITIES)
def test_of_equal_rows_the_lower_id_is_first_within_and_across_blocks(similarity):
    rng = np.random.default_rng(1)
    signs = rng.choice([-1.0, 1.0], (2500, 8))  # of one length, with whole products: ties are exact
    queries = rng.choice([-1.0, 1.0], (3, 8))
    _, ids = search(queries, signs, K, similarity, BLOCK)
    expected = np.argsort(-(queries @ signs.T), axis=1, kind="stable")[:, :K]
    np.testing.assert_array_equal(ids, expected)


def test_copies_of_real_rows_are_ties_wherever_they_lie():
    rng = np.random.default_rng(2)
    database = np.tile(rng.normal(size=(90, 8)), (27, 1))
    _, ids = search(rng.normal(size=(3, 8)), database, K, "dot", BLOCK)
    np.testing.assert_array_equal(ids, ids[:, :1] + 90 * np.arange(K))
    assert (ids[:, 0] < 90).all()


@pytest.mark.parametrize("similarity", exact.SIMILARITIES)
def test_more_neighbours_than_rows_are_filled_up(similarity):
    values, ids = search([[1.0, 0.0]], [[-1.0, 0.0], [0.0, 2.0], [3.0, 0.0]], K, similarity)
    first = [0, 2, 1] if similarity == "euclidean" else [2, 1, 0]
    assert ids.tolist() == [[*first, -1, -1]]
    assert np.isinf(values[0, 3:]).all() and (values[0, 3:] > 0).all() == (similarity == "euclidean")


def test_values_by_hand():
    database = [[3.0, 4.0], [0.0, 0.0], [-1.0, 0.0]]
    assert search([[1.0, 0.0]], database, 3, "dot")[0].tolist() == [[3.0, 0.0, -1.0]]
    np.testing.assert_allclose(search([[2.0, 0.0]], database, 3)[0], [[0.6, 0.0, -1.0]], rtol=1e-6)
    np.testing.assert_allclose(search([[0.0, 4.0]], database, 3, "euclidean")[0], [[3.0, 4.0, 17**0.5]], rtol=1e-6)


def test_a_negative_zero_ties_with_zero():
    database = [[0.0, -1.0], [0.0, 1.0], [-1.0, 0.0]]
    assert search([[-0.0, 1e-30]], np.float32(database) * 1e-30, 3, "dot")[1].tolist() == [[0, 1, 2]]


def test_cosines_of_huge_and_tiny_rows_and_of_zero():
    values, ids = search([[1e30, 1e30]], [[0.0, 0.0], [1e-30, 1e-30], [1e30, 0.0]], 3)
    assert ids.tolist() == [[1, 2, 0]]
    np.testing.assert_allclose(values, [[1.0, 0.5**0.5, 0.0]], rtol=1e-6)


def test_near_duplicates_are_told_apart_by_distance():
    rng = np.random.default_rng(3)
    database = rng.normal(size=(2000, 8)).astype(np.float32)
    database[7] = database[1500] + np.float32(1e-5)
    values, ids = search(database[1500:1501], database, 2, "euclidean", BLOCK)
    assert ids.tolist() == [[1500, 7]] and values[0, 0] == 0
    assert abs(values[0, 1] - np.linalg.norm(database[7].astype(float) - database[1500])) < 1e-8


def test_a_prepared_database_a_mapped_one_and_half_precision_agree(tmp_path):
    rng = np.random.default_rng(4)
    database = rng.normal(size=(2500, 8)).astype(np.float16)
    np.save(tmp_path / "d.npy", database)
    queries = rng.normal(size=(140, 8))  # more than are searched at once
    expected = search(queries, database.astype(np.float32), K, "cosine", BLOCK)
    for found in (
        Exact.build(database, "cosine", BLOCK).search(queries, K),
        search(queries, np.load(tmp_path / "d.npy", mmap_mode="r"), K, "cosine", BLOCK),
    ):
        np.testing.assert_array_equal(found[1], expected[1])
        np.testing.assert_array_equal(found[0], expected[0])
    one = search(queries[139:], database, K, "cosine", BLOCK)
    np.testing.assert_array_equal(one[1], expected[1][139:])


@pytest.mark.parametrize("similarity", exact.SIMILARITIES)
def test_one_query_on_the_host_is_brute_force(similarity):
    rng = np.random.default_rng(6)
    database = np.concatenate([rng.normal(size=(2400, 8)), np.zeros((1, 8)), rng.normal(size=(98, 8))])
    prepared = Exact.build(database, similarity, BLOCK)
    assert prepared._on_host is not None
    for query in (*rng.normal(size=(5, 1, 8)), np.zeros((1, 8))):
        values, ids = prepared.search(query, K)
        expected_values, expected_ids = brute(query, database, K, similarity)
        np.testing.assert_array_equal(ids, expected_ids)
        np.testing.assert_allclose(values, expected_values, rtol=1e-5, atol=1e-7)
        assert values.dtype == np.float32 and ids.dtype == np.int64


@pytest.mark.parametrize("similarity", exact.SIMILARITIES)
def test_one_query_on_the_host_finds_equal_rows_wherever_they_lie(similarity):
    rng = np.random.default_rng(7)
    database = np.tile(rng.normal(size=(91, 37)), (23, 1))  # no number of rows or columns that BLAS would like
    values, ids = Exact.build(database, similarity, BLOCK).search(rng.normal(size=(1, 37)), 23)
    np.testing.assert_array_equal(ids[0], ids[0, 0] + 91 * np.arange(23))
    assert np.unique(values).size == 1


@pytest.mark.parametrize("similarity, filler", [("dot", -np.inf), ("cosine", -np.inf), ("euclidean", np.inf)])
def test_one_query_on_the_host_has_its_corners(similarity, filler):
    values, ids = Exact.build([[-1.0, 0.0], [0.0, 2.0], [3.0, 0.0]], similarity).search([[1.0, 0.0]], K)
    first = [0, 2, 1] if similarity == "euclidean" else [2, 1, 0]
    assert ids.tolist() == [[*first, -1, -1]]
    assert (values[0, 3:] == filler).all()
    with pytest.raises(ValueError, match="the queries hold numbers that are not finite"):
        Exact.build([[1.0]], similarity).search([[np.inf]], 1)


def test_one_query_on_the_host_may_overflow_and_has_no_negative_zero():
    huge = np.float32([[1e30, 0.0], [2e30, 0.0], [-1e30, 0.0]])
    values, ids = Exact.build(huge, "dot").search(np.float32([[1e30, 0.0]]), 2)
    assert ids.tolist() == [[0, 1]] and np.isposinf(values).all()
    tiny = np.float32([[0.0, -1.0], [0.0, 1.0], [-1.0, 0.0]]) * np.float32(1e-30)
    values, ids = Exact.build(tiny, "dot").search(np.float32([[-0.0, 1e-30]]), 3)
    assert ids.tolist() == [[0, 1, 2]] and not np.signbit(values).any()


def test_many_rows_stay_on_the_device(monkeypatch):
    rng = np.random.default_rng(8)
    database, query = rng.normal(size=(300, 8)), rng.normal(size=(1, 8))
    expected = Exact.build(database, "dot").search(query, K)
    monkeypatch.setattr(exact.host, "MOST", 2000)
    prepared = Exact.build(database, "dot")
    assert prepared._on_host is None
    values, ids = prepared.search(query, K)
    np.testing.assert_array_equal(ids, expected[1])
    np.testing.assert_allclose(values, expected[0], rtol=1e-6)


def test_no_query_gives_no_rows():
    values, ids = search(np.zeros((0, 2)), [[1.0, 0.0]], 3)
    assert values.shape == ids.shape == (0, 3)


def test_one_program_serves_all_blocks_and_batches():
    rng = np.random.default_rng(5)
    search(rng.normal(size=(128, 3)), rng.normal(size=(200, 3)), 2, "dot", 128)
    before = exact._pass._cache_size()
    search(rng.normal(size=(256, 3)), rng.normal(size=(700, 3)), 2, "dot", 128)
    assert exact._pass._cache_size() == before


@pytest.mark.parametrize(
    "queries, database, k, similarity, message",
    [
        ([[1.0]], [[1.0]], 1, "manhattan", "unknown similarity 'manhattan'; expected one of cosine, dot, euclidean"),
        ([[1.0]], [1.0], 1, "dot", r"a database of shape \(1,\)"),
        ([[1.0]], np.zeros((0, 1)), 1, "dot", r"a database of shape \(0, 1\)"),
        ([[1.0, 2.0]], [[1.0]], 1, "dot", r"queries of shape \(1, 2\); expected \[Q,1\]"),
        ([[1.0]], [[1.0]], 0, "dot", "k=0; expected at least 1"),
        ([[np.nan]], [[1.0]], 1, "dot", "the queries hold numbers that are not finite"),
        ([[1.0]], [[1.0], [np.inf]], 1, "dot", "row 1 of the database holds numbers that are not finite"),
    ],
)
def test_mistakes_are_named(queries, database, k, similarity, message):
    with pytest.raises(ValueError, match=message):
        search(queries, database, k, similarity)
