"""OpenMax on values worked by hand, its tails against SciPy, and what no image of any class gets."""

import numpy as np
import pytest
from scipy import stats

from partrep import UserError
from partrep.evaluate.openmax import OpenMax, fit, weibull_fit

RNG = np.random.default_rng(1)


@pytest.mark.parametrize("shape, scale, count", [(0.7, 2.0, 200), (3.0, 0.01, 20), (40.0, 9e3, 20)])
def test_the_tail_is_that_of_scipy(shape, scale, count):
    values = scale * RNG.weibull(shape, count)
    wanted, _, wide = stats.weibull_min.fit(values, floc=0)
    assert weibull_fit(values) == pytest.approx((wanted, wide), rel=1e-3)
    near = np.array(weibull_fit(values)) * [[1, 1], [1.01, 1], [0.99, 1], [1, 1.01], [1, 0.99]]
    likelihoods = [stats.weibull_min.logpdf(values, *pair[:1], scale=pair[1]).sum() for pair in near]
    assert max(likelihoods) == likelihoods[0]


def test_equal_and_zero_distances_have_a_tail():
    assert weibull_fit(np.full(5, 2.0)) == pytest.approx((1e4, 2.0))
    assert np.isfinite(weibull_fit(np.zeros(4))).all()
    assert np.isfinite(weibull_fit(np.array([0.0, 0.0, 1.0]))).all()


def test_means_are_of_the_images_classified_right():
    logits = np.array([[3.0, 0.0], [5.0, 0.0], [0.0, 9.0], [0.0, 4.0], [1.0, 2.0]])
    model = fit(logits, np.array([0, 0, 0, 1, 1]), tail=2)
    np.testing.assert_allclose(model.means, [[4.0, 0.0], [0.5, 3.0]])
    assert model.scales == pytest.approx([1.0, np.sqrt(0.25 + 1)])  # all distances of a class are equal


def test_of_a_class_that_is_never_right_all_images_count():
    model = fit(np.array([[0.0, 1.0], [0.0, 3.0], [0.0, 5.0], [0.0, 7.0]]), np.array([0, 0, 1, 1]), tail=2)
    np.testing.assert_allclose(model.means, [[0.0, 2.0], [0.0, 6.0]])


def test_the_tail_is_the_largest_distances():
    logits = np.stack([10 + RNG.normal(size=300), np.zeros(300)], 1)
    logits = np.concatenate([logits, logits[:, ::-1]])
    model = fit(logits, np.repeat([0, 1], 300), tail=15)
    far = np.sort(np.abs(logits[:300, 0] - logits[:300, 0].mean()))[-15:]
    assert (model.shapes[0], model.scales[0]) == pytest.approx(weibull_fit(far))


def test_probabilities_by_hand():
    model = OpenMax(np.array([[4.0, 0.0, 0.0], [0.0, 4.0, 0.0], [0.0, 0.0, 4.0]]), np.full(3, 2.0), np.full(3, 3.0))
    x = np.array([3.0, 2.0, 1.0])
    outlying = [1 - np.exp(-((1 + 4 + 1) / 9)), 1 - np.exp(-((9 + 4 + 1) / 9)), 1 - np.exp(-((9 + 4 + 9) / 9))]
    weights = np.array([1 - outlying[0], 1 - outlying[1] / 2, 1.0])  # alpha = 2: 2/2, 1/2, 0
    revised = np.append(x * weights, sum(x * (1 - weights)))
    found = model.probabilities(x[None], alpha=2)[0]
    np.testing.assert_allclose(found, np.exp(revised) / np.exp(revised).sum(), rtol=1e-12)


def test_at_its_mean_a_class_keeps_all_and_far_from_all_it_loses_all():
    model = OpenMax(np.array([[8.0, 0.0], [0.0, 8.0]]), np.full(2, 3.0), np.ones(2))
    near, far = model.probabilities(np.array([[8.0, 0.0], [900.0, 1.0]]), alpha=1)
    np.testing.assert_allclose(near, np.exp([8, 0, 0]) / np.exp([8, 0, 0]).sum(), rtol=1e-9)
    assert far[2] == pytest.approx(1) and np.isfinite(far).all()


def test_unknown_clusters_between_the_classes_are_rejected_more_than_known_ones():
    centres = 12 * np.eye(4)
    labels = RNG.integers(0, 4, 800)
    logits = centres[labels] + RNG.normal(size=(800, 4))
    model = fit(logits[:600], labels[:600])
    unknown = 6 * RNG.uniform(size=(200, 4))
    rejected = [model.probabilities(x)[:, -1] for x in (logits[600:], unknown)]
    assert np.median(rejected[0]) < 0.01 and np.median(rejected[1]) > 0.5
    assert (model.probabilities(logits[600:]).argmax(1) == labels[600:]).mean() > 0.8


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: fit(np.eye(3), [0, 1]), r"logits \(3, 3\) with labels \(2,\)"),
        (lambda: fit(np.eye(2), [0, 1]), "1 training images of class 0; expected two"),
        (lambda: fit(np.eye(2), [0, 1], tail=1), "tail of 1"),
        (lambda: OpenMax(np.eye(2), np.ones(2), np.ones(2)).probabilities(np.ones((4, 3))), r"expected \[n,2\]"),
        (lambda: OpenMax(np.eye(2), np.ones(2), np.ones(2)).probabilities(np.ones((4, 2)), 0), "alpha 0"),
    ],
)
def test_mistakes(call, message):
    with pytest.raises(UserError, match=message):
        call()
