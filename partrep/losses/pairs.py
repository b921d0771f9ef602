"""Pairs of a batch: how alike two examples are, which pairs are positive or negative, and their evaluation in blocks.

A pair loss takes the batch once and compares each example, the anchor, with all others. Labels say which pairs are
positive (equal labels) and negative; an example is never compared with itself. What the loss knows of two examples
is one number, their similarity `s`, so that vectors and parts share every loss. Losses that their sources define on
distances take `d^2 = 2 - 2 s`: the squared distance of unit vectors for `cosine`, of the vectors as they are for
`euclidean_similarity`, and for `aligned_cosine` the mean over shared parts of the squared distance of their unit
vectors.
"""

from __future__ import annotations

import functools
import numbers
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from partrep.directions import unit
from partrep.losses.reduction import log_sum_shifted
from partrep.shapes import check_shapes

EXACT = jax.lax.Precision.HIGHEST
SMALLEST_PRESENCE = 1e-6
SMALLEST_SQUARED_DISTANCE = 1e-6  # of `2 - 2 s`; what is nearer is one point: float32 similarities cannot tell
NOTHING = -1e30  # the logarithm of an empty sum: finite, so that sums of two and gradients stay so

Similarity = Callable[[Any, Any], jax.Array]
Terms = Callable[[jax.Array, jax.Array, jax.Array], Any]


def distances(squared: jax.Array) -> jax.Array:
    """The roots of squared distances of any shape; exactly 0, without gradient, where they are `2 - 2 s` of one point.

    >>> distances(jnp.array([4.0, 1e-7])).tolist()
    [2.0, 0.0]
    """
    apart = squared > SMALLEST_SQUARED_DISTANCE
    return jnp.where(apart, jnp.sqrt(jnp.where(apart, squared, 1.0)), 0.0)


def cosine(anchors: jax.Array, others: jax.Array) -> jax.Array:
    """The cosine of each anchor and each other vector, `s_ij = x_i . y_j / (|x_i| |y_j|)`.

    Args:
        anchors: [b,E], `x`, of any length.
        others: [B,E], `y`.

    Returns:
        f32 [b,B] in [-1, 1], to 1e-6; 0, without gradient, for a vector shorter than 1e-6.

    Raises:
        ValueError: shapes that do not agree.

    Example:
        >>> cosine(jnp.array([[2.0, 0.0]]), jnp.array([[1.0, 0.0], [0.0, 3.0]])).tolist()
        [[1.0, 0.0]]

    Source: standard.
    """
    check_shapes("cosine", anchors=(anchors, "b E"), others=(others, "B E"))
    return jnp.matmul(unit(anchors), unit(others).T, precision=EXACT)


def euclidean_similarity(anchors: jax.Array, others: jax.Array) -> jax.Array:
    """One less half the squared Euclidean distance, `s_ij = 1 - |x_i - y_j|^2 / 2`; for unit vectors their cosine.

    So that `2 - 2 s` is the squared distance of the vectors as they are. In losses that are softmaxes of similarities
    the one cancels, and temperature T makes them Gaussian kernels of variance T.

    Args:
        anchors: [b,E], `x`.
        others: [B,E], `y`.

    Returns:
        f32 [b,B] <= 1.

    Raises:
        ValueError: shapes that do not agree.

    Example:
        >>> euclidean_similarity(jnp.array([[0.0, 0.0]]), jnp.array([[0.0, 0.0], [1.0, 3.0]])).tolist()
        [[1.0, -4.0]]

    Source: standard; the distance is expanded as `|x|^2 - 2 x.y + |y|^2` and clamped at 0, about the mean of `y`, so
    that an offset that all vectors share costs no digits.
    """
    check_shapes("euclidean_similarity", anchors=(anchors, "b E"), others=(others, "B E"))
    centre = jax.lax.stop_gradient(jnp.mean(others.astype(jnp.float32), axis=0))
    x, y = anchors.astype(jnp.float32) - centre, others.astype(jnp.float32) - centre
    lengths = jnp.sum(x * x, axis=-1)[:, None] + jnp.sum(y * y, axis=-1)
    return 1.0 - 0.5 * jnp.maximum(lengths - 2.0 * jnp.matmul(x, y.T, precision=EXACT), 0.0)


def aligned_cosine(anchors: tuple[jax.Array, jax.Array], others: tuple[jax.Array, jax.Array]) -> jax.Array:
    """The mean cosine of parts of the same index, weighted by their presence in both images.

        s_ij = sum_k m_ik m'_jk cos(z_ik, z'_jk) / sum_k m_ik m'_jk

    It is two matrix products: nothing of size [b,B,K] is made.

    Args:
        anchors: part vectors [b,K,D], `z`, and their presence [b,K] >= 0, `m`.
        others: part vectors [B,K,D], `z'`, and their presence [B,K] >= 0, `m'`.

    Returns:
        f32 [b,B] in [-1, 1], to 1e-6; 0, without gradient, where the weights sum to less than 1e-6: images that share
        no part count as orthogonal. A part vector shorter than 1e-6 has cosine 0.

    Raises:
        ValueError: shapes that do not agree.

    Example:
        >>> vectors, presence = jnp.array([[[1.0, 0.0], [0.0, 1.0]]]), jnp.array([[1.0, 1.0]])
        >>> others = jnp.array([[[2.0, 0.0], [1.0, 0.0]]] * 3), jnp.array([[1.0, 1.0], [1.0, 0.0], [0.0, 0.0]])
        >>> aligned_cosine((vectors, presence), others).tolist()
        [[0.5, 1.0, 0.0]]

    Source: after the part-weighted distances of occluded re-identification (Miao et al. 2019, PGFA), there over parts
    visible in both; here presence is graded.
    """
    for name, given in (("anchors", anchors), ("others", others)):
        if not isinstance(given, tuple | list) or len(given) != 2:
            found = f"an array of shape {jnp.shape(given)}" if hasattr(given, "shape") else type(given).__name__
            raise ValueError(f"aligned_cosine: {name} is {found}; expected (vectors [B,K,D], presence [B,K])")
    (z, m), (z2, m2) = anchors, others
    check_shapes("aligned_cosine", anchors=(z, "b K D"), presence=(m, "b K"))
    check_shapes("aligned_cosine", vectors=(z, "b K D"), others=(z2, "B K D"), presence=(m2, "B K"))
    m, m2 = m.astype(jnp.float32), m2.astype(jnp.float32)
    x, y = ((weight[..., None] * unit(v)).reshape(len(v), -1) for v, weight in ((z, m), (z2, m2)))
    shared = jnp.matmul(m, m2.T, precision=EXACT)
    some = shared > SMALLEST_PRESENCE
    return jnp.where(some, jnp.matmul(x, y.T, precision=EXACT) / jnp.where(some, shared, 1.0), 0.0)


def joined_parts(parts: tuple[jax.Array, jax.Array]) -> jax.Array:
    """The parts of an image as one vector of length one, `e = [sqrt(m_k) z_k / |z_k|]_k / sqrt(sum_k m_k)`.

    Its dot product with another is `sum_k sqrt(m_k m'_k) cos(z_k, z'_k) / sqrt(sum_k m_k sum_k m'_k)`: a sum over
    parts too, but one that any index of vectors can search, and in which a part that one image lacks counts as
    unlike, where `aligned_cosine` leaves it out.

    Args:
        parts: part vectors [B,K,D], `z`, and their presence [B,K] >= 0, `m`.

    Returns:
        f32 [B,K D], of length one where every part that is there has a direction; zero, without gradient, where the
        presences sum to less than 1e-6.

    Raises:
        ValueError: shapes that do not agree.

    Example:
        >>> vectors, presence = jnp.array([[[3.0, 0.0], [0.0, 2.0]]]), jnp.array([[1.0, 0.0]])
        >>> joined_parts((vectors, presence)).tolist()
        [[1.0, 0.0, 0.0, 0.0]]

    Source: this project; of one presence for all parts, the concatenated part descriptors of PCB (Sun et al. 2018).
    """
    vectors, presence = parts
    check_shapes("joined_parts", vectors=(vectors, "B K D"), presence=(presence, "B K"))
    presence = presence.astype(jnp.float32)
    total = jnp.sum(presence, axis=1, keepdims=True)
    some = total > SMALLEST_PRESENCE
    share = jnp.where(some, presence / jnp.where(some, total, 1.0), 0.0)
    counts = share > SMALLEST_PRESENCE
    weight = jnp.where(counts, jnp.sqrt(jnp.where(counts, share, 1.0)), 0.0)
    return (weight[..., None] * unit(vectors)).reshape(len(vectors), -1)


def best_match_cosine(anchors: tuple[jax.Array, jax.Array], others: tuple[jax.Array, jax.Array]) -> jax.Array:
    """How well each part of either image is found anywhere in the other, whatever its index.

        s_ij = 1/2 sum_k p_ik max_l cos(z_ik, z'_jl) + 1/2 sum_l p'_jl max_k cos(z_ik, z'_jl),   p = m / sum m

    Costs [b,B,K,L] cosines, of the parts or locations of each pair; those of absent ones (presence under 1e-6) are
    not matched.

    Args:
        anchors: vectors [b,K,D], `z`, and their presence [b,K] >= 0, `m`.
        others: vectors [B,L,D], `z'`, and their presence [B,L] >= 0, `m'`.

    Returns:
        f32 [b,B] in [-1, 1], to 1e-6; 0 where an image has nothing.

    Raises:
        ValueError: shapes that do not agree.

    Example:
        >>> one = jnp.array([[[1.0, 0.0], [0.0, 1.0]]]), jnp.ones((1, 2))
        >>> turned = jnp.array([[[0.0, 2.0], [1.0, 0.0]], [[1.0, 0.0], [1.0, 0.0]]]), jnp.ones((2, 2))
        >>> best_match_cosine(one, turned).tolist()
        [[1.0, 0.75]]

    Source: the sum of best matches of sets of local features, as in match kernels (Tolias, Avrithis and Jegou 2013)
    with the best match for the kernel, averaged both ways.
    """
    (z, m), (z2, m2) = anchors, others
    check_shapes("best_match_cosine", anchors=(z, "b K D"), presence=(m, "b K"))
    check_shapes("best_match_cosine", vectors=(z, "b K D"), others=(z2, "B L D"), presence=(m2, "B L"))
    m, m2 = m.astype(jnp.float32), m2.astype(jnp.float32)
    cosines = jnp.einsum("bkd,jld->bjkl", unit(z), unit(z2), precision=EXACT)
    here, there = (weight > SMALLEST_PRESENCE for weight in (m, m2))
    found = jnp.where(there[None, :, None], cosines, -1.0).max(3)  # [b,B,K]
    back = jnp.where(here[:, None, :, None], cosines, -1.0).max(2)  # [b,B,L]
    p, p2 = (_shares(weight) for weight in (m, m2))
    total = jnp.einsum("bk,bjk->bj", p, found) + jnp.einsum("jl,bjl->bj", p2, back)
    return jnp.where(here.any(1)[:, None] & there.any(1), 0.5 * total, 0.0)


def _shares(presence: jax.Array) -> jax.Array:
    """Presences [B,K] as shares that sum to one; zeros where nothing is there."""
    total = presence.sum(1, keepdims=True)
    return jnp.where(total > SMALLEST_PRESENCE, presence / jnp.maximum(total, SMALLEST_PRESENCE), 0.0)


def masked_logsumexp(values: jax.Array, counts: jax.Array) -> jax.Array:
    """`log sum_j exp(x_ij)` over the columns of [b,B] that count; -1e30, without gradient, where none does.

    >>> masked_logsumexp(jnp.array([[1.0, 9.0], [1.0, 9.0]]), jnp.array([[True, False], [False, False]])).tolist()
    [1.0, -1.0000000150474662e+30]
    """
    some = jnp.any(counts, axis=1)
    top = jnp.max(jnp.where(counts, values, -jnp.inf), axis=1)
    top = jax.lax.stop_gradient(jnp.where(some, top, 0.0))
    total, _ = log_sum_shifted(jnp.where(counts, values - top[:, None], -jnp.inf))
    return jnp.where(some, top + total, NOTHING)


def ratio(total: jax.Array, count: jax.Array) -> jax.Array:
    """The sum of `total` over the sum of `count`, f32; 0 where nothing was counted.

    >>> float(ratio(jnp.array([1.0, 2.0]), jnp.array([2, 0]))), float(ratio(jnp.zeros(2), jnp.zeros(2)))
    (1.5, 0.0)
    """
    counted = jax.lax.stop_gradient(jnp.sum(count.astype(jnp.float32)))
    return jnp.sum(total) / jnp.maximum(counted, 1.0)


def check_choice(function: str, name: str, value: str, known: tuple[str, ...]) -> None:
    """A `ValueError` that lists the known values of an argument unless `value` is one of them."""
    if value not in known:
        raise ValueError(f"{function}: {name} is {value!r}; expected one of {', '.join(known)}")


def check_some(function: str, batch: int) -> None:
    """A `ValueError` for a batch of no examples."""
    if not batch:
        raise ValueError(f"{function}: a batch of no examples; expected at least one")


def check_positive(function: str, **values: float) -> None:
    """A `ValueError` that names the first argument that is not above 0; those given as traced arrays pass."""
    for name, value in values.items():
        if not isinstance(value, jax.core.Tracer) and not value > 0:
            raise ValueError(f"{function}: {name} is {value}; expected above 0")


def over_anchors(
    function: str,
    terms: Terms,
    embeddings: Any,
    labels: jax.Array,
    where: jax.Array | None,
    similarity: Similarity,
    block: int | None,
) -> Any:
    """`terms(similarities, positive, negative)` of every anchor against the batch, `block` anchors at a time.

    In blocks, a block's [block,B] arrays live only while it is evaluated, forward, and once more while its gradient
    is: memory grows with B and not with its square. Value and gradient are those of the plain form, to rounding.

    Args:
        function: who calls, for messages.
        terms: from f32 [b,B], bool [b,B], bool [b,B] to a pytree of arrays [b]. Rows are anchors. A pair is positive
            where labels are equal and negative where they differ; neither where either example is masked, or both
            are the same example.
        embeddings: [B,...], or a pytree of arrays with leading axis B, as `similarity` takes it.
        labels: int [B].
        where: bool [B]; None counts every example. What lies under a false one may be NaN and gets no gradient.
        similarity: of anchors [b,...] and others [B,...], f32 [b,B].
        block: how many anchors at a time, a static number >= 1; it need not divide B. None takes all at once.

    Returns:
        A pytree of arrays [B].

    Raises:
        ValueError: shapes that do not agree, no examples, a block below 1.
    """
    batch = _batch_size(function, embeddings, labels, where)
    if block is not None and (not isinstance(block, numbers.Integral) or block < 1):
        raise ValueError(f"{function}: block is {block}; expected at least 1, a whole number, or None")
    labels, counts = jnp.asarray(labels), jnp.ones(batch, bool) if where is None else jnp.asarray(where, bool)
    embeddings = jax.tree.map(functools.partial(_filled, counts), embeddings)

    def of_block(anchors: tuple[Any, jax.Array, jax.Array, jax.Array]) -> Any:
        chosen, classes, real, position = anchors
        alike = similarity(chosen, embeddings)
        if alike.shape != (len(classes), batch):
            wanted = [len(classes), batch]
            raise ValueError(f"{function}: similarity gave shape {alike.shape}; expected {wanted}")
        comparable = real[:, None] & counts & (position[:, None] != jnp.arange(batch))
        same = classes[:, None] == labels
        return terms(alike.astype(jnp.float32), comparable & same, comparable & ~same)

    anchors = (embeddings, labels, counts, jnp.arange(batch))
    if block is None or block >= batch:
        return of_block(anchors)
    folded = jax.lax.map(jax.checkpoint(of_block), jax.tree.map(lambda x: _fold(x, block), anchors))
    return jax.tree.map(lambda x: x.reshape(-1)[:batch], folded)


def _filled(counts: jax.Array, x: jax.Array) -> jax.Array:
    """[B,...] with the first example that counts in place of those that do not: what a similarity takes from all
    vectors, such as their mean, is then of the order of those that count. Zeros where none does."""
    x = jnp.asarray(x)
    real = counts.reshape(-1, *[1] * (x.ndim - 1))
    first = jnp.where(jnp.any(counts), x[jnp.argmax(counts)], 0)
    return jnp.where(real, x, jax.lax.stop_gradient(first))


def _fold(x: jax.Array, block: int) -> jax.Array:
    """[B,...] as [blocks,block,...], filled up with zeros: false in `counts`, hence compared with nothing."""
    padded = jnp.pad(x, [(0, -len(x) % block)] + [(0, 0)] * (x.ndim - 1))
    return padded.reshape(-1, block, *x.shape[1:])


def _batch_size(function: str, embeddings: Any, labels: jax.Array, where: jax.Array | None) -> int:
    batch = check_shapes(function, labels=(labels, "B"), where=(where, "B"))["B"]
    check_some(function, batch)
    for leaf in jax.tree.leaves(embeddings):
        if not jnp.ndim(leaf) or len(leaf) != batch:
            raise ValueError(f"{function}: embeddings has shape {jnp.shape(leaf)}; expected [B,...] with B={batch}")
    return batch
