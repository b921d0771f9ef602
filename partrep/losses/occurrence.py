"""How often parts occur: the presences of a batch follow a Beta distribution."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import betaincinv

from partrep.shapes import check_shapes

SMALLEST_PRESENCE = 1e-5


def beta_quantiles(alpha: float, beta: float, batch_size: int) -> np.ndarray:
    """Quantiles of a Beta distribution for any number of real examples, f32 [B+1,B]; made once, on the host.

    Row n holds `F^-1((2i-1) / 2n)` for i = 1..n, then zeros.

    >>> beta_quantiles(1.0, 1.0, 2).tolist()
    [[0.0, 0.0], [0.5, 0.0], [0.25, 0.75]]
    """
    if min(alpha, beta, batch_size) <= 0:
        found = f"alpha {alpha}, beta {beta}, batch_size {batch_size}"
        raise ValueError(f"beta_quantiles: {found}; expected all positive")
    table = np.zeros((batch_size + 1, batch_size))
    for n in range(1, batch_size + 1):
        table[n, :n] = betaincinv(alpha, beta, (2 * np.arange(1, n + 1) - 1) / (2 * n))
    return table.astype(np.float32)


def smoothed_occurrence(assignment: jax.Array, radius: int = 2, deviation: float = 0.4) -> jax.Array:
    """The presence that the prior is put on, `t_k = max_n (G * a_k)_n`, `G` a Gaussian of (2r+1)^2 cells.

    Single cells count less than blobs, and locations nearer than `r` to the border are not looked at.

    Args:
        assignment: [B,K,h,w] in [0,1], `a`, on a grid of at least 2r+1 cells a side.
        radius: >= 0, `r`, in cells.
        deviation: > 0, of `G`, in cells.

    Returns:
        f32 [B,K] in [0,1].

    Raises:
        ValueError: not four axes, a grid smaller than the Gaussian, a radius or deviation out of range.

    Example:
        >>> round(float(smoothed_occurrence(jnp.zeros((1, 1, 5, 5)).at[0, 0, 2, 2].set(1.0))[0, 0]), 3)
        0.845

    Source: Huang and Li (2020), occurrence `t_k`; the released code has these radius and deviation.
    """
    sizes = check_shapes("smoothed_occurrence", assignment=(assignment, "B K h w"))
    if radius < 0 or deviation <= 0:
        found = f"radius {radius}, deviation {deviation}"
        raise ValueError(f"smoothed_occurrence: {found}; expected radius >= 0 and deviation > 0")
    height, width = sizes["h"] - 2 * radius, sizes["w"] - 2 * radius
    if min(height, width) < 1:
        wanted = f"at least {2 * radius + 1} cells a side for radius {radius}"
        raise ValueError(f"smoothed_occurrence: a grid of {sizes['h']}x{sizes['w']}; expected {wanted}")
    taps = np.exp(-(np.arange(-radius, radius + 1.0) ** 2) / (2 * deviation**2))
    taps = (taps / taps.sum()).tolist()
    maps = assignment.astype(jnp.float32)
    maps = sum(tap * maps[:, :, i : i + height] for i, tap in enumerate(taps))
    maps = sum(tap * maps[..., i : i + width] for i, tap in enumerate(taps))
    return jnp.max(maps, axis=(2, 3))


def occurrence(presence: jax.Array, quantiles: jax.Array, where: jax.Array | None = None) -> jax.Array:
    """Presences over the batch follow the prior, `l = mean_{i,k} |log(t_(i)k + e) - log(q_i + e)|`.

    `t_(i)k` is the i-th smallest presence of part k, `e` = 1e-5: a Wasserstein distance in one dimension.

    Args:
        presence: [B,K] in [0,1], `t`.
        quantiles: [B+1,B] of `beta_quantiles`, for the size of the whole (global) batch.
        where: bool [B]; false examples are ignored.

    Returns:
        f32 scalar >= 0 (per batch).

    Raises:
        ValueError: shapes that do not agree.

    Example:
        >>> table = beta_quantiles(1.0, 1.0, 2)
        >>> round(float(occurrence(jnp.array([[0.75], [0.25]]), table)), 4)
        0.0

    Source: Huang and Li (2020), region occurrence prior, weight 0.5.
    Departures: takes presences, of `smoothed_occurrence` as in the source or any other. The released prior, Beta(1,
    0.001), is 1 at every quantile of a batch under a few hundred ("every part in every image"); a prior with
    absences is, for example, Beta(0.002, 0.001).
    """
    sizes = check_shapes("occurrence", presence=(presence, "B K"), where=(where, "B"))
    batch = sizes["B"]
    if np.shape(quantiles) != (batch + 1, batch):
        wanted = f"[B+1,B] of beta_quantiles with B={batch}"
        raise ValueError(f"occurrence: quantiles has shape {np.shape(quantiles)}; expected {wanted}")
    count = batch if where is None else jnp.sum(where)
    t = presence.astype(jnp.float32)
    if where is not None:
        t = jnp.where(where[:, None], t, 2.0)  # after every presence
    real = (jnp.arange(batch) < count)[:, None]
    target = jnp.asarray(quantiles)[count][:, None]
    gap = jnp.log(jnp.sort(t, axis=0) + SMALLEST_PRESENCE) - jnp.log(target + SMALLEST_PRESENCE)
    return jnp.sum(jnp.where(real, jnp.abs(gap), 0.0)) / (jnp.maximum(count, 1) * sizes["K"])
