"""How similar a location is to a part: features [B,h,w,D] and part queries in, similarity f32 [B,K,h,w] out.

Queries are shared by the batch, [K,D], or one set an image, [B,K,D]. Every function is one matrix product
with the
features: nothing of size [B,K,h,w,D] is made. Products are float32 at the highest precision also for bfloat16
features, because distances cancel.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from partrep.shapes import check_shapes

EXACT = jax.lax.Precision.HIGHEST
SMALLEST_NORM = 1e-6


def unit(x: jax.Array) -> jax.Array:
    """Rows of `x` [...,D] at length one, in float32; a row shorter than 1e-6 gives zeros, and no gradient.

    >>> unit(jnp.array([[0.0, 4.0], [0.0, 0.0]])).tolist()
    [[0.0, 1.0], [0.0, 0.0]]
    """
    x = x.astype(jnp.float32)
    squared = jnp.sum(x * x, axis=-1, keepdims=True)
    real = squared > SMALLEST_NORM**2
    return jnp.where(real, x, 0.0) * jax.lax.rsqrt(jnp.where(real, squared, 1.0))


def _check(function: str, features: jax.Array, queries: jax.Array, query_axis: str = "D") -> dict[str, int]:
    axes = ("K " if jnp.ndim(queries) == 2 else "B K ") + query_axis
    return check_shapes(function, features=(features, "B h w D"), queries=(queries, axes))


def _products(features: jax.Array, queries: jax.Array) -> jax.Array:
    equation = "bhwd,kd->bkhw" if queries.ndim == 2 else "bhwd,bkd->bkhw"
    return jnp.einsum(equation, features.astype(jnp.float32), queries.astype(jnp.float32), precision=EXACT)


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
    check_shapes("whitened_dot", features=(features, "... D"), mean=(mean, "D"))
    size = mean.shape[0]
    if covariance.shape != (size, size):
        raise ValueError(
            f"whitened_dot: covariance has shape {covariance.shape}; expected [D,D] with D={size}"
        )
    covariance = covariance.astype(jnp.float32)
    regular = covariance + ridge * jnp.trace(covariance) / size * jnp.eye(size)
    centred = (queries - mean).astype(jnp.float32)
    weights = jax.scipy.linalg.cho_solve(jax.scipy.linalg.cho_factor(regular), centred.reshape(-1, size).T).T
    return _products(features, weights.reshape(centred.shape))


def scaled_dot(
    features: jax.Array, queries: jax.Array, key_kernel: jax.Array, query_kernel: jax.Array
) -> jax.Array:
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
    _check("scaled_dot", features, queries, "E")
    check_shapes("scaled_dot", features=(features, "... D"), key_kernel=(key_kernel, "D A"))
    check_shapes("scaled_dot", queries=(queries, "... E"), query_kernel=(query_kernel, "E A"))
    check_shapes("scaled_dot", key_kernel=(key_kernel, "D A"), query_kernel=(query_kernel, "E A"))
    projected = jnp.matmul(queries.astype(jnp.float32), query_kernel, precision=EXACT)
    folded = jnp.matmul(projected, key_kernel.T, precision=EXACT) / jnp.sqrt(key_kernel.shape[1])
    return _products(features, folded)
