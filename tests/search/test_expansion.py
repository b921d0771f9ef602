"""Query expansion and database augmentation against loops."""

import numpy as np
import pytest

from partrep.search.expansion import alpha_expansion, augmented_database, average_expansion

RNG = np.random.default_rng(0)


def unit(x):
    return x / np.linalg.norm(x)


@pytest.fixture
def found():
    """Queries, a database, and the four nearest rows of each, by cosine."""
    queries, database = RNG.normal(size=(6, 3)), RNG.normal(size=(9, 3)) * 4
    cosines = np.array([[unit(q) @ unit(x) for x in database] for q in queries])
    ids = np.argsort(-cosines, axis=1)[:, :4]
    return queries, database, np.take_along_axis(cosines, ids, axis=1), ids


def test_average(found):
    queries, database, _, ids = found
    want = [unit(unit(q) + sum(unit(database[i]) for i in row)) for q, row in zip(queries, ids)]
    got = average_expansion(queries, database, ids)
    np.testing.assert_allclose(got, want, atol=1e-6)
    assert got.dtype == np.float32


@pytest.mark.parametrize("alpha", [0.5, 3.0])
def test_alpha(found, alpha):
    queries, database, values, ids = found
    want = [
        unit(unit(q) + sum(max(s, 0.0) ** alpha * unit(database[i]) for s, i in zip(near, row)))
        for q, near, row in zip(queries, values, ids)
    ]
    np.testing.assert_allclose(alpha_expansion(queries, database, values, ids, alpha), want, atol=1e-6)
    # Neighbours that are negative, or missing, do not count.
    more = np.pad(values, ((0, 0), (0, 2)), constant_values=-0.9), np.pad(ids, ((0, 0), (0, 2)), constant_values=8)
    np.testing.assert_allclose(alpha_expansion(queries, database, *more, alpha), want, atol=1e-6)
    more = np.pad(values, ((0, 0), (0, 2)), constant_values=-np.inf), np.pad(ids, ((0, 0), (0, 2)), constant_values=-1)
    np.testing.assert_allclose(alpha_expansion(queries, database, *more, alpha), want, atol=1e-6)


def test_large_alpha_trusts_none_but_copies(found):
    queries, database, values, ids = found
    kept = alpha_expansion(queries, database, np.minimum(values, 0.98), ids, 500.0)
    np.testing.assert_allclose(kept, [unit(q) for q in queries], atol=1e-3)


def test_database():
    database = RNG.normal(size=(9, 3)) * RNG.uniform(1, 9, size=(9, 1))
    units = np.array([unit(x) for x in database])
    ids = np.argsort(-units @ units.T, axis=1)[:, :4]
    want = []
    for row, near in enumerate(ids):
        others = [i for i in near if i != row]
        want.append(unit(units[row] + sum((1 - (r + 1) / 4) * units[i] for r, i in enumerate(others))))
    np.testing.assert_allclose(augmented_database(database, ids), want, atol=1e-6)


def test_copies_may_push_a_row_out_of_its_own_list():
    # Row 2 found rows 0 and 1 in its place, all three the same: the second has weight 1 - 2/2.
    database = np.array([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    got = augmented_database(database, [[0, 1], [0, 1], [0, 1], [3, 2]])
    np.testing.assert_allclose(got, [[1, 0], [1, 0], [1, 0], unit(np.array([0.5, 1.0]))], atol=1e-6)


def test_zero_vectors_stay():
    assert average_expansion([[0.0, 0.0]], [[1.0, 0.0]], [[-1]]).tolist() == [[0.0, 0.0]]


def test_bad_input_is_named(found):
    queries, database, values, ids = found
    for call, message in [
        (lambda: average_expansion(queries, database, ids + 9), "ids from 9 to"),
        (lambda: average_expansion(queries, database[:, :2], ids), "database has shape .* with D=3"),
        (lambda: alpha_expansion(queries, database, values, ids, 0.0), "alpha 0.0; expected above 0"),
        (lambda: alpha_expansion(queries, database, values[:, :2], ids), "shape"),
        (lambda: augmented_database(database, ids), "ids has shape .* with N=9"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()
