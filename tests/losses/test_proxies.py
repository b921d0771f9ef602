"""Losses against proxies, with float64 loops; identities between them, padding, classes that the batch lacks."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from partrep.losses import centre_spread, normalised_softmax, proxy_anchor, proxy_nca, soft_triple

pytestmark = pytest.mark.usefixtures("hasty")

RNG = np.random.default_rng(4)
X, P, CENTRES = RNG.normal(size=(5, 3)), RNG.normal(size=(4, 3)), RNG.normal(size=(4, 2, 3))
LABELS = np.array([0, 3, 2, 2, 0])  # class 1 is missing
EVERYBODY = np.ones(5, bool)
LOSSES = {
    "proxy_nca": lambda *given, s, where: proxy_nca(*given, s, where),
    "proxy_anchor": lambda *given, s, where: proxy_anchor(*given, 0.1, s, where),
    "soft_triple": lambda *given, s, where: soft_triple(*given, 0.2, s, 0.3, where),
}
PROXIES = {"proxy_nca": P, "proxy_anchor": P, "soft_triple": CENTRES}


@functools.cache
def program(name):
    """The loss and the gradients of its sum to embeddings and proxies; compiled once."""
    loss = LOSSES[name]

    def both(x, w, y, s, where):
        gradients, value = jax.grad(lambda a: (lambda v: (v.sum(), v))(loss(*a, y, s=s, where=where)), has_aux=True)((x, w))
        return value, *gradients

    compiled = jax.jit(both)
    return lambda x, w, y, s=6.0, where=EVERYBODY: compiled(jnp.float32(x), jnp.float32(w), jnp.int32(y), s, where)


def cosine(x, y):
    return x @ y / np.linalg.norm(x) / np.linalg.norm(y)


def nca_oracle(x, proxies, labels, scale):
    losses = []
    for v, y in zip(x, labels):
        distances = [scale * np.sum((v / np.linalg.norm(v) - p / np.linalg.norm(p)) ** 2) for p in proxies]
        others = [np.exp(-d) for c, d in enumerate(distances) if c != y]
        losses.append(-np.log(np.exp(-distances[y]) / np.sum(others)))
    return np.array(losses)


def anchor_oracle(x, proxies, labels, scale):
    pull, push = [], []
    for c, p in enumerate(proxies):
        own = [np.exp(-scale * (cosine(v, p) - 0.1)) for v, y in zip(x, labels) if y == c]
        other = [np.exp(scale * (cosine(v, p) + 0.1)) for v, y in zip(x, labels) if y != c]
        push.append(np.log(1 + sum(other)))
        if own:
            pull.append(np.log(1 + sum(own)))
    return np.mean(pull) + np.mean(push)


def triple_oracle(x, proxies, labels, scale):
    losses = []
    for v, y in zip(x, labels):
        logits = []
        for c, centres in enumerate(proxies):
            cosines = np.array([cosine(v, w) for w in centres])
            weights = np.exp(cosines / 0.3) / np.exp(cosines / 0.3).sum()
            logits.append(scale * (weights @ cosines - 0.2 * (c == y)))
        losses.append(np.log(np.exp(logits).sum()) - logits[y])
    return np.array(losses)


def spread_oracle(w):
    total = 0.0
    for centres in w:
        unit = [v / np.linalg.norm(v) for v in centres]
        total += sum(np.linalg.norm(unit[k] - unit[m]) for k in range(len(unit)) for m in range(k))
    return total / (w.shape[0] * w.shape[1] * (w.shape[1] - 1))


ORACLES = {"proxy_nca": nca_oracle, "proxy_anchor": anchor_oracle, "soft_triple": triple_oracle}


@pytest.mark.parametrize("name", LOSSES)
def test_against_oracle(name, matches):
    proxies = PROXIES[name]
    both = np.concatenate([X, proxies.reshape(-1, 3)])  # gradients to embeddings and proxies at once

    def split(z):
        return z[:5], z[5:].reshape(proxies.shape)

    loss = functools.partial(LOSSES[name], s=6.0, where=None)
    matches(lambda z: loss(*split(z), jnp.array(LABELS)), lambda z: ORACLES[name](*split(z), LABELS, 6), both)


def test_centre_spread_against_oracle(matches):
    matches(centre_spread, spread_oracle, RNG.normal(size=(2, 3, 3)))


def test_centre_spread_of_opposite_merged_and_single_centres():
    both = jax.jit(jax.value_and_grad(centre_spread))
    assert float(both(jnp.array([[[1.0, 0.0], [-3.0, 0.0]]]))[0]) == 1
    value, gradient = both(jnp.array([[[1.0, 2.0], [3.0, 6.0]]]))
    assert float(value) == 0 and not np.asarray(gradient).any()
    assert float(jax.jit(centre_spread)(jnp.ones((2, 1, 4)))) == 0


def test_proxy_nca_with_the_own_proxy_in_the_sum_is_the_normalised_softmax():
    """As the docstring says; the sum over all is that over the others and the own: log(1 + exp(l))."""
    softmax = jax.jit(lambda: normalised_softmax(jnp.float32(X), jnp.float32(P), LABELS, temperature=1 / 18))()
    np.testing.assert_allclose(np.log1p(np.exp(program("proxy_nca")(X, P, LABELS, 9.0)[0])), softmax, rtol=1e-4, atol=1e-6)


def test_soft_triple_with_equal_centres_is_that_with_one():
    twice = np.repeat(P[:, None], 2, axis=1)
    once = jax.jit(lambda: soft_triple(jnp.float32(X), jnp.float32(P[:, None]), LABELS, 0.2, 6.0, 0.3))()
    np.testing.assert_allclose(program("soft_triple")(X, twice, LABELS)[0], once, rtol=1e-5)


@pytest.mark.parametrize("name", LOSSES)
def test_padding_equals_slicing_and_gets_no_gradient(name):
    where = np.array([True, False, True, True, False])
    x, y = np.where(where[:, None], X, np.nan), np.where(where, LABELS, [0, 1, 0, 0, 99])
    value, gradient, _ = program(name)(x, PROXIES[name], y, where=where)
    expected = ORACLES[name](X[where], PROXIES[name], LABELS[where], 6)
    np.testing.assert_allclose(value[where] if value.ndim else value, expected, rtol=1e-4)
    np.testing.assert_array_equal(gradient[~where], 0.0)
    nothing, *gradients = program(name)(X, PROXIES[name], y, where=np.zeros(5, bool))
    assert not any(np.asarray(made).any() for made in (nothing, *gradients))


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
@pytest.mark.parametrize("name", LOSSES)
def test_corners_are_finite(name, scale):
    """Zero vectors, embeddings on and opposite to a proxy, and labels that are no class."""
    w = PROXIES[name].copy()
    w[3] = 0
    flat = w.reshape(-1, 3)
    x = np.stack([0 * flat[0], flat[0], -flat[1], flat[2], flat[2]])
    value, to_x, to_w = program(name)(x, w, [3, 0, 1, -1, 3], scale)
    assert np.isfinite(value).all() and np.isfinite(to_x).all() and np.isfinite(to_w).all()
    for nothing in (to_x[0], to_x[3], to_w[3]):
        np.testing.assert_array_equal(nothing, 0.0)
    if value.ndim:
        assert float(value[3]) == 0


def test_one_class_has_nothing_to_compare():
    assert not np.asarray(jax.jit(proxy_nca)(jnp.float32(X), jnp.float32(P[:1]), jnp.zeros(5, int))).any()


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
