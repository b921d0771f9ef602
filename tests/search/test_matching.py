"""Local matching against loops in float64: what meets what, what it adds, blocks, ties, absent parts, shortlists."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from partrep.search import matching
from partrep.search.matching import Aligned, Reciprocal, local_scores, matches, rerank, similarities

pytestmark = pytest.mark.usefixtures("hasty")

RNG = np.random.default_rng(3)
K, D = 4, 3
MATCHERS = {
    "aligned": Aligned(),
    "aligned, plain": Aligned(alpha=1.0, threshold=-1.0),
    "reciprocal": Reciprocal(),
    "reciprocal, plain": Reciprocal(alpha=1.0, threshold=0.3, ratio=0.7),
}


def images(count, parts=K):
    """Images whose parts are about the same, some of them absent, some at another index."""
    codes = np.random.default_rng(9).normal(size=(parts, D)) + 0.6 * RNG.normal(size=(count, parts, D))
    presence = RNG.uniform(size=(count, parts))
    presence[RNG.random(presence.shape) < 0.2] = 0.0
    codes[::4] = codes[::4, RNG.permutation(parts)]
    return np.float32(codes), np.float32(presence)


def oracle(first, second, matcher):
    """The part that each part of the first image meets, -1 for none, and its addend, pair by pair."""
    (z, m), (z2, m2) = ((np.float64(x), np.float64(y)) for x, y in (first, second))
    z, z2 = (x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-30) for x in (z, z2))
    lengths = max(np.linalg.norm(m) * np.linalg.norm(m2), 1e-30)
    ids, addends = [-1] * len(z), [0.0] * len(z)
    for i, j in np.ndindex(len(z), len(z2)):
        cosine = z[i] @ z2[j]
        if m[i] * m2[j] == 0 or cosine <= matcher.threshold:
            continue
        if isinstance(matcher, Aligned):
            met = i == j
        else:
            gap = np.linalg.norm(z[i] - z2[j])
            others = [np.linalg.norm(z[i] - z2[b]) for b in range(len(z2)) if b != j and m2[b]]
            rivals = [np.linalg.norm(z[a] - z2[j]) for a in range(len(z)) if a != i and m[a]]
            met = all(gap < d and gap <= matcher.ratio * d for d in others + rivals)
        if met:
            ids[i] = j
            addends[i] = m[i] * m2[j] * np.sign(cosine) * abs(cosine) ** matcher.alpha / lengths
    return ids, addends


def scores_loop(queries, candidates, matcher):
    pairs = [[oracle((q, m), (c, n), matcher)[1] for c, n in zip(*candidates)] for q, m in zip(*queries)]
    return np.sum(pairs, axis=-1)


def row(parts, i):
    return parts[0][i], parts[1][i]


@pytest.mark.parametrize("name", MATCHERS)
def test_what_meets_what_against_loops(name):
    matcher, (first, second) = MATCHERS[name], (images(40), images(40))
    found = jax.vmap(lambda one, other: matches(one, other, matcher))(first, second)
    wanted = [oracle(row(first, i), row(second, i), matcher) for i in range(40)]
    np.testing.assert_array_equal(found.ids, [ids for ids, _ in wanted])
    np.testing.assert_allclose(found.addends, [addends for _, addends in wanted], atol=1e-5)
    met = np.asarray(found.ids)
    assert 0.2 < (met >= 0).mean() < 0.9
    assert ((met >= 0) & (met != np.arange(K))).any() == name.startswith("reciprocal")


@pytest.mark.parametrize("name", ["aligned", "reciprocal"])
def test_all_against_all_in_blocks(name, monkeypatch):
    matcher, queries, candidates = MATCHERS[name], images(19), images(23)
    monkeypatch.setattr(matching, "PAIRS", 10 * matching.QUERIES * K * K)
    found = local_scores(queries, candidates, matcher)
    np.testing.assert_allclose(found, scores_loop(queries, candidates, matcher), atol=1e-5)
    np.testing.assert_allclose(local_scores(candidates, queries, matcher).T, found, atol=1e-6)
    assert found.dtype == np.float32 and np.abs(found).max() <= 1 + 1e-6


def test_blocks_hold_a_bounded_number_of_cosines(monkeypatch):
    seen = []
    monkeypatch.setattr(matching, "PAIRS", 8 * matching.QUERIES * K * K)
    monkeypatch.setattr(matching, "similarities", lambda q, c, matcher: seen.append((len(q[0]), len(c[0]))) or np.zeros((16, 8)))
    local_scores(images(20), images(21))
    assert seen == [(16, 8)] * 6


def test_sets_of_other_sizes_meet_and_the_order_of_parts_does_not_matter():
    first, second = images(3), images(4, parts=6)
    found = local_scores(first, second)
    turned = tuple(x[:, ::-1] for x in second)
    np.testing.assert_allclose(local_scores(first, turned), found, atol=1e-6)
    np.testing.assert_allclose(found, scores_loop(first, second, Reciprocal()), atol=1e-5)


@pytest.mark.parametrize("name", MATCHERS)
def test_an_image_is_like_itself_by_one_and_of_no_part_like_nothing(name):
    codes, presence = images(5)
    presence[:] = np.maximum(presence, 0.1)
    found = np.asarray(similarities((codes, presence), (codes, presence), MATCHERS[name]))
    np.testing.assert_allclose(np.diagonal(found), 1.0, atol=1e-5)
    for empty in ((codes, 0 * presence), (0 * codes, presence)):
        assert not np.asarray(similarities(empty, (codes, presence), MATCHERS[name])).any()


def test_a_part_with_two_equally_near_ones_meets_neither():
    one = np.eye(3), np.ones(3)
    twice = np.eye(3)[[0, 1, 1]], np.ones(3)
    ids, addends = matches(one, twice, Reciprocal(ratio=1.0))
    assert ids.tolist() == [0, -1, -1] and addends.tolist() == pytest.approx([1 / 3, 0, 0])
    assert matches(twice, one, Reciprocal(ratio=1.0)).ids.tolist() == [0, -1, -1]
    absent = np.eye(3)[[0, 1, 1]], np.array([1.0, 1.0, 0.0])
    assert matches(one, absent, Reciprocal(ratio=1.0)).ids.tolist() == [0, 1, -1]


@pytest.mark.parametrize("matcher", [Aligned(), Reciprocal()])
@pytest.mark.parametrize("weight", [1.0, 0.3])
def test_a_shortlist_is_ordered_again(matcher, weight, monkeypatch):
    queries, database = images(5), images(12)
    ids = np.array([RNG.permutation(12)[:6] for _ in range(5)])
    ids[1, 3:], ids[2] = -1, -1
    values = np.where(ids < 0, -np.inf, -np.sort(-RNG.uniform(-1, 1, ids.shape)))
    monkeypatch.setattr(matching, "PAIRS", 7 * K * K)  # blocks that end within a query
    new, order = rerank(queries, database, values, ids, matcher, weight)
    local = scores_loop(queries, database, matcher)
    for i in range(5):
        there = ids[i] >= 0
        wanted = (1 - weight) * values[i, there] + weight * local[i, ids[i, there]]
        np.testing.assert_allclose(new[i, : there.sum()], -np.sort(-wanted), atol=1e-5)
        assert sorted(order[i, : there.sum()]) == sorted(ids[i, there])
        assert (order[i, there.sum() :] == -1).all() and (new[i, there.sum() :] == -np.inf).all()
        np.testing.assert_allclose([wanted[list(ids[i]).index(x)] for x in order[i, : there.sum()]], new[i, : there.sum()], atol=1e-5)


def test_equal_ones_keep_their_order():
    database = np.stack([np.eye(2), -np.eye(2), np.eye(2), -np.eye(2)]), np.ones((4, 2))
    values, ids = rerank((np.eye(2)[None], np.ones((1, 2))), database, [[4.0, 3.0, 2.0, 1.0]], [[3, 2, 1, 0]])
    assert ids.tolist() == [[2, 0, 3, 1]] and values.tolist() == [pytest.approx([1, 1, 0, 0])]


def test_nothing_to_look_for_gives_no_rows():
    none = np.zeros((0, K, D)), np.zeros((0, K))
    assert local_scores(none, images(3)).shape == (0, 3) and local_scores(images(3), none).shape == (3, 0)
    values, ids = rerank(none, images(3), np.zeros((0, 2)), np.zeros((0, 2), int))
    assert values.shape == ids.shape == (0, 2)


def test_mistakes_are_named():
    first, second = images(2), images(2, parts=6)
    for call, message in [
        (lambda: Aligned(alpha=0.5), "Aligned: alpha 0.5, threshold 0.0; expected alpha from 1"),
        (lambda: matches(row(first, 0), row(second, 0), Reciprocal(ratio=0.0)), "ratio is 0.0; expected above 0"),
        (lambda: local_scores(first, second, Aligned()), r"others has shape \(2, 6, 3\); expected \[M,K,D\] with K=4"),
        (lambda: local_scores(first, (second[0], second[1][:1])), "others' presence has shape"),
        (lambda: rerank(first, first, [[1.0], [1.0]], [[0], [2]]), "ids from 0 to 2; expected -1 to 1"),
        (lambda: rerank(first, first, [[1.0], [1.0]], [[0], [1]], weight=2.0), "weight 2.0; expected 0 to 1"),
        (lambda: rerank(first, first, [[1.0, 1.0]], [[0, 1]]), r"values has shape \(1, 2\); expected \[Q,n\] with Q=2"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()
