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
    Departures: takes presences, so smoothing the maps first is the caller's. The released prior, Beta(1,
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
