"""How similar a location is to a part: features [B,h,w,D] and part queries in, similarity f32 [B,K,h,w] out.

Queries are shared by the batch, [K,D], or one set an image, [B,K,D]. Every function is one matrix product
with the
features: nothing of size [B,K,h,w,D] is made. Products are float32 at the highest precision also for bfloat16
features, because distances cancel.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from partrep.directions import unit
from partrep.shapes import check_shapes

EXACT = jax.lax.Precision.HIGHEST
SMALLEST_VARIANCE = 1e-6


def _check(function: str, features: jax.Array, queries: jax.Array) -> None:
    axes = "K D" if jnp.ndim(queries) == 2 else "B K D"
    check_shapes(function, features=(features, "B h w D"), queries=(queries, axes))


def _products(features: jax.Array, queries: jax.Array) -> jax.Array:
    """Inner products [B,K,h,w]; inside, the grid is one axis: XLA on CPUs is much slower with two."""
    batch, height, width, depth = features.shape
    z, p = features.astype(jnp.float32), queries.astype(jnp.float32)
    if p.ndim == 2:
        flat = jnp.matmul(z.reshape(-1, depth), p.T, precision=EXACT).reshape(batch, height * width, -1)
    else:
        flat = jnp.einsum("bnd,bkd->bnk", z.reshape(batch, -1, depth), p, precision=EXACT)
    return jnp.swapaxes(flat, 1, 2).reshape(batch, -1, height, width)


def negative_squared_distance(features: jax.Array, queries: jax.Array) -> jax.Array:
    """Minus the squared Euclidean distance, `s_kn = -|z_n - p_k|^2`, at most 0.

    Args:
        features: [B,h,w,D], `z`.
        queries: [K,D] or [B,K,D], `p`.

    Returns:
        f32 [B,K,h,w] <= 0.

    Raises:
        ValueError: shapes that do not agree.

    Example:
        >>> z = jnp.array([[[[0.0, 0.0], [3.0, 4.0]]]])
        >>> negative_squared_distance(z, jnp.zeros((1, 2))).tolist()
        [[[[-0.0, -25.0]]]]

    Source: ProtoPNet (Chen et al. 2019), section 2.1; PDiscoNet (van der Klis et al. 2023), part maps.
    Departures: expanded as `|z|^2 - 2 z.p + |p|^2` and clamped at 0, in float32.
    """
    _check("negative_squared_distance", features, queries)
    z, p = features.astype(jnp.float32), queries.astype(jnp.float32)
    lengths = jnp.sum(z * z, axis=-1)[:, None] + jnp.sum(p * p, axis=-1)[..., None, None]
    return -jnp.maximum(lengths - 2.0 * _products(z, p), 0.0)


def location_statistics(features: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The mean of a location's D entries and one over its deviation, `1 / sqrt(var + 1e-6)`; f32 [B,h,w].

    >>> [round(float(x[0, 0, 0]), 3) for x in location_statistics(jnp.array([[[[1.0, 5.0]]]]))]
    [3.0, 0.5]
    """
    z = features.astype(jnp.float32)
    return jnp.mean(z, axis=-1), jax.lax.rsqrt(jnp.var(z, axis=-1) + SMALLEST_VARIANCE)


def standardised_dot(features: jax.Array, queries: jax.Array) -> jax.Array:
    """The inner product with standardised features, `s_kn = <p_k, (z_n - mean z_n) / deviation z_n>`.

    Args:
        features: [B,h,w,D], `z`; mean and deviation are over the D entries of a location (layer
            normalisation).
        queries: [K,D] or [B,K,D], `p`.

    Returns:
        f32 [B,K,h,w].

    Raises:
        ValueError: shapes that do not agree.

    Example:
        >>> s = standardised_dot(jnp.array([[[[1.0, 5.0]]]]), jnp.array([[0.0, 7.0]]))
        >>> round(float(s[0, 0, 0, 0]), 3)
        7.0

    Source: standard.
    Departures: queries are centred and products divided afterwards (the same numbers), so no second array of
    features is made; this is many times faster on CPUs, backwards above all.
    """
    _check("standardised_dot", features, queries)
    centred = queries.astype(jnp.float32) - jnp.mean(queries.astype(jnp.float32), axis=-1, keepdims=True)
    return _products(features, centred) * location_statistics(features)[1][:, None]


def negative_standardised_distance(features: jax.Array, queries: jax.Array) -> jax.Array:
    """Minus the squared distance to standardised features at length one, `s_kn = -|u_n - p_k|^2`.

    `u_n = (z_n - mean z_n) / (deviation z_n sqrt(D))`: the scale of the features has no say, so softmaxes of
    the distance do not saturate.

    Args:
        features: [B,h,w,D], `z`.
        queries: [K,D] or [B,K,D], `p`; of length about one.

    Returns:
        f32 [B,K,h,w] <= 0.

    Raises:
        ValueError: shapes that do not agree.

    Example:
        >>> z, p = jnp.array([[[[1.0, 5.0]]]]), jnp.array([[-0.5, 0.5]]) * 2**0.5
        >>> abs(negative_standardised_distance(z, p)).round(3).tolist()
        [[[[0.0]]]]

    Source: see `negative_squared_distance` and `standardised_dot`.
    """
    _check("negative_standardised_distance", features, queries)
    p = queries.astype(jnp.float32)
    length = 1.0 - SMALLEST_VARIANCE * location_statistics(features)[1] ** 2  # var / (var + 1e-6)
    cross = standardised_dot(features, p) / jnp.sqrt(features.shape[-1])
    lengths = length[:, None] + jnp.sum(p * p, axis=-1)[..., None, None]
    return -jnp.maximum(lengths - 2.0 * cross, 0.0)


def dot(features: jax.Array, queries: jax.Array) -> jax.Array:
    """The inner product, `s_kn = <p_k, z_n>`.

    Args:
        features: [B,h,w,D], `z`.
        queries: [K,D] or [B,K,D], `p`.

    Returns:
        f32 [B,K,h,w].

    Raises:
        ValueError: shapes that do not agree.

    Example:
        >>> dot(jnp.ones((1, 1, 2, 3)), jnp.array([[1.0, 2.0, 3.0]])).tolist()
        [[[[6.0, 6.0]]]]

    Source: DP-Net (2024, arXiv 2404.15037), `S = U X`.
    """
    _check("dot", features, queries)
    return _products(features, queries)


def cosine(features: jax.Array, queries: jax.Array) -> jax.Array:
    """The cosine, `s_kn = <p_k, z_n> / (|p_k| |z_n|)`.

    Args:
        features: [B,h,w,D], `z`.
        queries: [K,D] or [B,K,D], `p`.

    Returns:
        f32 [B,K,h,w] in [-1,1]; 0, without gradient, where a vector is shorter than 1e-6.

    Raises:
        ValueError: shapes that do not agree.

    Example:
        >>> cosine(jnp.array([[[[2.0, 0.0], [0.0, 0.0]]]]), jnp.array([[3.0, 0.0]])).tolist()
        [[[[1.0, 0.0]]]]

    Source: TesNet (Wang et al. 2021); standard.
    """
    _check("cosine", features, queries)
    return _products(unit(features), unit(queries))


def discriminants(queries: jax.Array, mean: jax.Array, covariance: jax.Array, ridge: float = 1e-2) -> jax.Array:
    """Linear discriminants of parts against all locations, `w_k = (S + r I)^-1 (p_k - m)`.

    Args:
        queries: [K,D] or [B,K,D], `p`: the mean feature of the part's locations.
        mean: [D], `m`, the mean of all locations of all images.
        covariance: [D,D], `S`, of all locations of all images; positive semi-definite.
        ridge: > 0; `r` is the ridge times the mean variance.

    Returns:
        f32 of the queries' shape: queries of `dot`.

    Raises:
        ValueError: shapes that do not agree.

    Example:
        >>> discriminants(jnp.ones((1, 2)), jnp.zeros(2), jnp.diag(jnp.array([4.0, 1.0])), ridge=1e-6).round(2).tolist()
        [[0.25, 1.0]]

    Source: Sicre, Rabin, Avrithis, Furon, Jurie (2017, arXiv 1611.04413), closed-form part classifiers `w_p`.
    Departures: a ridge keeps the solve stable when there are fewer locations than dimensions.
    """
    check_shapes("discriminants", queries=(queries, "... D"), mean=(mean, "D"))
    size = mean.shape[0]
    if covariance.shape != (size, size):
        raise ValueError(f"discriminants: covariance has shape {covariance.shape}; expected [D,D] with D={size}")
    covariance = covariance.astype(jnp.float32)
    regular = covariance + ridge * jnp.trace(covariance) / size * jnp.eye(size)
    centred = (queries - mean).astype(jnp.float32)
    weights = jax.scipy.linalg.cho_solve(jax.scipy.linalg.cho_factor(regular), centred.reshape(-1, size).T).T
    return weights.reshape(centred.shape)


def whitened_dot(
    features: jax.Array, queries: jax.Array, mean: jax.Array, covariance: jax.Array, ridge: float = 1e-2
) -> jax.Array:
    """The score of a linear discriminant for each part, `s_kn = <(S + r I)^-1 (p_k - m), z_n>`.

    Args:
        features: [B,h,w,D], `z`.
        queries: [K,D] or [B,K,D], `p`: the mean feature of the part's locations.
        mean: [D], `m`, the mean of all locations of all images.
        covariance: [D,D], `S`, of all locations of all images; positive semi-definite.
        ridge: > 0; `r` is the ridge times the mean variance.

    Returns:
        f32 [B,K,h,w].

    Raises:
        ValueError: shapes that do not agree.

    Example:
        >>> z = jnp.array([[[[4.0, 1.0]]]])
        >>> s = whitened_dot(z, jnp.ones((1, 2)), jnp.zeros(2), jnp.diag(jnp.array([4.0, 1.0])), ridge=1e-6)
        >>> round(float(s[0, 0, 0, 0]), 3)
        2.0

    Source: Sicre, Rabin, Avrithis, Furon, Jurie (2017, arXiv 1611.04413), closed-form part classifiers `w_p`.
    Departures: a ridge keeps the solve stable when there are fewer locations than dimensions.
    """
    _check("whitened_dot", features, queries)
    return _products(features, discriminants(queries, mean, covariance, ridge))


def fold_queries(queries: jax.Array, key_kernel: jax.Array, query_kernel: jax.Array) -> jax.Array:
    """Queries that meet features where projected queries meet projected keys, `V U^T q_k / sqrt(A)`.

    Queries [...,K,E], key kernel `V` [D,A], query kernel `U` [E,A] -> f32 [...,K,D].

    >>> fold_queries(jnp.ones((2, 3)), jnp.ones((4, 1)), jnp.ones((3, 1))).shape
    (2, 4)
    """
    check_shapes("fold_queries", key_kernel=(key_kernel, "D A"), query_kernel=(query_kernel, "E A"))
    check_shapes("fold_queries", query_kernel=(query_kernel, "E A"), queries=(queries, "... K E"))
    projected = jnp.matmul(queries.astype(jnp.float32), query_kernel, precision=EXACT)
    return jnp.matmul(projected, key_kernel.T, precision=EXACT) / jnp.sqrt(key_kernel.shape[1])


def scaled_dot(features: jax.Array, queries: jax.Array, key_kernel: jax.Array, query_kernel: jax.Array) -> jax.Array:
    """Attention logits with projections, `s_kn = <U^T q_k, V^T z_n> / sqrt(A)`.

    Args:
        features: [B,h,w,D], `z`.
        queries: [K,E] or [B,K,E], `q`.
        key_kernel: [D,A], `V`.
        query_kernel: [E,A], `U`.

    Returns:
        f32 [B,K,h,w].

    Raises:
        ValueError: shapes that do not agree.

    Example:
        >>> scaled_dot(jnp.ones((1, 1, 1, 4)), jnp.ones((2, 4)), jnp.eye(4), jnp.eye(4)).ravel().tolist()
        [2.0, 2.0]

    Source: Vaswani et al. (2017), equation 1; Slot attention (Locatello et al. 2020), algorithm 1.
    Departures: both kernels are folded into the queries first (the same numbers), so no keys [B,h,w,A] are
    made."""
    check_shapes("scaled_dot", features=(features, "... D"), key_kernel=(key_kernel, "D A"))
    folded = fold_queries(queries, key_kernel, query_kernel)
    _check("scaled_dot", features, folded)
    return _products(features, folded)
