"""Metric learning against proxies, one or several learned vectors a class, in place of pairs of examples."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from partrep.directions import unit
from partrep.losses.classification import softmax_cross_entropy
from partrep.losses.margin_softmax import check_margin, compare, products
from partrep.losses.pairs import EXACT, check_positive, distances, masked_logsumexp
from partrep.shapes import check_shapes


def proxy_nca(
    embeddings: jax.Array,
    proxies: jax.Array,
    labels: jax.Array,
    scale: float = 1.0,
    where: jax.Array | None = None,
) -> jax.Array:
    """Near to the own proxy, far from the others, `l_b = s d(x_b, p_{y_b}) + log sum_{c != y_b} exp(-s d(x_b, p_c))`.

    `d` is the squared distance of vectors of length one, `2 - 2 cos`.

    Args:
        embeddings: [B,E], `x`, of any length.
        proxies: [C,E], `p`, one a class, of any length.
        labels: int [B] in 0..C-1, `y`; another label gives 0.
        scale: `s` > 0. Vectors of length `r` in place of one are `s = r^2`.
        where: bool [B]; a false example gives 0 and no gradient, whatever it holds.

    Returns:
        f32 [B] (per example), negative where the own proxy is by far the nearest; 0 where there is one class. A zero
        vector has cosine 0 to all and no gradient.

    Raises:
        ValueError: shapes that do not agree, a scale that is not positive.

    Example:
        >>> x, p = jnp.array([[1.0, 0.0]]), jnp.array([[2.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
        >>> round(float(proxy_nca(x, p, jnp.array([0]))[0]), 4)
        -1.3069

    Source: Movshovitz-Attias et al. (2017), No fuss distance metric learning using proxies, s = 1.
    Departures: none; well-known codes keep the own proxy in the sum. With it (ProxyNCA++, Teh et al. 2020, s = 9) this
    is `normalised_softmax` with temperature `1 / (2 s)`; a popular reimplementation has proxies of length 3 and
    embeddings of length 1, which is its temperature 1/6, and smooths labels.
    """
    check_positive("proxy_nca", scale=scale)
    x, p, own = compare("proxy_nca", embeddings, proxies, labels, where)
    near = 2.0 * scale * products(x, p)
    counts = _counts(own, where) & (own.shape[1] > 1)
    others = masked_logsumexp(near, ~own)
    return jnp.where(counts, others - jnp.sum(jnp.where(own, near, 0.0), axis=1), 0.0)


def proxy_anchor(
    embeddings: jax.Array,
    proxies: jax.Array,
    labels: jax.Array,
    margin: float = 0.1,
    scale: float = 32.0,
    where: jax.Array | None = None,
) -> jax.Array:
    """Each proxy pulls its examples and pushes the others, `l = mean_{c in C+} log(1 + P_c) + mean_c log(1 + N_c)`.

    `P_c = sum_{b: y_b = c} exp(-s (cos_bc - m))`, `N_c = sum_{b: y_b != c} exp(s (cos_bc + m))`; `C+` are the classes
    that the batch has.

    Args:
        embeddings: [B,E], of any length.
        proxies: [C,E], one a class, of any length.
        labels: int [B] in 0..C-1, `y`; an example with another label does not count.
        margin: `m`, in cosine.
        scale: `s` > 0.
        where: bool [B]; a false example does not count, whatever it holds.

    Returns:
        f32 scalar >= 0 (per batch); 0 where no example counts. A zero vector has cosine 0 to all and no gradient.

    Raises:
        ValueError: shapes that do not agree, a scale that is not positive.

    Example:
        >>> x, p, y = jnp.array([[1.0, 0.0]]), jnp.eye(2), jnp.array([0])
        >>> round(float(proxy_anchor(x, p, y, margin=0.0, scale=1.0)), 4)  # log(1 + 1/e) + (log(1) + log(1 + 1)) / 2
        0.6598

    Source: Kim et al. (2020), Proxy anchor loss for deep metric learning, m = 0.1, s = 32.
    Departures: none; the released code is the same. The second mean is over all C proxies, as there, whether or not the
    batch has their class.
    """
    check_positive("proxy_anchor", scale=scale)
    x, p, own = compare("proxy_anchor", embeddings, proxies, labels, where)
    cosines, counts = products(x, p), _counts(own, where)[:, None]
    positive, negative = own & counts, ~own & counts
    pull = _log_one_plus_sum(-scale * (cosines - margin), positive)
    push = _log_one_plus_sum(scale * (cosines + margin), negative)
    present = jnp.sum(jnp.any(positive, axis=0))
    return jnp.sum(pull) / jnp.maximum(present, 1) + jnp.mean(push)


def soft_triple(
    embeddings: jax.Array,
    centres: jax.Array,
    labels: jax.Array,
    margin: float = 0.01,
    scale: float = 20.0,
    temperature: float = 0.1,
    where: jax.Array | None = None,
) -> jax.Array:
    """Softmax over classes of several centres, `l_b = -log softmax_c(s (S_bc - m [c = y_b]))_{y_b}`.

    `S_bc = sum_k softmax_k(cos_bck / T) cos_bck` is the similarity to class c, mostly to its nearest centre.

    Args:
        embeddings: [B,E], of any length.
        centres: [C,M,E], M a class, of any length.
        labels: int [B] in 0..C-1, `y`; another label gives 0.
        margin: `m` >= 0, in cosine.
        scale: `s` > 0, over classes.
        temperature: `T` > 0, over the centres of a class.
        where: bool [B]; a false example gives 0 and no gradient, whatever it holds.

    Returns:
        f32 [B] >= 0 (per example). A zero vector has cosine 0 to all and no gradient.

    Raises:
        ValueError: shapes that do not agree, a scale or temperature that is not positive, a negative margin.

    Example:
        >>> x, w = jnp.array([[1.0, 0.0]]), jnp.array([[[1.0, 0.0], [0.0, 1.0]], [[0.0, 1.0], [0.0, 1.0]]])
        >>> round(float(soft_triple(x, w, jnp.array([0]), margin=0.0, scale=1.0, temperature=1.0)[0]), 4)
        0.393

    Source: Qian et al. (2019), SoftTriple loss, m = 0.01, lambda = 20, gamma = 0.1, M = 10.
    Departures: the regulariser of the paper, which merges centres, is `centre_spread`, a loss of its own with weight
    tau = 0.2. Embeddings are brought to length one here; in the released code the network does it.
    """
    check_positive("soft_triple", scale=scale, temperature=temperature)
    check_margin("soft_triple", margin)
    sizes = check_shapes("soft_triple", centres=(centres, "C M E"))
    x, w, _ = compare("soft_triple", embeddings, centres.reshape(-1, sizes["E"]), labels, where)
    cosines = products(x, w).reshape(-1, sizes["C"], sizes["M"])
    similar = jnp.sum(jax.nn.softmax(cosines / temperature, axis=2) * cosines, axis=2)
    own = jnp.asarray(labels)[:, None] == jnp.arange(sizes["C"])
    return softmax_cross_entropy(scale * (similar - margin * own), labels, where=where)


def centre_spread(centres: jax.Array) -> jax.Array:
    """How far apart the centres of a class are, `l = 1 / (C M (M - 1)) sum_c sum_{k < l} |w_ck - w_cl|`.

    Lengths, not their squares, so that centres which a class does not need become one.

    Args:
        centres: [C,M,E], of any length; compared at length one.

    Returns:
        f32 scalar in [0,1] (per parameter): half the mean distance; 0 for one centre a class. Centres nearer than 1e-3
        count as one, without gradient.

    Raises:
        ValueError: not three axes.

    Example:
        >>> round(float(centre_spread(jnp.array([[[1.0, 0.0], [0.0, 2.0]]]))), 4)  # sqrt(2) / 2
        0.7071

    Source: Qian et al. (2019), SoftTriple loss, its regulariser, weight tau = 0.2.
    Departures: the released code has `sqrt(2.00001 - 2 cos)`, 0.003 for equal centres, for its finite gradient.
    """
    sizes = check_shapes("centre_spread", centres=(centres, "C M E"))
    w = unit(centres)
    squared = 2.0 - 2.0 * jnp.einsum("cke,cle->ckl", w, w, precision=EXACT)
    distance = jnp.where(jnp.eye(sizes["M"], dtype=bool), 0.0, distances(squared))
    return jnp.sum(distance) / (2 * sizes["C"] * max(sizes["M"] * (sizes["M"] - 1), 1))


def _counts(own: jax.Array, where: jax.Array | None) -> jax.Array:
    """Which examples have a label among the classes and are no padding, bool [B]."""
    known = jnp.any(own, axis=1)
    return known if where is None else known & jnp.asarray(where, bool)


def _log_one_plus_sum(exponents: jax.Array, mask: jax.Array) -> jax.Array:
    """`log(1 + sum_b exp(a_bc))` of the entries that count, [C]."""
    return jax.nn.softplus(masked_logsumexp(exponents.T, mask.T))
