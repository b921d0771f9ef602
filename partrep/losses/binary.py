"""Good bits: balanced, independent, and near to what the network computes before the sign."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from partrep.shapes import check_shapes


def _flat_bits(function: str, codes: jax.Array, where: jax.Array | None) -> tuple[jax.Array, jax.Array]:
    """Codes as f32 [B,M] with zeros for the examples that do not count, and how many count."""
    if jnp.ndim(codes) < 2:
        raise ValueError(f"{function}: codes has shape {jnp.shape(codes)}; expected [B,M] or [B,K,M]")
    flat = codes.astype(jnp.float32).reshape(codes.shape[0], -1)
    check_shapes(function, codes=(flat, "B M"), where=(where, "B"))
    if where is None:
        return flat, jnp.float32(codes.shape[0])
    return jnp.where(where[:, None], flat, 0.0), jnp.maximum(jnp.sum(where), 1).astype(jnp.float32)


def bit_balance(codes: jax.Array, where: jax.Array | None = None) -> jax.Array:
    """Each bit is +1 as often as -1, `l = |mean_b c_b|^2`.

    Args:
        codes: [B,M] or [B,K,M] (the bits of all parts are taken together), in [-1,1].
        where: bool [B]; false examples are ignored.

    Returns:
        f32 scalar in [0, bits] (per batch).

    Raises:
        ValueError: codes without a batch axis, shapes that do not agree.

    Example:
        >>> float(bit_balance(jnp.array([[1.0, 1.0], [-1.0, 1.0]])))
        1.0

    Source: spectral hashing (Weiss et al. 2008), the balance constraint, as a penalty.
    """
    flat, count = _flat_bits("bit_balance", codes, where)
    return jnp.sum((jnp.sum(flat, axis=0) / count) ** 2)


def bit_decorrelation(codes: jax.Array, where: jax.Array | None = None) -> jax.Array:
    """Bits say different things, `l = |C^T C / B - I|_F^2`, `C` the codes of the batch.

    Args:
        codes: [B,M] or [B,K,M] (the bits of all parts are taken together), in [-1,1].
        where: bool [B]; false examples are ignored.

    Returns:
        f32 scalar >= 0 (per batch). Random bits give about bits^2 / B: the term cannot vanish when there are
        more bits than examples.

    Raises:
        ValueError: codes without a batch axis, shapes that do not agree.

    Example:
        >>> float(bit_decorrelation(jnp.array([[1.0, 1.0], [-1.0, 1.0]])))
        0.0
        >>> float(bit_decorrelation(jnp.array([[1.0, 1.0], [-1.0, -1.0]])))
        2.0

    Source: spectral hashing (Weiss et al. 2008), the uncorrelatedness constraint, as a penalty.
    """
    flat, count = _flat_bits("bit_decorrelation", codes, where)
    gram = jnp.matmul(flat.T, flat, precision=jax.lax.Precision.HIGHEST) / count
    return jnp.sum((gram - jnp.eye(flat.shape[1])) ** 2)


def quantisation(logits: jax.Array) -> jax.Array:
    """What is lost by the sign, `l_b = mean | |u| - 1 |^3` over the bits of an example.

    Args:
        logits: [B,...], `u`, before the sign.

    Returns:
        f32 [B] >= 0 (per example); 0 where every logit is -1 or +1.

    Raises:
        ValueError: no batch axis.

    Example:
        >>> quantisation(jnp.array([[1.0, -1.0], [0.0, 3.0]])).tolist()
        [0.0, 4.5]

    Source: GreedyHash (Su et al. 2018), the cubic penalty, weight 0.1.
    """
    if jnp.ndim(logits) < 1:
        raise ValueError("quantisation: logits is a number; expected [B,...]")
    u = logits.astype(jnp.float32).reshape(logits.shape[0], -1)
    return jnp.mean(jnp.abs(jnp.abs(u) - 1.0) ** 3, axis=1)
