"""Softmax over the cosines to one vector a class, plain and with a margin on the own class: per example [B]."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from partrep.directions import SMALLEST_NORM, unit
from partrep.losses.classification import softmax_cross_entropy
from partrep.losses.pairs import EXACT, check_positive, check_some
from partrep.shapes import check_shapes


def compare(
    function: str, embeddings: jax.Array, proxies: jax.Array, labels: jax.Array, where: jax.Array | None
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Unit embeddings [B,E], with zeros for padding, unit proxies [C,E], and the own class of each, bool [B,C]."""
    given = {"embeddings": (embeddings, "B E"), "proxies": (proxies, "C E"), "labels": (labels, "B")}
    sizes = check_shapes(function, **given, where=(where, "B"))
    check_some(function, sizes["B"])
    if where is not None:
        embeddings = jnp.where(jnp.asarray(where, bool)[:, None], embeddings, 0.0)
    return unit(embeddings), unit(proxies), jnp.asarray(labels)[:, None] == jnp.arange(sizes["C"])


def products(x: jax.Array, w: jax.Array) -> jax.Array:
    """The products of [B,E] and [C,E], exact to float32; [B,C]."""
    return jnp.matmul(x, w.T, precision=EXACT)


def normalised_softmax(
    embeddings: jax.Array,
    proxies: jax.Array,
    labels: jax.Array,
    temperature: float = 0.05,
    where: jax.Array | None = None,
) -> jax.Array:
    """Cross entropy of cosines, `l_b = -log softmax_c(cos(x_b, w_c) / T)_{y_b}`.

    Args:
        embeddings: [B,E], `x`, of any length.
        proxies: [C,E], `w`, one a class, of any length.
        labels: int [B] in 0..C-1, `y`; another label gives 0.
        temperature: `T` > 0.
        where: bool [B]; a false example gives 0 and no gradient, whatever it holds.

    Returns:
        f32 [B] >= 0 (per example). A zero vector is at right angles to all and has no gradient.

    Raises:
        ValueError: shapes that do not agree, a temperature that is not positive.

    Example:
        >>> x, w = jnp.array([[2.0, 0.0]]), jnp.array([[3.0, 0.0], [0.0, 1.0]])
        >>> round(float(normalised_softmax(x, w, jnp.array([0]), temperature=1.0)[0]), 4)
        0.3133

    Source: Zhai and Wu (2019), Classification is a strong baseline for deep metric learning, T = 0.05.
    Departures: embeddings are brought to length one here; in the released code the network does it.
    """
    check_positive("normalised_softmax", temperature=temperature)
    x, w, _ = compare("normalised_softmax", embeddings, proxies, labels, where)
    return softmax_cross_entropy(products(x, w) / temperature, labels, where=where)


def cosface(
    embeddings: jax.Array,
    proxies: jax.Array,
    labels: jax.Array,
    margin: float = 0.35,
    scale: float = 64.0,
    where: jax.Array | None = None,
) -> jax.Array:
    """Cross entropy of cosines, the own one less a margin, `l_b = -log softmax_c(s (cos_bc - m [c = y_b]))_{y_b}`.

    `cos_bc` is the cosine of `x_b` and `w_c`.

    Args:
        embeddings: [B,E], `x`, of any length.
        proxies: [C,E], `w`, one a class, of any length.
        labels: int [B] in 0..C-1, `y`; another label gives 0.
        margin: `m` >= 0, in cosine.
        scale: `s` > 0, the inverse of a temperature.
        where: bool [B]; a false example gives 0 and no gradient, whatever it holds.

    Returns:
        f32 [B] >= 0 (per example). A zero vector is at right angles to all and has no gradient.

    Raises:
        ValueError: shapes that do not agree, a negative margin, a scale that is not positive.

    Example:
        >>> x, w = jnp.array([[1.0, 1.0]]), jnp.eye(2)
        >>> round(float(cosface(x, w, jnp.array([0]), margin=0.5, scale=2.0)[0]), 4)
        1.3133

    Source: CosFace (Wang et al. 2018), equation 4, m = 0.35, s = 64; released face recognition code takes m = 0.4.
    """
    check_positive("cosface", scale=scale)
    check_margin("cosface", margin)
    x, w, own = compare("cosface", embeddings, proxies, labels, where)
    return softmax_cross_entropy(scale * (products(x, w) - margin * own), labels, where=where)


def arcface(
    embeddings: jax.Array,
    proxies: jax.Array,
    labels: jax.Array,
    margin: float = 0.5,
    scale: float = 64.0,
    where: jax.Array | None = None,
) -> jax.Array:
    """Cross entropy of cosines, the own angle with a margin, `l_b = -log softmax_c(s cos(t_bc + m [c = y_b]))_{y_b}`.

    `t_bc` is the angle of `x_b` and `w_c`. Beyond `t + m = pi` the cosine would rise again; there
    `cos t - (1 - cos m)` takes its place, which goes on from -1 without a jump and falls on.

    Args:
        embeddings: [B,E], `x`, of any length.
        proxies: [C,E], `w`, one a class, of any length.
        labels: int [B] in 0..C-1, `y`; another label gives 0.
        margin: `m` in [0, pi/2], in radians.
        scale: `s` > 0, the inverse of a temperature.
        where: bool [B]; a false example gives 0 and no gradient, whatever it holds.

    Returns:
        f32 [B] >= 0 (per example). A zero vector is at right angles to all and has no gradient.

    Raises:
        ValueError: shapes that do not agree, a margin out of range, a scale that is not positive.

    Example:
        >>> x, w = jnp.array([[1.0, 0.0]]), jnp.eye(2)
        >>> round(float(arcface(x, w, jnp.array([0]), margin=jnp.pi / 3, scale=1.0)[0]), 4)
        0.4741

    Source: ArcFace (Deng et al. 2019), equation 3, m = 0.5, s = 64.
    Departures: the paper leaves `t + m > pi` open. The authors' code takes `cos t - m sin m` there, which jumps (at
    m = 0.5 from -1 to -1.117) and has the same slope; up to `t = pi - m` both are the same. pytorch-metric-learning
    takes degrees, and does as the authors' code beyond pi. The sine is the length of `x - cos(t) w`, exact near 0
    and pi, where the root of `1 - cos^2` loses its digits and has no gradient.
    """
    check_positive("arcface", scale=scale)
    check_margin("arcface", margin, math.pi / 2)
    x, w, own = compare("arcface", embeddings, proxies, labels, where)
    cosines = products(x, w)
    proxy = jnp.matmul(own.astype(jnp.float32), w, precision=EXACT)
    cosine = jnp.sum(jnp.where(own, cosines, 0.0), axis=1)
    sine = _length(x - cosine[:, None] * proxy)
    sine = jnp.where(jnp.any(x != 0, axis=1), sine, 1.0)
    cos_m, sin_m = jnp.cos(margin), jnp.sin(margin)
    moved = jnp.where(cosine > -cos_m, cosine * cos_m - sine * sin_m, cosine - (1.0 - cos_m))
    return softmax_cross_entropy(scale * jnp.where(own, moved[:, None], cosines), labels, where=where)


def check_margin(function: str, margin: float, most: float = math.inf) -> None:
    """A `ValueError` unless 0 <= margin <= most; one that is a traced array passes."""
    if not isinstance(margin, jax.core.Tracer) and not 0.0 <= margin <= most:
        wanted = "at least 0" if most == math.inf else f"a number in [0, {most:.4g}]"
        raise ValueError(f"{function}: margin is {margin}; expected {wanted}")


def _length(x: jax.Array) -> jax.Array:
    """Lengths of the rows of [B,E]; 0, without gradient, below 1e-6."""
    squared = jnp.sum(x * x, axis=1)
    real = squared > SMALLEST_NORM**2
    return jnp.where(real, jnp.sqrt(jnp.where(real, squared, 1.0)), 0.0)
