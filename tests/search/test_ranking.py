"""Ways to rank: neighbours without the query itself, each way against the function that it wraps and by hand."""

import numpy as np
import pytest

from partrep.search import ranking
from partrep.search.diffusion import diffuse, mutual_graph
from partrep.search.expansion import alpha_expansion
from partrep.search.ranking import Searched

ROWS = np.arange(12)


@pytest.fixture(scope="module")
def database() -> np.ndarray:
    made = np.random.default_rng(0).normal(size=(12, 4))
    made[5] = made[2]  # a copy
    return (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def itself(database) -> Searched:
    return Searched(database)


@pytest.fixture(scope="module")
def others(database) -> Searched:
    queries = database + 0.2 * np.random.default_rng(1).normal(size=database.shape)
    return Searched(database, queries.astype(np.float32))


def nearest(queries, database, count, without_own):
    """Cosines and rows by sorting everything, one query at a time."""
    values, ids = [], []
    for i, q in enumerate(np.float64(queries)):
        cosines = np.float64(database) @ q / np.linalg.norm(q)
        order = [j for j in np.argsort(-cosines, kind="stable") if not (without_own and j == i)][:count]
        values.append(cosines[order])
        ids.append(order)
    return np.array(values), np.array(ids)


@pytest.mark.parametrize("name", ["itself", "others"])
def test_neighbours_are_the_nearest_without_the_query_itself(name, request, database):
    searched = request.getfixturevalue(name)
    values, ids = searched.neighbours(3)
    wanted = nearest(searched.asked, database, 3, name == "itself")
    np.testing.assert_allclose(values, wanted[0], atol=1e-6)
    np.testing.assert_array_equal(ids, wanted[1])


def test_behind_the_last_item_there_is_none(itself):
    values, ids = itself.neighbours(20)
    assert (ids[:, :11] >= 0).all() and (ids[:, 11:] == -1).all() and (values[:, 11:] == -np.inf).all()


def test_cosines_of_copies_are_tied(itself, others, database):
    scores = ranking.by_cosine(itself)(ROWS)
    np.testing.assert_allclose(scores, database @ database.T, atol=1e-6)
    assert (scores[:, 2] == scores[:, 5]).all()
    queries = others.queries / np.linalg.norm(others.queries, axis=1, keepdims=True)
    np.testing.assert_allclose(ranking.by_cosine(others)(ROWS[:3]), queries[:3] @ database.T, atol=1e-6)


def test_expansions_rank_by_the_expanded_query(others, database):
    values, ids = nearest(others.queries, database, 2, False)
    wanted = alpha_expansion(others.queries, database, values, ids, 3.0) @ database.T
    np.testing.assert_allclose(ranking.by_alpha_expansion(others, 2, 3.0)(ROWS), wanted, atol=1e-5)
    units = others.queries / np.linalg.norm(others.queries, axis=1, keepdims=True)
    mean = units + database[ids].sum(1)
    wanted = mean / np.linalg.norm(mean, axis=1, keepdims=True) @ database.T
    np.testing.assert_allclose(ranking.by_average_expansion(others, 2)(ROWS), wanted, atol=1e-5)


def test_diffusion_ranks_what_is_reached_first_and_the_rest_by_cosine(others, database):
    graph = mutual_graph(*nearest(database, database, 2, True))
    values, ids = nearest(others.queries, database, 1, False)
    arrived = diffuse(graph, values, ids, 0.5)
    scores = ranking.by_diffusion(others, n=1, k=2, alpha=0.5)(ROWS)
    cosines = ranking.by_cosine(others)(ROWS)
    for found, flow, cosine in zip(scores, arrived, cosines):
        order = sorted(range(12), key=lambda j: (flow[j] <= 0, -flow[j] if flow[j] > 0 else -cosine[j]))
        assert np.argsort(-found, kind="stable")[:6].tolist() == order[:6]


def test_bits_count_the_signs_that_agree(others, database):
    mean = database.mean(0)
    scores = ranking.by_bits(others, mean)(ROWS)
    wanted = [[-int(((q > mean) != (x > mean)).sum()) for x in database] for q in others.queries]
    np.testing.assert_array_equal(scores, wanted)


def test_mistakes_are_named(database):
    with pytest.raises(ValueError, match="queries"):
        Searched(database, database[:, :2])
    with pytest.raises(ValueError, match="0 neighbours; expected 1 to 64"):
        Searched(database).neighbours(0)
