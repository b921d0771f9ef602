"""NMI, ARI, AMI against scikit-learn, by hand, and their properties."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as sk
from sklearn.metrics.cluster import expected_mutual_information

from partrep import UserError
from partrep.metrics import clustering


def random_labels(seed: int, true: int = 5, predicted: int = 7, n: int = 300, noise: float = 0.5):
    generator = np.random.default_rng(seed)
    first = generator.integers(true, size=n)
    second = np.where(generator.random(n) < noise, generator.integers(predicted, size=n), first)
    return first, second


@pytest.mark.parametrize("seed,n,noise", [(0, 300, 0.5), (1, 12, 0.2), (2, 5000, 1.0), (3, 60, 0.0)])
def test_equal_to_scikit_learn(seed, n, noise):
    first, second = random_labels(seed, n=n, noise=noise)
    table = clustering.contingency_table(first, second, (5, 7))
    scores = clustering.clustering_scores(table)
    assert scores["nmi"] == pytest.approx(sk.normalized_mutual_info_score(first, second), abs=1e-10)
    assert scores["ari"] == pytest.approx(sk.adjusted_rand_score(first, second), abs=1e-10)
    assert scores["ami"] == pytest.approx(sk.adjusted_mutual_info_score(first, second), abs=1e-10)


@pytest.mark.parametrize(
    "first,second", [([0, 0, 0], [0, 1, 2]), ([0, 1, 2], [0, 0, 0]), ([0, 0], [1, 1]), ([0, 1, 2], [2, 1, 0])]
)
def test_degenerate_labels_follow_scikit_learn(first, second):
    scores = clustering.clustering_scores(clustering.contingency_table(first, second, (3, 3)))
    assert scores["nmi"] == pytest.approx(sk.normalized_mutual_info_score(first, second))
    assert scores["ari"] == pytest.approx(sk.adjusted_rand_score(first, second))
    assert scores["ami"] == pytest.approx(sk.adjusted_mutual_info_score(first, second))


@pytest.mark.parametrize("largest", [30, 2_000, 30_000])
def test_expected_information_by_sum_and_by_series(largest):
    table = np.random.default_rng(3).integers(largest // 20, largest, size=(4, 5))
    own = clustering._expected_mutual_information(table.sum(1).astype(float), table.sum(0).astype(float))
    assert own == pytest.approx(expected_mutual_information(table, int(table.sum())), rel=1e-6)


def test_expected_information_of_uneven_labels():
    """Some cells by the sum, some by the series."""
    rows, columns = np.array([30_000.0, 900.0, 5.0]), np.array([25_000.0, 5_900.0, 5.0])
    table = np.round(np.outer(rows, columns) / rows.sum()).astype(int)
    own = clustering._expected_mutual_information(table.sum(1).astype(float), table.sum(0).astype(float))
    assert own == pytest.approx(expected_mutual_information(table, int(table.sum())), rel=1e-6)


@pytest.mark.parametrize("n", [2, 3, 10, 100])
def test_identical_partitions_have_an_ami_of_one_and_singletons_are_no_exception(n):
    assert clustering.ami(np.eye(n)) == 1.0
    assert clustering.ami(np.eye(n)[::-1] * 7) == 1.0
    assert clustering.ami(np.pad(np.eye(n), 1)) == 1.0
    singles = np.arange(n)
    assert clustering.ami(np.eye(n)) == pytest.approx(sk.adjusted_mutual_info_score(singles, singles[::-1]))


def test_nearly_identical_partitions_stay_below_one():
    """All singletons but one pair, which the two sides join differently or one side alone."""
    first = np.arange(40)
    for second, other in ((np.maximum(first, 1), np.minimum(first, 38)), (first, np.minimum(first, 38))):
        found = clustering.ami(clustering.contingency_table(second, other, (40, 40)))
        assert found == pytest.approx(sk.adjusted_mutual_info_score(second, other), abs=1e-10) and found < 1


def test_the_term_of_cells_with_the_same_sums_is_worked_out_once(monkeypatch):
    seen, whole = [], clustering._cell_information
    monkeypatch.setattr(clustering, "_cell_information", lambda *cell: seen.append(cell) or whole(*cell))
    rows, columns = np.array([2.0, 5.0, 2.0, 0.0, 2.0, 5.0]), np.array([4.0, 4.0, 4.0, 3.0, 1.0])
    own = clustering._expected_mutual_information(rows, columns)
    assert len(seen) == len(set(seen)) == 2 * 3
    every = sum(whole(a, b, 16.0) for a in rows[rows > 0] for b in columns) / 16
    assert own == pytest.approx(every, abs=1e-12)


def test_by_hand():
    """U = (1,1,2,2), V = (1,1,1,2): I = 0.2158, H(U) = 0.6931, H(V) = 0.5623; pairs 1, 2, 3 of 6."""
    table = [[2, 0], [1, 1]]
    information = 0.5 * np.log(2 / 1.5) + 0.25 * np.log(1 / 1.5) + 0.25 * np.log(1 / 0.5)
    entropies = np.log(2) + 0.75 * np.log(4 / 3) + 0.25 * np.log(4)
    assert clustering.nmi(table) == pytest.approx(2 * information / entropies)
    assert clustering.ari(table) == pytest.approx((1 - 1) / (2.5 - 1))


def test_truth_scores_one_random_near_zero_constant_zero():
    generator = np.random.default_rng(4)
    truth = generator.integers(6, size=20_000)
    perfect = clustering.clustering_scores(clustering.contingency_table(truth, (truth + 2) % 6, (6, 6)))
    assert all(value == pytest.approx(1.0) for value in perfect.values())
    guess = clustering.clustering_scores(
        clustering.contingency_table(truth, generator.integers(6, size=20_000), (6, 6))
    )
    assert abs(guess["ari"]) < 0.002 and abs(guess["ami"]) < 0.002 and 0 < guess["nmi"] < 0.003
    constant = clustering.clustering_scores(clustering.contingency_table(truth, truth * 0, (6, 6)))
    assert set(constant.values()) == {0.0}


def test_random_labels_over_few_points_score_zero_on_average_by_ami_not_by_nmi():
    generator = np.random.default_rng(5)
    scores = [
        clustering.clustering_scores(
            clustering.contingency_table(
                generator.integers(3, size=40), generator.integers(10, size=40), (3, 10)
            )
        )
        for _ in range(200)
    ]
    means = {name: np.mean([s[name] for s in scores]) for name in scores[0]}
    assert abs(means["ami"]) < 0.02 and abs(means["ari"]) < 0.02 and means["nmi"] > 0.1


def test_invariant_to_the_numbering_of_labels_and_to_unused_ones():
    first, second = random_labels(6)
    scores = clustering.clustering_scores(clustering.contingency_table(first, second, (5, 7)))
    order = np.random.default_rng(0).permutation(7)
    again = clustering.clustering_scores(clustering.contingency_table(4 - first, order[second], (9, 11)))
    assert again == pytest.approx(scores, rel=1e-12)


def test_masking_equals_slicing_and_blocks_add_up():
    first, second = random_labels(7)
    where = np.random.default_rng(1).random(300) < 0.5
    table = clustering.contingency_table(first, second, (5, 7), where)
    assert (table == clustering.contingency_table(first[where], second[where], (5, 7))).all()
    cuts = [slice(i, i + 70) for i in range(0, 300, 70)]
    blocks = [clustering.contingency_table(first[c], second[c], (5, 7), where[c]) for c in cuts]
    assert (sum(blocks) == table).all()


@pytest.mark.parametrize("dtype", [np.float64, np.float16, np.uint64, np.uint8, bool])
def test_whole_numbers_of_any_type_are_labels(dtype):
    first, second = np.array([0, 1, 1, 0], dtype), np.array([1, 1, 0, 1], dtype)
    table = clustering.contingency_table(first, second, (2, 2))
    assert table.tolist() == [[0, 2], [1, 1]] and table.dtype == np.int64


def test_what_does_not_count_may_be_no_number():
    table = clustering.contingency_table([0.0, np.nan], [1.0, 0.5], (2, 2), where=[True, False])
    assert table.tolist() == [[0, 1], [0, 0]]


@pytest.mark.parametrize(
    "first, second, where, message",
    [
        ([0.0, np.nan], [0, 0], None, "true labels with nan among them; expected integers"),
        ([0, 0], [0.0, 0.5], None, "predicted labels with 0.5 among them; expected integers"),
        ([0.0, np.inf], [0, 0], None, "true labels with inf"),
        (["a", "b"], [0, 0], None, "true labels of type <U1; expected integers"),
        ([0, 1], [0, 0], [True], r"shape \(1,\); expected \(2,\)"),
        ([[0, 1]], [[0, 0]], [True], r"shape \(1,\); expected \(1, 2\)"),
    ],
)
def test_labels_that_are_not_counted(first, second, where, message):
    with pytest.raises(UserError, match=message):
        clustering.contingency_table(first, second, (2, 2), where)


@pytest.mark.parametrize("score", [clustering.nmi, clustering.ari, clustering.ami])
@pytest.mark.parametrize("count, found", [(-1, "from -1 to 5"), (np.nan, "from nan"), (np.inf, "to inf")])
def test_counts_that_are_none(score, count, found):
    with pytest.raises(UserError, match=f"{found}.*; expected finite ones of 0 or more"):
        score([[5, count], [2, 5]])


def test_refusals():
    with pytest.raises(UserError, match="0 to 1"):
        clustering.contingency_table([0, 2], [0, 0], (2, 2))
    with pytest.raises(UserError, match="shapes"):
        clustering.contingency_table([0, 1], [0], (2, 2))
    with pytest.raises(UserError, match="expected some"):
        clustering.nmi(np.zeros((2, 2)))
