"""Shapley values against all orders of the players, games worked by hand, and regions of images."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from partrep import UserError
from partrep.data.birds import interventions
from partrep.explain.baselines import blur
from partrep.explain.model import Explained
from partrep.explain.shapley import (
    interaction_share,
    label_masks,
    region_shapley,
    region_values,
    shapley_map,
    shapley_values,
    subsets,
)

RANDOM = np.random.default_rng(0)
VALUES = jax.jit(shapley_values)
SHARE = jax.jit(interaction_share)


def by_orders(values, players):
    """The mean gain of each player over all orders in which they may come in."""
    gain = np.zeros((*values.shape[:-1], players))
    orders = list(itertools.permutations(range(players)))
    for order in orders:
        present = 0
        for player in order:
            gain[..., player] += values[..., present | 1 << player] - values[..., present]
            present |= 1 << player
    return gain / len(orders)


@pytest.mark.parametrize("players", [1, 2, 4])
def test_against_all_orders(players):
    values = RANDOM.normal(size=(3, 2, 2**players))
    got = VALUES(values)
    np.testing.assert_allclose(got, by_orders(values, players), atol=1e-5)
    np.testing.assert_allclose(got.sum(-1), values[..., -1] - values[..., 0], atol=1e-5)


def test_rows_are_in_the_order_of_the_interventions_on_birds():
    np.testing.assert_array_equal(subsets(6), interventions.subsets())


def test_an_additive_game_gives_the_addends_whatever_nobody_is_worth():
    addends = RANDOM.normal(size=10)
    got = VALUES(1000.0 + subsets(10) @ addends)
    np.testing.assert_allclose(got, addends, atol=1e-3)
    np.testing.assert_allclose(VALUES(subsets(10) @ addends), addends, atol=1e-5)


def test_dummies_get_their_own_worth_and_equals_the_same():
    member = subsets(3).astype(float)
    # Players 0 and 1 are worth 6 together and nothing alone; player 2 adds 5 to anyone.
    np.testing.assert_allclose(VALUES(6 * member[:, 0] * member[:, 1] + 5 * member[:, 2]), [3.0, 3.0, 5.0], rtol=1e-6)


def test_two_players_by_hand():
    # v({0}) = 1, v({1}) = 3, v({0, 1}) = 10: the surplus of 6 is halved.
    np.testing.assert_allclose(VALUES(jnp.array([0.0, 1.0, 3.0, 10.0])), [4.0, 6.0])


@pytest.mark.parametrize("count", [0, 1, 3, 6])
def test_other_numbers_of_values_are_refused(count):
    for function in (shapley_values, interaction_share):
        with pytest.raises(ValueError, match=rf"values has shape \(2, {count}\); expected a last axis of 2, 4, 8"):
            function(np.zeros((2, count)))


def test_interaction_share_against_least_squares():
    values = RANDOM.normal(size=(5, 16))
    design = np.c_[np.ones(16), subsets(4)]
    rest = values.T - design @ np.linalg.lstsq(design, values.T, rcond=None)[0]
    np.testing.assert_allclose(SHARE(values), rest.var(0) / values.var(1), rtol=1e-4)


def test_interaction_share_of_games_by_hand():
    games = [[0, 1, 1, 0], [0, 1, 3, 4], [0, 0, 0, 1], [7, 7, 7, 7]]  # exclusive or, sum, and, constant
    np.testing.assert_allclose(SHARE(jnp.array(games, jnp.float32)), [1.0, 0.0, 1 / 3, 0.0], atol=1e-6)
    assert float(SHARE(np.float32(0.1) + 1e-9 * RANDOM.normal(size=4).astype(np.float32))) == 0


IMAGES = RANDOM.uniform(size=(2, 4, 5, 3)).astype(np.float32)
WEIGHTS = RANDOM.normal(size=(4, 5, 3, 3)).astype(np.float32)
LABELS = RANDOM.integers(-1, 3, size=(2, 4, 5))
TARGET = np.array([2, 0])
CURVED = Explained(lambda x: x, lambda z: jnp.tanh(jnp.einsum("bhwc,hwck->bk", z, WEIGHTS)))


def curved(images):
    return np.tanh(np.einsum("bhwc,hwck->bk", images, WEIGHTS.astype(np.float64)))[[0, 1], TARGET]


@pytest.mark.parametrize("kind", ["mean colour", "blurred"])
def test_regions_against_all_orders(kind):
    baseline = jax.jit(lambda x: blur(x, 2.0))(IMAGES) if kind == "blurred" else None
    fill = IMAGES.mean((1, 2), keepdims=True) if baseline is None else baseline
    values = np.zeros((2, 8))
    for row in range(8):
        gone = np.isin(LABELS, [r for r in range(3) if not row >> r & 1])
        values[:, row] = curved(np.where(gone[..., None], fill, IMAGES).astype(np.float64))


    @jax.jit
    def explain(x, c, labels):
        rest = (label_masks(labels, 3), baseline)
        return region_values(CURVED, x, c, *rest, block=3), region_shapley(CURVED, x, c, *rest)

    game, got = explain(IMAGES, TARGET, LABELS)
    np.testing.assert_allclose(game, values, atol=1e-5)
    np.testing.assert_allclose(got, by_orders(values, 3), atol=1e-5)


def test_the_map_keeps_the_sum_and_is_even_within_a_region():
    explain = jax.jit(lambda x, c, m: (shapley_map(CURVED, x, c, m), region_shapley(CURVED, x, c, m)))
    maps, shares = (np.asarray(a) for a in explain(IMAGES, TARGET, LABELS[:, None] == np.arange(3)[:, None, None]))
    for b, r in np.ndindex(2, 3):
        inside = maps[b][LABELS[b] == r]
        np.testing.assert_allclose(inside, shares[b, r] / len(inside), rtol=1e-5)
    assert not maps[LABELS == -1].any()


def test_a_pixel_of_two_regions_needs_both_and_an_empty_region_is_worth_nothing():
    model = Explained(lambda x: x, lambda z: z.sum((1, 2)))
    regions = jnp.array([[[[1, 1, 0, 0]], [[0, 1, 1, 0]], [[0, 0, 0, 0]]]], bool)
    images = jnp.array([[[[1.0], [2.0], [4.0], [8.0]]]])
    got = jax.jit(lambda x, m: region_shapley(model, x, jnp.array([0]), m, 0.0))(images, regions)
    np.testing.assert_allclose(got, [[2.0, 5.0, 0.0]], atol=1e-5)


def test_too_many_regions_are_refused():
    with pytest.raises(UserError, match="found 11 regions; expected 1 to 10"):
        region_shapley(CURVED, IMAGES, TARGET, np.zeros((2, 11, 4, 5), bool))
    with pytest.raises(ValueError, match="regions has shape"):
        region_shapley(CURVED, IMAGES, TARGET, np.zeros((2, 3, 5, 4), bool))
