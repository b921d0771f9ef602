"""Disentanglement scores: by hand, against SciPy and scikit-learn, on codes whose score is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import entropy
from sklearn.metrics import mutual_info_score

from partrep import UserError
from partrep.metrics import disentanglement as d


def grid(levels: tuple[int, ...], copies: int = 1) -> np.ndarray:
    """Every combination of the levels once (or `copies` times), [n,F]."""
    axes = np.meshgrid(*(np.arange(level) for level in levels), indexing="ij")
    return np.tile(np.stack(axes, axis=-1).reshape(-1, len(levels)), (copies, 1))


def rotation(size: int, seed: int = 0) -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(size, size)))[0]


def random_codes(n: int = 1500, width: int = 6, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    return generator.normal(size=(n, width)), generator.integers(4, size=(n, 3))


def test_mutual_information_by_hand():
    """Bins 0 and 1 against labels: counts [[2, 1], [0, 1]] of 4."""
    information = d.mutual_information([[0.0], [0.1], [0.2], [1.0]], [[0], [0], [1], [1]], bins=2)
    expected = 0.5 * np.log(0.5 / (0.75 * 0.5)) + 0.25 * np.log(0.25 / (0.75 * 0.5)) + 0.25 * np.log(0.25 / (0.25 * 0.5))
    assert information == pytest.approx(np.array([[expected]]), abs=1e-12)


def test_mutual_information_equals_scikit_learn_on_its_bins():
    codes, factors = random_codes(n=400)
    own = d.mutual_information(codes, factors)
    for j, code in enumerate(codes.T):
        edges = np.histogram(code, 20)[1]
        for f, factor in enumerate(factors.T):
            assert own[j, f] == pytest.approx(mutual_info_score(np.digitize(code, edges[:-1]), factor), abs=1e-10)


def test_gap_by_hand():
    """I of the first code is log 2 with the factor, of the second 0.2158 (as above); H = log 2."""
    codes = [[0, 0.0], [0, 0.1], [1, 0.2], [1, 1.0]]
    second = 0.5 * np.log(4 / 3) + 0.25 * np.log(2 / 3) + 0.25 * np.log(2)
    expected = (np.log(2) - second) / np.log(2)
    assert d.mutual_information_gap(codes, [[0], [0], [1], [1]], bins=2) == pytest.approx(expected)


@pytest.mark.parametrize("levels", [(2, 3), (20, 5), (7, 11, 3)])
def test_identity_on_the_full_grid_has_gap_and_modularity_one(levels):
    factors = grid(levels)
    codes = factors * np.arange(1.0, len(levels) + 1) - 3.0
    assert d.mutual_information_gap(codes, factors) == pytest.approx(1.0)
    assert d.modularity(codes, factors) == pytest.approx(1.0)


def test_more_levels_than_bins_lose_gap():
    factors = grid((41, 3))
    assert 0.5 < d.mutual_information_gap(factors, factors) < 0.98
    assert d.mutual_information_gap(factors, factors, bins=41) == pytest.approx(1.0)


def test_redundant_codes_have_no_gap_and_full_modularity():
    factors = grid((5, 4))
    twice = np.concatenate([factors, -2.0 * factors], axis=1)
    assert d.mutual_information_gap(twice, factors) == pytest.approx(0.0, abs=1e-12)
    assert d.modularity(twice, factors) == pytest.approx(1.0)


def test_constant_codes_score_nothing():
    factors = grid((5, 4))
    codes = np.concatenate([factors, np.full((20, 2), 0.3)], axis=1)
    assert d.mutual_information(codes, factors)[2:] == pytest.approx(np.zeros((2, 2)), abs=1e-12)
    assert d.modularity(codes, factors) == pytest.approx(0.5)
    assert d.mutual_information_gap(codes[:, 2:], factors) == pytest.approx(0.0, abs=1e-12)


def test_rotation_lowers_every_score_and_random_codes_score_about_nothing():
    factors = grid((6, 6, 6), copies=4)
    noise = 0.3 * np.random.default_rng(0).normal(size=factors.shape)
    pure = d.dci(factors + noise, factors, factors + noise[::-1], factors)
    mixed = d.dci((factors + noise) @ rotation(3), factors, (factors + noise[::-1]) @ rotation(3), factors)
    assert pure.disentanglement > 0.8 and mixed.disentanglement < pure.disentanglement - 0.4
    assert pure.completeness > 0.8 and mixed.completeness < pure.completeness - 0.4
    gaps = [d.mutual_information_gap(codes, factors) for codes in (factors + noise, (factors + noise) @ rotation(3))]
    assert gaps[0] > 0.6 and gaps[1] < gaps[0] - 0.3
    codes, labels = random_codes()
    assert d.mutual_information_gap(codes, labels) < 0.01
    chance = d.dci(codes[:1000], labels[:1000], codes[1000:], labels[1000:])
    assert chance.disentanglement < 0.03 and chance.completeness < 0.03
    assert chance.informativeness == pytest.approx(0.25, abs=0.05)


def test_identity_has_full_dci_sap_and_vote():
    factors = grid((2, 2, 2), copies=60)
    codes = 2.0 * factors - 1.0
    score = d.dci(codes, factors, codes[:8], factors[:8])
    assert score[:3] == pytest.approx((1.0, 1.0, 1.0))
    assert score.importance == pytest.approx(np.eye(3))
    assert d.sap(codes, factors, codes[:8], factors[:8]) == pytest.approx(0.5)
    vote = d.factor_vae_score(d.from_arrays(codes, factors), factors=3, votes=(200, 200))
    assert vote == d.FactorVAEScore(1.0, 1.0, 3)


def test_many_levels_too():
    factors = grid((20, 12), copies=12)
    score = d.dci(factors, factors, factors, factors)
    assert min(score[:3]) > 0.99


def test_permuting_codes_changes_no_score():
    factors = grid((4, 4), copies=20)
    generator = np.random.default_rng(0)
    codes = np.concatenate([factors + generator.normal(size=factors.shape), generator.normal(size=factors.shape)], 1)
    order = np.array([2, 0, 3, 1])
    assert d.mutual_information_gap(codes[:, order], factors) == pytest.approx(d.mutual_information_gap(codes, factors))
    assert d.modularity(codes[:, order], factors) == pytest.approx(d.modularity(codes, factors))
    assert d.sap(codes[:, order], factors, codes, factors) != d.sap(codes, factors, codes, factors)
    assert d.sap(codes[:, order], factors, codes[:, order], factors) == d.sap(codes, factors, codes, factors)
    plain, turned = (d.dci(c, factors, c, factors) for c in (codes, codes[:, order]))
    # The trees draw other thresholds, so equal up to their randomness.
    assert turned.importance == pytest.approx(plain.importance[order], abs=0.05)
    assert turned.disentanglement == pytest.approx(plain.disentanglement, abs=0.05)


def test_weighted_entropies_equal_scipy():
    importance = np.random.default_rng(2).random((5, 3)) ** 3
    per_code = 1 - entropy(importance.T, base=3)
    expected = (per_code * importance.sum(1) / importance.sum()).sum()
    assert d._concentration(importance) == pytest.approx(expected)
    unused = np.concatenate([importance, np.zeros((2, 3))])
    assert d._concentration(unused) == pytest.approx(expected)
    assert d._concentration(np.zeros((2, 3))) == 0.0


def test_by_hand_completeness_counts_all_codes():
    """One factor half in each of two of four codes: 1 - log 2 / log 4 = 1/2; the other in one: 1."""
    importance = np.array([[0.5, 0], [0.5, 0], [0, 1], [0, 0]])
    assert d._concentration(importance) == pytest.approx(1.0)
    assert d._concentration(importance.T) == pytest.approx(0.75)


def test_part_importance_is_the_sum_over_its_entries():
    factors = grid((4, 4), copies=20)
    generator = np.random.default_rng(3)
    codes = factors[:, :, None] + 0.5 * generator.normal(size=(*factors.shape, 5))
    by_part = d.part_dci(codes, factors, codes, factors, seed=7)
    by_entry = d.dci(codes.reshape(len(codes), 10), factors, codes.reshape(len(codes), 10), factors, seed=7)
    assert by_part.importance == pytest.approx(by_entry.importance.reshape(2, 5, 2).sum(axis=1))
    assert by_part.importance.sum(axis=0) == pytest.approx([1.0, 1.0])
    assert by_part.disentanglement > 0.8
    # Ten entries that share a factor between five are incomplete one by one, complete by part.
    assert by_part.completeness > by_entry.completeness + 0.1
    # Entries dealt out to both parts: neither part is about one factor.
    mixed = codes.transpose(0, 2, 1).reshape(len(codes), 2, 5)
    assert d.part_dci(mixed, factors, mixed, factors).disentanglement < 0.2


def test_the_same_seed_gives_the_same_scores():
    codes, factors = random_codes(n=300)
    first, second = (d.dci(codes, factors, codes, factors, seed=4) for _ in range(2))
    assert np.array_equal(first.importance, second.importance)
    votes = [d.factor_vae_score(d.from_arrays(codes, factors), 3, seed, (60, 60)) for seed in (5, 5)]
    assert votes[0] == votes[1]


def test_sap_of_two_informative_codes_is_the_difference_of_their_accuracies():
    """The second code is the first with a quarter of the labels turned: 1 - 3/4."""
    factor = np.tile([[0], [1], [0], [1], [0], [1], [0], [1]], (20, 1))
    sign = 2.0 * factor - 1.0
    turned = sign * np.tile([[1], [1], [1], [1], [1], [1], [-1], [-1]], (20, 1))
    codes = np.concatenate([sign, turned, np.zeros_like(sign)], axis=1)
    assert d.sap(codes, factor, codes, factor) == pytest.approx(0.25)


def test_votes_leave_out_and_count_collapsed_codes():
    factors = grid((5, 5), copies=3)
    codes = np.concatenate([np.full((75, 1), 0.2), factors, 1e-3 * factors], axis=1)
    score = d.factor_vae_score(d.from_arrays(codes, factors), 2, votes=(100, 100))
    assert score == d.FactorVAEScore(1.0, 1.0, 2)
    nothing = d.factor_vae_score(d.from_arrays(1e-3 * factors, factors), 2, votes=(10, 10))
    assert nothing == d.FactorVAEScore(0.0, 0.0, 0)


def test_votes_of_random_codes_are_at_chance_and_of_one_code_exactly_the_share():
    codes, factors = random_codes()
    score = d.factor_vae_score(d.from_arrays(codes, factors), 3, votes=(600, 600))
    assert score.score == pytest.approx(1 / 3, abs=0.08)


def test_votes_divide_by_the_global_variance():
    """Without it the code of small scale would win every vote."""
    factors = grid((6, 6), copies=3)
    noise = 0.3 * np.random.default_rng(0).normal(size=factors.shape)
    codes = (factors + noise) * np.array([1.0, 100.0])
    assert d.factor_vae_score(d.from_arrays(codes, factors), 2, votes=(100, 100)).score == 1.0


def test_votes_from_a_generator_of_images():
    def sample(factor, count, generator):
        drawn = generator.normal(size=(count, 2))
        if factor is not None:
            drawn[:, factor] = drawn[0, factor]
        return drawn[:, ::-1]

    assert d.factor_vae_score(sample, 2, votes=(50, 50), variance_from=500) == d.FactorVAEScore(1.0, 1.0, 2)


def test_samples_of_a_table_share_the_factor_and_are_free_in_the_others():
    factors = np.random.default_rng(0).integers(3, size=(200, 2))
    sample, generator = d.from_arrays(factors, factors), np.random.default_rng(1)
    batches = [sample(1, 40, generator) for _ in range(30)]
    assert all(len(np.unique(batch[:, 1])) == 1 and len(np.unique(batch[:, 0])) == 3 for batch in batches)
    assert {batch[0, 1] for batch in batches} == {0, 1, 2}
    assert len(np.unique(sample(None, 100, generator)[:, 1])) == 3


def test_mistakes_are_named():
    codes, factors = random_codes(n=50)
    with pytest.raises(UserError, match=r"one value only of factors \[1\]"):
        d.mutual_information_gap(codes, factors * [1, 0, 1])
    with pytest.raises(UserError, match="not finite"):
        d.modularity(np.full_like(codes, np.nan), factors)
    with pytest.raises(UserError, match="found 1 codes"):
        d.sap(codes[:, :1], factors, codes[:, :1], factors)
    with pytest.raises(UserError, match="found 1 parts"):
        d.part_dci(codes[:, None], factors, codes[:, None], factors)
    with pytest.raises(UserError, match="found 1 factors"):
        d.dci(codes, factors[:, :1], codes, factors[:, :1])
    with pytest.raises(UserError, match="one image with value 9 of factor 0"):
        d.from_arrays(codes, np.concatenate([factors[:-1], [[9, 0, 1]]]))
    with pytest.raises(UserError, match="at least 2"):
        d.factor_vae_score(d.from_arrays(codes, factors), 3, batch_size=1)
    with pytest.raises(ValueError, match="test_codes has shape"):
        d.dci(codes, factors, codes[:, :2], factors)
