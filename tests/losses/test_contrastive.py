"""Contrastive losses against float64 loops over pairs, at hand-worked batches and extreme temperatures."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from partrep.losses import aligned_cosine, contrastive, euclidean_similarity, nt_xent, supervised_contrastive

pytestmark = pytest.mark.usefixtures("hasty")

RNG = np.random.default_rng(12)
X, LABELS = RNG.normal(size=(7, 3)), np.array([0, 1, 0, 2, 1, 0, 3])


def contrastive_loop(x, margin, average):
    pulls, pushes = [], []
    for i, j in np.ndindex(len(x), len(x)):
        distance = np.linalg.norm(x[i] - x[j])
        if i != j and LABELS[i] == LABELS[j]:
            pulls.append(distance**2 / 2)
        elif i != j:
            pushes.append(max(0.0, margin - distance) ** 2 / 2)
    if average == "all":
        return np.mean(pulls + pushes)
    return np.mean(pulls) + np.mean([p for p in pushes if p > 0])


def supervised_contrastive_loop(s, labels, temperature):
    costs = []
    for i in range(len(s)):
        total = sum(np.exp(s[i, a] / temperature) for a in range(len(s)) if a != i)
        terms = [-np.log(np.exp(s[i, p] / temperature) / total) for p in range(len(s)) if p != i and labels[p] == labels[i]]
        costs += [np.mean(terms)] if terms else []
    return np.mean(costs)


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


@pytest.mark.parametrize("average", ["all", "nonzero"])
def test_contrastive_against_loops_on_unit_vectors_and_on_vectors_as_they_are(average, matches):
    def loss(x):
        return jnp.stack([
            contrastive(x, LABELS, 1.2, average),
            contrastive(x, LABELS, 1.9, average, similarity=euclidean_similarity),
        ])

    def oracle(x):
        return np.array([contrastive_loop(unit(x), 1.2, average), contrastive_loop(x, 1.9, average)])

    matches(loss, oracle, X)


def test_contrastive_by_hand():
    x, labels = jnp.array([[0.0], [3.0], [0.6]]), jnp.array([0, 0, 1])
    # distances 3 (positive), 0.6 and 2.4: twice 4.5 + (1 - 0.6)^2 / 2 + 0, of six ordered pairs
    both = jax.jit(lambda x: [contrastive(x, labels, 1.0, a, similarity=euclidean_similarity) for a in ("all", "nonzero")])
    np.testing.assert_allclose(both(x), [2 * (4.5 + 0.08) / 6, 4.5 + 0.08], rtol=1e-5)


def test_coinciding_negatives_cost_the_whole_margin_without_a_gradient():
    x, labels = jnp.ones((2, 3)), jnp.array([0, 1])
    value, gradient = jax.jit(jax.value_and_grad(contrastive))(x, labels)
    assert float(value) == pytest.approx(0.5 * 0.7**2, rel=1e-2)
    np.testing.assert_allclose(gradient, 0.0, atol=1e-3)


def test_supervised_contrastive_against_loops(matches):
    matches(
        lambda x: supervised_contrastive(x, LABELS, 0.3),
        lambda x: supervised_contrastive_loop(unit(x) @ unit(x).T, LABELS, 0.3),
        X,
    )


def test_supervised_contrastive_of_parts_against_loops(matches):
    parts = np.concatenate([RNG.normal(size=(5, 2, 3)), RNG.uniform(0.1, 1, (5, 2, 1))], axis=-1)
    labels = np.array([0, 1, 0, 1, 0])

    def oracle(a):
        z, m = unit(a[..., :3]), a[..., 3]
        s = [[(m[i] * m[j] * (z[i] * z[j]).sum(-1)).sum() / (m[i] * m[j]).sum() for j in range(5)] for i in range(5)]
        return supervised_contrastive_loop(np.array(s), labels, 0.3)

    matches(
        lambda a: supervised_contrastive((a[..., :3], a[..., 3]), labels, 0.3, similarity=aligned_cosine, block=2),
        oracle,
        parts,
    )


def test_one_class_of_coinciding_vectors_costs_the_logarithm_of_its_positives():
    assert float(jax.jit(supervised_contrastive)(jnp.ones((5, 2)), jnp.zeros(5, int))) == pytest.approx(np.log(4), rel=1e-6)


def test_nt_xent_against_its_formula_and_as_supervised_contrastive(matches):
    second = RNG.normal(size=(4, 3))

    def oracle(first):
        views = unit(np.concatenate([first, second]))
        s, costs = views @ views.T / 0.5, []
        for i in range(8):
            j = (i + 4) % 8
            costs.append(np.log(np.exp(s[i]).sum() - np.exp(s[i, i])) - s[i, j])
        return np.mean(costs)

    matches(lambda x: nt_xent(x, jnp.float32(second), 0.5), oracle, X[:4])
    interleaved = np.stack([X[:4], second], axis=1).reshape(8, 3)
    relation = jax.jit(supervised_contrastive)(jnp.float32(interleaved), np.arange(8) // 2, 0.5)
    np.testing.assert_allclose(relation, oracle(X[:4]), rtol=1e-5)


@pytest.mark.parametrize("block", [None, 1, 3])
@pytest.mark.parametrize("seed", range(4))
def test_copies_are_no_pairs_that_cost_something(seed, block):
    """Of seven copies and one other, all of a class, the pairs with the other alone are drawn together."""
    x, y = np.random.default_rng(seed).normal(size=(2, 128))
    found = contrastive(np.float32([*[x] * 7, y]), np.zeros(8, int), average="nonzero", block=block)
    wanted = 1 - x @ y / np.linalg.norm(x) / np.linalg.norm(y)
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


def test_nt_xent_ignores_both_views_of_a_masked_image():
    first, second = np.float32(X[:4]), np.float32(RNG.normal(size=(4, 3)))
    wanted = jax.jit(nt_xent)(first[:3], second[:3])
    first[3], second[3] = np.nan, np.nan
    masked = jax.jit(nt_xent)(first, second, where=np.arange(4) < 3)
    np.testing.assert_allclose(masked, wanted, rtol=1e-5)


@pytest.mark.parametrize("temperature", [1e-4, 1e4])
def test_extreme_temperatures_are_finite_and_right(temperature):
    value, gradient = jax.jit(jax.value_and_grad(lambda x, t: supervised_contrastive(x, LABELS, t)))(X, temperature)
    s = unit(X) @ unit(X).T
    if temperature < 1:  # the logarithm of the sum is its largest term
        np.fill_diagonal(s, -np.inf)
        rows = [i for i in range(7) if (LABELS == LABELS[i]).sum() > 1]
        positives = [[s[i, p] for p in range(7) if p != i and LABELS[p] == LABELS[i]] for i in rows]
        wanted = np.mean([s[i].max() - np.mean(p) for i, p in zip(rows, positives)]) / temperature
    else:
        wanted = np.log(6)
    np.testing.assert_allclose(value, wanted, rtol=1e-4)
    assert np.isfinite(gradient).all()


def test_mistakes_are_named():
    x, labels = jnp.ones((4, 2)), jnp.zeros(4, int)
    with pytest.raises(ValueError, match="average is 'sum'; expected one of all, nonzero"):
        contrastive(x, labels, average="sum")
    with pytest.raises(ValueError, match="temperature is 0.0; expected above 0"):
        supervised_contrastive(x, labels, 0.0)
    with pytest.raises(ValueError, match=r"nt_xent: second has shape \(3, 2\); expected \(4, 2\)"):
        nt_xent(x, x[:3])
    with pytest.raises(ValueError, match="nt_xent: first is .* expected the same arrays of both views"):
        nt_xent(x, (x, x))
    with pytest.raises(ValueError, match=r"nt_xent: first is .* of numbers; expected arrays \[B,...\]"):
        nt_xent([[1.0, 0.0]], [[1.0, 0.0]])
    with pytest.raises(ValueError, match=r"nt_xent: where has shape \(8,\); expected \[B\] with B=4"):
        nt_xent(x, x, where=jnp.ones(8, bool))
