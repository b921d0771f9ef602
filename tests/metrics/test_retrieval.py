"""Retrieval against float64 brute force: all orders of tied items, separate galleries, blocks, hand-worked values."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from partrep import UserError
from partrep.metrics import retrieval
from partrep.metrics.retrieval import block_similarity, retrieval_scores, retrieval_values

RNG = np.random.default_rng(0)
METRICS = ["recall@1", "recall@2", "recall@4", "precision@1", "r_precision", "map@r"]


def of_order(hits, relevant):
    """The metrics of one order of relevance, as they are defined."""
    made = {f"recall@{k}": float(any(hits[:k])) for k in (1, 2, 4)}
    precision = [sum(hits[:i]) / i for i in range(1, relevant + 1)]
    made["precision@1"], made["r_precision"] = float(hits[0]), precision[-1]
    made["map@r"] = sum(p * hit for p, hit in zip(precision, hits)) / relevant
    return [made[name] for name in METRICS]


def brute_force(similarity, labels, queries, gallery):
    """Each query's mean over all orders of its items that the similarities allow."""
    found = {}
    for q in np.flatnonzero(queries):
        items = [i for i in np.flatnonzero(gallery) if i != q]
        relevant = sum(labels[i] == labels[q] for i in items)
        if not relevant:
            continue
        levels = sorted({similarity[q, i] for i in items}, reverse=True)
        groups = [[labels[i] == labels[q] for i in items if similarity[q, i] == level] for level in levels]
        orders = itertools.product(*(list(itertools.permutations(group)) for group in groups))
        found[q] = np.mean([of_order([*itertools.chain(*order)], relevant) for order in orders], axis=0)
    return found


def check(items, similarity, labels, queries, gallery):
    want = brute_force(similarity, labels, queries, gallery)
    found = retrieval_values(items, labels, queries, gallery, k=(1, 2, 4))
    assert found["query"].tolist() == list(want)
    got = np.stack([found[name] for name in METRICS], axis=1)
    np.testing.assert_allclose(got, list(want.values()), atol=1e-12)
    scores = retrieval_scores(items, labels, queries, gallery, k=(1, 2, 4))
    assert scores["queries"] == len(want)
    np.testing.assert_allclose([scores[name] for name in METRICS], np.mean(list(want.values()), axis=0), atol=1e-12)


@pytest.mark.parametrize("cells", [1, 60, 2**24])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("levels", [1, 2, 3, 1000])
def test_every_order_of_ties(levels, masked, cells, monkeypatch):
    monkeypatch.setattr(retrieval, "CELLS", cells)
    for _ in range(4):
        similarity = RNG.integers(levels, size=(7, 7)).astype(float)
        labels = RNG.integers(3, size=7)
        labels[:2] = 0
        queries, gallery = RNG.random((2, 7)) < 0.7 if masked else np.ones((2, 7), bool)
        queries[:2], gallery[[1, 3, 4, 5, 6]] = True, True
        check(lambda rows, s=similarity: s[rows], similarity, labels, queries, gallery)


def distances(x):
    return -((x[:, None] - x[None]) ** 2).sum(-1)


def cosines(x):
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    return unit @ unit.T


@pytest.mark.parametrize("kind, oracle", [("cosine", cosines), ("dot", lambda x: x @ x.T), ("euclidean", distances)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_embeddings_against_float64_brute_force(kind, oracle, dtype, monkeypatch):
    monkeypatch.setattr(retrieval, "CELLS", 2000)
    x = (RNG.normal(size=(120, 16)) + 5).astype(dtype)
    labels = np.repeat(np.arange(15), 8) % RNG.integers(9, 16)
    items = x if kind == "cosine" else block_similarity(x, kind)
    check(items, oracle(x.astype(np.float64)), labels, np.ones(120, bool), np.ones(120, bool))


@pytest.mark.parametrize("kind", ["cosine", "dot", "euclidean"])
@pytest.mark.parametrize("count", [130, 1001])
def test_copies_are_tied_to_the_last_bit(kind, count):
    x = RNG.normal(size=(count, 37)).astype(np.float32)
    copies = RNG.permutation(np.r_[np.arange(count), RNG.integers(count, size=300)])
    found = block_similarity(x[copies], kind)(np.arange(50))
    order = np.argsort(copies, kind="stable")
    same = copies[order][1:] == copies[order][:-1]
    assert same.sum() == 300 and (found[:, order][:, 1:] == found[:, order][:, :-1])[:, same].all()


def test_a_collapsed_embedding_scores_chance_however_it_is_stored():
    labels = np.repeat([0, 1, 2], [5, 3, 2])
    for order in (np.arange(10), RNG.permutation(10)):
        values = retrieval_values(np.ones((10, 4)), labels[order], k=(1, 9))
        relevant = np.bincount(labels)[labels[order]] - 1
        np.testing.assert_allclose(values["precision@1"], relevant / 9)
        np.testing.assert_allclose(values["r_precision"], relevant / 9)
        assert values["recall@9"].tolist() == [1.0] * 10


def test_by_hand():
    # The query 0 finds: hit, miss, hit | miss, hit. R = 3: precisions 1, -, 2/3, so 5/9 of the MAP, and 2/3.
    similarity = np.zeros((6, 6))
    similarity[0, 1:] = [5, 4, 3, 2, 1]
    labels = np.array(["a", "a", "b", "a", "b", "a"])
    only = np.arange(6) == 0
    found = retrieval_scores(lambda rows: similarity[rows], labels, only, k=(1, 5))
    assert found["map@r"] == pytest.approx((1 + 2 / 3) / 3) and found["r_precision"] == pytest.approx(2 / 3)
    assert found["recall@1"] == found["recall@5"] == found["precision@1"] == found["queries"] == 1
    # Two of three tied at the top are relevant: expected precision at 1 is 2/3; none in the first two never.
    similarity[0, 1:] = [5, 5, 5, 2, 1]
    found = retrieval_scores(lambda rows: similarity[rows], labels, only, k=(1, 2))
    assert found["precision@1"] == pytest.approx(2 / 3) and found["recall@2"] == 1


def test_queries_without_relevant_items_are_left_out():
    values = retrieval_values(np.eye(4) + 1, [0, 0, 1, 2], k=(1,))
    assert values["query"].tolist() == [0, 1] and values["relevant"].tolist() == [1, 1]


def test_the_order_of_items_and_the_names_of_classes_do_not_matter():
    x, labels = RNG.normal(size=(15, 3))[RNG.integers(15, size=40)], RNG.integers(6, size=40)
    order = RNG.permutation(40)
    moved = retrieval_scores(x[order], np.array(list("fedcba"))[labels[order]])
    assert retrieval_scores(x, labels) == pytest.approx(moved, abs=1e-12)
    doubled = retrieval_scores(block_similarity(-4 * x), labels)
    assert retrieval_scores(x, labels) == pytest.approx(doubled, abs=1e-12)


def test_perfect_and_hopeless_embeddings():
    labels = np.repeat(np.arange(5), 4)
    perfect = retrieval_scores(np.eye(5)[labels], labels)
    assert [perfect[name] for name in METRICS] == [1.0] * 6
    found = retrieval_scores(lambda rows: -1.0 * (labels[rows, None] == labels), labels)
    assert found["recall@8"] == found["map@r"] == found["r_precision"] == 0


def test_what_the_function_returns_is_not_written_to():
    similarity = RNG.normal(size=(6, 6))
    kept = similarity.copy()
    retrieval_values(lambda rows: similarity if len(rows) == 6 else similarity[rows], [0, 0, 0, 1, 1, 1], k=(1,))
    np.testing.assert_array_equal(similarity, kept)


@pytest.mark.parametrize("k", [1, np.int64(1), [1], np.array([1]), np.array(1), range(1, 2)])
def test_ranks_may_be_one_or_a_list_or_an_array(k):
    assert retrieval_scores(np.eye(3) + 1, [0, 0, 1], k=k) == retrieval_scores(np.eye(3) + 1, [0, 0, 1], k=(1,))
    several = retrieval_scores(np.eye(3) + 1, [0, 0, 1], k=np.array([1, 2]))
    assert several == retrieval_scores(np.eye(3) + 1, [0, 0, 1], k=(1, 2))


@pytest.mark.parametrize("k", [(), 1.0, (1.5,), (True,), "1", None, [[1]]])
def test_ranks_that_are_no_integers(k):
    with pytest.raises(UserError, match=r"recall at ranks .*; expected an integer or a list of them"):
        retrieval_scores(np.eye(3) + 1, [0, 0, 1], k=k)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: retrieval_scores(np.ones((3, 2)), [0, 0, 1], k=(1, 3)), r"ranks \[1, 3\]; expected 1 to 2"),
        (lambda: retrieval_scores(np.ones((3, 2)), [0, 0, 1], k=(0,)), r"ranks \[0\]"),
        (lambda: retrieval_scores(np.ones((3, 2)), [0, 1, 2], k=(1,)), "none of 3 queries"),
        (lambda: retrieval_scores(np.ones((3, 2)), [0, 0], k=(1,)), r"embeddings of shape \(3, 2\); expected \[2,E\]"),
        (lambda: retrieval_scores(np.ones((6, 3)), [0] * 7), r"shape \(6, 3\); expected \[7,E\], one row a label"),
        (lambda: retrieval_scores(np.ones(3), [0, 0, 1], k=(1,)), r"embeddings of shape \(3,\)"),
        (lambda: retrieval_scores(np.eye(3) * 1j, [0, 0, 1], k=1), "type complex128; expected real numbers"),
        (
            lambda: retrieval_scores(lambda rows: np.ones((len(rows), 3)), [0, 0], k=(1,)),
            r"shape \(2, 3\) .* expected floats \[2,2\]",
        ),
        (lambda: retrieval_scores([[np.nan], [1.0]], [0, 0], k=(1,)), "all finite"),
        (lambda: retrieval_scores(lambda rows: np.full((2, 2), np.nan), [0, 0], k=(1,)), "not finite"),
        (lambda: retrieval_scores(lambda rows: np.ones((2, 2), int), [0, 0], k=(1,)), "type int64"),
        (lambda: retrieval_scores(np.ones((2, 2)), [0, 0], queries=[0, 1], k=(1,)), "queries of shape .* int64"),
        (lambda: retrieval_scores(np.ones((2, 2)), [0, 0], gallery=np.ones(3, bool), k=(1,)), "gallery of shape"),
        (lambda: retrieval_scores(np.ones((2, 2)), [[0, 0]], k=(1,)), "labels of shape"),
        (lambda: block_similarity(np.ones((2, 2)), "manhattan"), "unknown similarity 'manhattan'; known: cosine"),
    ],
)
def test_mistakes(call, message):
    with pytest.raises(UserError, match=message):
        call()
