"""Losses against proxies, with float64 loops; identities between them, padding, classes that the batch lacks."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from partrep.losses import centre_spread, normalised_softmax, proxy_anchor, proxy_nca, soft_triple

RNG = np.random.default_rng(4)
X, P, CENTRES = RNG.normal(size=(5, 3)), RNG.normal(size=(4, 3)), RNG.normal(size=(4, 2, 3))
LABELS = np.array([0, 3, 2, 2, 0])  # class 1 is missing
LOSSES = {"proxy_nca": (proxy_nca, P), "proxy_anchor": (proxy_anchor, P), "soft_triple": (soft_triple, CENTRES)}


def cosine(x, y):
    return x @ y / np.linalg.norm(x) / np.linalg.norm(y)


def nca_oracle(z, scale):
    losses = []
    for x, y in zip(z[:5], LABELS):
        distances = [scale * np.sum((x / np.linalg.norm(x) - p / np.linalg.norm(p)) ** 2) for p in z[5:]]
        others = [np.exp(-d) for c, d in enumerate(distances) if c != y]
        losses.append(-np.log(np.exp(-distances[y]) / np.sum(others)))
    return np.array(losses)


def anchor_oracle(z, margin, scale):
    pull, push = [], []
    for c, p in enumerate(z[5:]):
        own = [np.exp(-scale * (cosine(x, p) - margin)) for x, y in zip(z[:5], LABELS) if y == c]
        other = [np.exp(scale * (cosine(x, p) + margin)) for x, y in zip(z[:5], LABELS) if y != c]
        push.append(np.log(1 + sum(other)))
        if own:
            pull.append(np.log(1 + sum(own)))
    return np.mean(pull) + np.mean(push)


def triple_oracle(z, margin, scale, temperature):
    losses = []
    for x, y in zip(z[:5], LABELS):
        logits = []
        for c, centres in enumerate(z[5:].reshape(4, 2, 3)):
            cosines = np.array([cosine(x, w) for w in centres])
            weights = np.exp(cosines / temperature) / np.exp(cosines / temperature).sum()
            logits.append(scale * (weights @ cosines - margin * (c == y)))
        losses.append(np.log(np.exp(logits).sum()) - logits[y])
    return np.array(losses)


def spread_oracle(w):
    total = 0.0
    for centres in w:
        unit = [v / np.linalg.norm(v) for v in centres]
        total += sum(np.linalg.norm(unit[k] - unit[m]) for k in range(len(unit)) for m in range(k))
    return total / (w.shape[0] * w.shape[1] * (w.shape[1] - 1))


@pytest.mark.parametrize(
    "loss, oracle, proxies",
    [
        (functools.partial(proxy_nca, scale=3.0), functools.partial(nca_oracle, scale=3), P),
        (functools.partial(proxy_anchor, scale=8.0), functools.partial(anchor_oracle, margin=0.1, scale=8), P),
        (
            functools.partial(soft_triple, margin=0.2, scale=7.0, temperature=0.3),
            functools.partial(triple_oracle, margin=0.2, scale=7, temperature=0.3),
            CENTRES,
        ),
    ],
    ids=LOSSES,
)
def test_against_oracle(loss, oracle, proxies, matches):
    both = np.concatenate([X, proxies.reshape(-1, 3)])  # gradients to embeddings and proxies at once
    matches(lambda z: loss(z[:5], z[5:].reshape(proxies.shape), jnp.array(LABELS)), oracle, both)


def test_centre_spread_against_oracle(matches):
    matches(centre_spread, spread_oracle, RNG.normal(size=(2, 3, 3)))


def test_centre_spread_of_opposite_merged_and_single_centres():
    assert float(centre_spread(jnp.array([[[1.0, 0.0], [-3.0, 0.0]]]))) == 1
    merged = jnp.ones((2, 3, 4)) * jnp.array([1.0, 2.0, 3.0])[:, None]
    value, gradient = jax.value_and_grad(centre_spread)(merged)
    assert float(value) == 0 and not np.asarray(gradient).any()
    assert float(centre_spread(jnp.ones((2, 1, 4)))) == 0


def test_proxy_nca_with_the_own_proxy_in_the_sum_is_the_normalised_softmax():
    """As the docstring says; the sum over all is that over the others and the own: log(1 + exp(l))."""
    given = jnp.float32(X), jnp.float32(P), LABELS
    with_own = np.log1p(np.exp(proxy_nca(*given, scale=9.0)))
    np.testing.assert_allclose(with_own, normalised_softmax(*given, temperature=1 / 18), rtol=1e-4, atol=1e-6)


def test_soft_triple_with_one_centre_is_the_normalised_softmax():
    given = jnp.float32(X), jnp.float32(CENTRES[:, :1]), LABELS
    plain = normalised_softmax(given[0], given[1][:, 0], LABELS, temperature=1 / 20)
    np.testing.assert_allclose(soft_triple(*given, margin=0.0), plain, rtol=1e-5)


def test_proxy_anchor_by_hand():
    """One example on its proxy: it pulls log(1 + e^-1); of two proxies only the other pushes, log(1 + e^0)."""
    value = proxy_anchor(jnp.array([[5.0, 0.0]]), jnp.eye(2), jnp.array([0]), margin=0.0, scale=1.0)
    assert float(value) == pytest.approx(np.log(1 + np.exp(-1)) + np.log(2) / 2, rel=1e-6)


@pytest.mark.parametrize("name", LOSSES)
def test_padding_equals_slicing_and_gets_no_gradient(name):
    loss, proxies = LOSSES[name]
    where = np.array([True, False, True, True, False])
    x, y = np.where(where[:, None], X, np.nan), np.where(where, LABELS, [0, 1, 0, 0, 99])
    gradient, value = jax.jit(
        jax.grad(lambda a: (lambda v: (v.sum(), v))(loss(a, jnp.float32(proxies), y, where=where)), has_aux=True)
    )(jnp.float32(x))
    np.testing.assert_array_equal(gradient[~where], 0.0)
    sliced = loss(jnp.float32(X[where]), jnp.float32(proxies), LABELS[where])
    np.testing.assert_allclose(value[where] if value.ndim else value, sliced, rtol=1e-5)
    if value.ndim:
        np.testing.assert_array_equal(value[~where], 0.0)
    nothing = loss(jnp.float32(X), jnp.float32(proxies), y, where=np.zeros(5, bool))
    assert not np.asarray(nothing).any()


@pytest.mark.parametrize("name", LOSSES)
def test_corners_are_finite(name):
    """Zero vectors, embeddings on and opposite to a proxy, an unknown label, scales of 1e-4 and 1e4, one class."""
    loss, proxies = LOSSES[name]
    flat = proxies.reshape(-1, 3)[:3]
    x = jnp.float32(np.concatenate([0 * X[:1], flat, -flat, X[:1]]))
    w = jnp.float32(proxies).at[3].set(0.0)
    labels = jnp.array([3, 0, 1, 2, 0, 1, 2, -1])
    both = jax.jit(jax.value_and_grad(lambda a, s: loss(*a, labels, scale=s).sum()))
    for s in (1e-4, 1.0, 1e4):
        value, gradients = both((x, w), s)
        assert np.isfinite(float(value)) and all(np.isfinite(g).all() for g in gradients)
        np.testing.assert_array_equal(gradients[0][np.array([0, 7])], 0.0)  # the zero one, and the unknown one
        np.testing.assert_array_equal(gradients[1][3], 0.0)
    single = loss(x, w[:1], jnp.zeros(8, int))
    assert np.isfinite(single).all()
    if name != "proxy_anchor":  # which still pulls
        assert not np.asarray(single).any()


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: proxy_nca(X, P[:, :2], LABELS), "proxies has shape"),
        (lambda: proxy_nca(X, P, LABELS, scale=0.0), "proxy_nca: scale is 0.0; expected above 0"),
        (lambda: proxy_anchor(X, P, LABELS, where=np.ones(4, bool)), "where has shape"),
        (lambda: soft_triple(X, P, LABELS), r"centres has shape \(4, 3\); expected \[C,M,E\]"),
        (lambda: soft_triple(X, CENTRES, LABELS, margin=-1.0), "margin is -1.0"),
        (lambda: centre_spread(P), "centres has shape"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
