"""How a part is read out of the image: vectors [B,K,D], scores [B,K], presence [B,K] and centroid [B,K,2].

`area_mean` and `weighted_mean` are linear in the features once the assignment is frozen, so a linear head on
them is explained exactly, location by location.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from partrep.directions import unit
from partrep.parts.similarity import EXACT, location_statistics
from partrep.shapes import check_shapes

SMALLEST_MASS = 1e-6


def _check(function: str, features: jax.Array, maps: jax.Array, name: str = "assignment") -> dict[str, int]:
    return check_shapes(function, features=(features, "B h w D"), **{name: (maps, "B K h w")})


def _sum(features: jax.Array, assignment: jax.Array) -> jax.Array:
    """`sum_n a_kn z_n`; inside, the grid is one axis: XLA on CPUs is much slower with two."""
    maps = assignment.astype(jnp.float32).reshape(*assignment.shape[:2], -1)
    rows = features.astype(jnp.float32).reshape(features.shape[0], -1, features.shape[-1])
    return jnp.matmul(maps, rows, precision=EXACT)


def _mass(assignment: jax.Array) -> jax.Array:
    return jnp.sum(assignment.astype(jnp.float32), axis=(2, 3))


def area_mean(features: jax.Array, assignment: jax.Array) -> jax.Array:
    """The mean over the whole image, `v_k = (1/N) sum_n a_kn z_n`.

    A vector grows with the area of its part, and an absent part gives exactly zero: no part, no evidence.

    Args:
        features: [B,h,w,D], `z`.
        assignment: [B,K,h,w] >= 0, `a`.

    Returns:
        f32 [B,K,D].

    Raises:
        ValueError: shapes that do not agree.

    Example:
        >>> area_mean(jnp.ones((1, 1, 4, 1)), jnp.array([[[[1.0, 0.0, 0.0, 0.0]]]])).tolist()
        [[[0.25]]]

    Source: PDiscoNet (van der Klis et al. 2023), part vectors.
    """
    sizes = _check("area_mean", features, assignment)
    return _sum(features, assignment) / (sizes["h"] * sizes["w"])


def weighted_mean(features: jax.Array, assignment: jax.Array) -> jax.Array:
    """The mean over the part, `v_k = sum_n a_kn z_n / sum_n a_kn`.

    Args:
        features: [B,h,w,D], `z`.
        assignment: [B,K,h,w] >= 0, `a`.

    Returns:
        f32 [B,K,D]; zero where the part has no mass (under 1e-6 the sum is divided by 1e-6).

    Raises:
        ValueError: shapes that do not agree.

    Example:
        >>> weighted_mean(jnp.array([[[[2.0], [4.0], [9.0]]]]), jnp.array([[[[1.0, 1.0, 0.0]]]])).tolist()
        [[[3.0]]]

    Source: Slot attention (Locatello et al. 2020), algorithm 1.
    """
    _check("weighted_mean", features, assignment)
    return _sum(features, assignment) / jnp.maximum(_mass(assignment), SMALLEST_MASS)[..., None]


def standardised_mean(features: jax.Array, assignment: jax.Array) -> jax.Array:
    """The mean of standardised features, `v_k = sum_n a_kn (z_n - mean z_n) / deviation z_n / sum_n a_kn`.

    Args:
        features: [B,h,w,D], `z`; mean and deviation are over the D entries of a location (layer
            normalisation).
        assignment: [B,K,h,w] >= 0, `a`.

    Returns:
        f32 [B,K,D]; zero where the part has no mass.

    Raises:
        ValueError: shapes that do not agree.

    Example:
        >>> standardised_mean(jnp.array([[[[1.0, 5.0]]]]), jnp.ones((1, 1, 1, 1))).round(3).tolist()
        [[[-1.0, 1.0]]]

    Source: Slot attention (Locatello et al. 2020), algorithm 1, inputs after layer normalisation.
    """
    _check("standardised_mean", features, assignment)
    mean, inverse = location_statistics(features)
    weights = assignment.astype(jnp.float32) * inverse[:, None]
    total = _sum(features, weights) - jnp.sum(weights * mean[:, None], axis=(2, 3))[..., None]
    return total / jnp.maximum(_mass(assignment), SMALLEST_MASS)[..., None]


def residual(
    features: jax.Array, assignment: jax.Array, queries: jax.Array, scale: jax.Array | float = 1.0
) -> jax.Array:
    """How the part differs from its prototype, `v_k = unit( sum_n a_kn (z_n - c_k) / sum_n a_kn / scale_k )`.

    Args:
        features: [B,h,w,D], `z`.
        assignment: [B,K,h,w] >= 0, `a`.
        queries: [K,D] or [B,K,D], `c`.
        scale: > 0, one number or [K,D]; one number has no effect, as the length is one afterwards.

    Returns:
        f32 [B,K,D] of length 1; zero where the part has no mass or does not differ.

    Raises:
        ValueError: shapes that do not agree.

    Example:
        >>> residual(jnp.array([[[[2.0, 7.0]]]]), jnp.ones((1, 1, 1, 1)), jnp.array([[2.0, 3.0]])).tolist()
        [[[0.0, 1.0]]]

    Source: NetVLAD (Arandjelovic et al. 2016), equation 1; Huang and Li (2020), region features.
    Departures: a part with no mass gives 0, where `mean - c_k` would give `-c_k`.
    """
    _check("residual", features, assignment)
    axes = "K D" if jnp.ndim(queries) == 2 else "B K D"
    shapes = {"assignment": (assignment, "B K h w"), "queries": (queries, axes)}
    check_shapes("residual", features=(features, "B h w D"), **shapes)
    mass = _mass(assignment)[..., None]
    difference = _sum(features, assignment) - mass * queries.astype(jnp.float32)
    return unit(difference / jnp.maximum(mass, SMALLEST_MASS) / scale)


def standardised_residual(features: jax.Array, assignment: jax.Array, queries: jax.Array) -> jax.Array:
    """`residual` of features standardised at length one, `v_k = unit( sum_n a_kn (u_n - c_k) / sum_n a_kn )`.

    Args:
        features: [B,h,w,D], `z`; `u_n = (z_n - mean z_n) / (deviation z_n sqrt(D))`.
        assignment: [B,K,h,w] >= 0, `a`.
        queries: [K,D], `c`, of length about one.

    Returns:
        f32 [B,K,D] of length 1; zero where the part has no mass or does not differ.

    Raises:
        ValueError: shapes that do not agree.

    Example:
        >>> z, c = jnp.array([[[[1.0, 5.0]]]]), jnp.array([[-0.5, 0.5]])
        >>> standardised_residual(z, jnp.ones((1, 1, 1, 1)), c * 2**0.5 + jnp.array([[0.0, 1.0]])).round(3).tolist()
        [[[0.0, -1.0]]]

    Source: see `residual`.
    """
    sizes = _check("standardised_residual", features, assignment)
    shapes = {"assignment": (assignment, "B K h w"), "queries": (queries, "K D")}
    check_shapes("standardised_residual", features=(features, "B h w D"), **shapes)
    mean = standardised_mean(features, assignment) / jnp.sqrt(sizes["D"])
    mass = _mass(assignment)[..., None]
    return unit(mean - mass / jnp.maximum(mass, SMALLEST_MASS) * queries.astype(jnp.float32))


def max_score(similarity: jax.Array) -> jax.Array:
    """The best location's similarity, `s_k = max_n s_kn`.

    Args:
        similarity: [B,K,h,w].

    Returns:
        f32 [B,K].

    Raises:
        ValueError: not four axes.

    Example:
        >>> max_score(jnp.array([[[[1.0, 5.0], [2.0, 0.0]]]])).tolist()
        [[5.0]]

    Source: ProtoPNet (2019), PIP-Net (Nauta et al. 2023), bag of parts (Sicre et al. 2017).
    """
    check_shapes("max_score", similarity=(similarity, "B K h w"))
    return jnp.max(similarity.astype(jnp.float32), axis=(2, 3))


def top_mean_score(similarity: jax.Array, count: int) -> jax.Array:
    """The mean similarity of the best locations.

    Args:
        similarity: [B,K,h,w].
        count: 1 to h*w, how many locations.

    Returns:
        f32 [B,K].

    Raises:
        ValueError: not four axes, or a count out of range.

    Example:
        >>> top_mean_score(jnp.array([[[[1.0, 5.0], [2.0, 0.0]]]]), 2).tolist()
        [[3.5]]

    Source: Deformable ProtoPNet (Donnelly et al. 2022), top-k pooling.
    """
    sizes = check_shapes("top_mean_score", similarity=(similarity, "B K h w"))
    locations = sizes["h"] * sizes["w"]
    if not 1 <= count <= locations:
        raise ValueError(f"top_mean_score: count {count}; expected 1 to {locations} locations")
    flat = similarity.astype(jnp.float32).reshape(*similarity.shape[:2], locations)
    return jnp.mean(jax.lax.top_k(flat, count)[0], axis=-1)


def max_minus_mean_score(similarity: jax.Array) -> jax.Array:
    """How far the best location stands out, `s_k = max_n s_kn - (1/N) sum_n s_kn`.

    Args:
        similarity: [B,K,h,w].

    Returns:
        f32 [B,K] >= 0; 0 for a flat map.

    Raises:
        ValueError: not four axes.

    Example:
        >>> max_minus_mean_score(jnp.array([[[[1.0, 5.0], [2.0, 0.0]]]])).tolist()
        [[3.0]]

    Source: ProtoPool (Rymarczyk et al. 2022), focal similarity.
    """
    return max_score(similarity) - jnp.mean(similarity.astype(jnp.float32), axis=(2, 3))


def peak_vector(features: jax.Array, similarity: jax.Array) -> jax.Array:
    """The feature of the best location, `v_k = z_n*` with `n* = argmax_n s_kn` (the first of equals).

    Args:
        features: [B,h,w,D], `z`.
        similarity: [B,K,h,w], or an assignment; it gets no gradient.

    Returns:
        f32 [B,K,D].

    Raises:
        ValueError: shapes that do not agree.

    Example:
        >>> peak_vector(jnp.array([[[[7.0], [8.0]]]]), jnp.array([[[[0.1, 0.9]]]])).tolist()
        [[[8.0]]]

    Source: Sicre et al. (2017), concatenation of parts.
    """
    sizes = _check("peak_vector", features, similarity, "similarity")
    best = jnp.argmax(similarity.reshape(sizes["B"], sizes["K"], -1), axis=-1)
    flat = features.astype(jnp.float32).reshape(sizes["B"], -1, sizes["D"])
    return jnp.take_along_axis(flat, best[..., None], axis=1)


def peak_assignment(similarity: jax.Array) -> jax.Array:
    """All of a part at its best location, `e_kn = [n = argmax_m s_km]`, the first of equals; no gradient.

    Args:
        similarity: [B,K,h,w].

    Returns:
        f32 [B,K,h,w] in {0,1}, one 1 a part.

    Raises:
        ValueError: not four axes.

    Example:
        >>> peak_assignment(jnp.array([[[[0.1, 0.9, 0.9]]]])).tolist()
        [[[[0.0, 1.0, 0.0]]]]

    Source: standard: what a maximum holds fixed.
    """
    sizes = check_shapes("peak_assignment", similarity=(similarity, "B K h w"))
    flat = similarity.reshape(sizes["B"], sizes["K"], -1)
    return jax.nn.one_hot(jnp.argmax(flat, axis=-1), flat.shape[-1]).reshape(similarity.shape)


def gem(features: jax.Array, power: jax.Array | float = 3.0, least: float = 1e-6) -> jax.Array:
    """Generalised-mean pooling, `v_d = ((1/N) sum_n max(z_nd, least)^p)^(1/p)`.

    Args:
        features: [B,h,w,D], `z`; what is below `least` counts as `least`, so use them after a ReLU.
        power: `p` > 0, one number or [D]; 1 is the mean, and large ones come near the maximum.
        least: > 0.

    Returns:
        f32 [B,D] > 0.

    Raises:
        ValueError: features without four axes, a power of another shape, `least` not above 0.

    Example:
        >>> gem(jnp.array([[[[1.0], [7.0]]]]), 1.0).round(3).tolist(), gem(jnp.array([[[[1.0], [7.0]]]]), 2.0).tolist()
        ([[4.0]], [[5.0]])

    Source: Radenovic, Tolias and Chum, Fine-tuning CNN image retrieval with no human annotation, PAMI 2019, equation
    3, with 1e-6 from their code.
    Departures: computed from logarithms, as the powers of small features are 0 in float32 and have no gradient.
    """
    sizes = check_shapes("gem", features=(features, "B h w D"))
    if jnp.ndim(power):
        check_shapes("gem", features=(features, "B h w D"), power=(power, "D"))
    if not least > 0:
        raise ValueError(f"gem: least {least}; expected above 0")
    logs = jnp.log(jnp.maximum(features.astype(jnp.float32), least)).reshape(sizes["B"], -1, sizes["D"])
    return jnp.exp((jax.nn.logsumexp(power * logs, axis=1) - jnp.log(logs.shape[1])) / power)


def presence(assignment: jax.Array) -> jax.Array:
    """How much of the part is in the image: its largest share of any location, `max_n a_kn`.

    Args:
        assignment: [B,K,h,w] in [0,1].

    Returns:
        f32 [B,K] in [0,1].

    Raises:
        ValueError: not four axes.

    Example:
        >>> presence(jnp.array([[[[0.25, 0.75]]]])).tolist()
        [[0.75]]

    Source: Huang and Li (2020), occurrence `t_k`, without the smoothing.
    """
    check_shapes("presence", assignment=(assignment, "B K h w"))
    return jnp.clip(jnp.max(assignment.astype(jnp.float32), axis=(2, 3)), 0.0, 1.0)


def grid_positions(height: int, width: int) -> jax.Array:
    """The (y, x) of the cell centres of a grid over the image, f32 [h,w,2] in [0,1].

    >>> grid_positions(1, 2).tolist()
    [[[0.5, 0.25], [0.5, 0.75]]]
    """
    y, x = (jnp.arange(n, dtype=jnp.float32) + 0.5 for n in (height, width))
    return jnp.stack(jnp.meshgrid(y / height, x / width, indexing="ij"), axis=-1)


def centroid(assignment: jax.Array) -> jax.Array:
    """The mean position of the part, `c_k = sum_n a_kn (y_n, x_n) / sum_n a_kn`.

    Args:
        assignment: [B,K,h,w] >= 0.

    Returns:
        f32 [B,K,2], (y, x) in [0,1]; the image centre where the part has no mass (under 1e-6).

    Raises:
        ValueError: not four axes.

    Example:
        >>> centroid(jnp.array([[[[0.0, 1.0], [0.0, 1.0]]]])).tolist()
        [[[0.5, 0.75]]]

    Source: SCOPS (Hung et al. 2019), part centres; standard.
    """
    sizes = check_shapes("centroid", assignment=(assignment, "B K h w"))
    offset = grid_positions(sizes["h"], sizes["w"]) - 0.5
    total = jnp.einsum("bkhw,hwc->bkc", assignment.astype(jnp.float32), offset, precision=EXACT)
    mass = _mass(assignment)[..., None]
    present = mass > SMALLEST_MASS
    return 0.5 + jnp.where(present, total, 0.0) / jnp.where(present, mass, 1.0)
