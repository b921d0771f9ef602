"""Numbers that vary independently: losses on the Gaussians codes are drawn from, and on the codes of a batch.

The last axis holds the M numbers of a code. Axes between batch and numbers, the parts in [B,K,M], are taken each on
its own: reshape to [B,K*M] for the numbers of all parts together.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from partrep.shapes import check_shapes

NEVER = -1e30  # a log-density that adds nothing, and unlike -inf has a gradient
SMALLEST_VARIANCE = 1e-12


def _check(function: str, where: jax.Array | None, **arrays: jax.Array) -> None:
    """All arrays [B,...,M] of one shape, `where` [B]."""
    shapes = {name: jnp.shape(x) for name, x in arrays.items()}
    first, shape = next(iter(shapes.items()))
    if len(shape) < 2:
        raise ValueError(f"{function}: {first} has shape {shape}; expected [B,...,M]")
    for name, other in shapes.items():
        if other != shape:
            raise ValueError(f"{function}: {name} has shape {other}; expected that of {first}, {shape}")
    check_shapes(function, rows=(jnp.zeros(shape[:1]), "B"), where=(where, "B"))


def _rows(x: jax.Array, where: jax.Array | None) -> tuple[jax.Array, jax.Array, jax.Array]:
    """x as f32 [B,P,M] with zeros for examples that do not count, which count (f32 [B]), and how many (>= 1)."""
    x = x.astype(jnp.float32).reshape(x.shape[0], -1, x.shape[-1])
    if where is None:
        return x, jnp.ones(x.shape[0]), jnp.float32(x.shape[0])
    x = jnp.where(where[:, None, None], x, 0.0)
    return x, where.astype(jnp.float32), jnp.maximum(jnp.sum(where), 1).astype(jnp.float32)


def _centred(x: jax.Array, where: jax.Array | None) -> tuple[jax.Array, jax.Array]:
    """f32 [B,P,M] less the mean of the examples that count, zero for the others, and how many count."""
    x, counts, count = _rows(x, where)
    return (x - x.sum(0) / count) * counts[:, None, None], count


def gaussian_kl(mean: jax.Array, log_variance: jax.Array) -> jax.Array:
    """Nats that codes say beyond noise, `l_b = 1/2 sum (mu^2 + s^2 - log s^2 - 1) = KL(N(mu, s^2) || N(0, 1))`.

    Args:
        mean: [B,...], `mu`.
        log_variance: the same shape, `log s^2`.

    Returns:
        f32 [B] >= 0 (per example), the sum over all other axes: nats, additive over parts and numbers. Weight 1
        beside a log-likelihood in nats (see `reconstruction`), beta > 1 for disentanglement.

    Raises:
        ValueError: shapes that do not agree, no batch axis.

    Example:
        >>> gaussian_kl(jnp.array([[0.0, 0.0], [2.0, 0.0]]), jnp.zeros((2, 2))).tolist()
        [0.0, 2.0]

    Source: Kingma and Welling (2014), appendix B; beta, Higgins et al. (2017), beta-VAE, equation 4, 1 to 16.
    """
    if jnp.ndim(mean) < 1 or jnp.shape(mean) != jnp.shape(log_variance):
        found = f"mean has shape {jnp.shape(mean)}, log_variance {jnp.shape(log_variance)}"
        raise ValueError(f"gaussian_kl: {found}; expected [B,...] twice")
    mean, log_variance = mean.astype(jnp.float32), log_variance.astype(jnp.float32)
    # expm1 keeps small values exact, and the sum at or above zero.
    nats = 0.5 * (mean**2 + jnp.expm1(log_variance) - log_variance)
    return nats.reshape(nats.shape[0], -1).sum(-1)


def total_correlation(
    samples: jax.Array, mean: jax.Array, log_variance: jax.Array, where: jax.Array | None = None
) -> jax.Array:
    """How far numbers are from independent over the batch, the divergence of their joint density from the product.

    `l = mean_j [ log (1/B) sum_i prod_m q_i(z_jm)  -  sum_m log (1/B) sum_i q_i(z_jm) ]`, with `q_i(z_m)` the density
    of `N(mu_im, s_im^2)`: the total correlation of the mixture of the batch's Gaussians, estimated at one sample of
    each.

    Args:
        samples: [B,...,M], `z`, drawn from `N(mu, s^2)`.
        mean: the same shape, `mu`.
        log_variance: the same shape, `log s^2`.
        where: bool [B]; false examples are ignored, and B counts the others.

    Returns:
        f32 scalar (per batch), nats, the sum over the axes between B and M (parts). Exactly 0 in exact arithmetic for
        Gaussians that are all the same, and for M = 1; the largest value of each part, (M-1) log B, is reached where
        no two Gaussians overlap in any number. An estimate: it may fall a little under 0. Beside `gaussian_kl`
        of weight 1, weight beta - 1.

    Raises:
        ValueError: shapes that do not agree, no batch axis.

    Example:
        >>> apart = jnp.array([[0.0, 0.0, 0.0], [100.0, 100.0, 100.0]])
        >>> round(float(total_correlation(apart, apart, jnp.zeros((2, 3)))), 5)  # 2 log 2
        1.38629

    Source: Chen et al. (2018), beta-TCVAE, equation 2 and section 4.1, minibatch estimate; beta 1 to 10.
    Departures: the data set is the batch. The released code of later studies drops the constants, which adds
    -(M-1) log B to ours; the paper's own weights by the data set's size N add (M-1) log N/B to ours... 
    """
    _check("total_correlation", where, samples=samples, mean=mean, log_variance=log_variance)
    z, counts, count = _rows(samples, where)
    mu, raw = _rows(mean, where)[0], _rows(log_variance, where)[0]
    # [j,i,P,M]; the constant -log(2 pi)/2 of each number is the same in both terms.
    density = -0.5 * ((z[:, None] - mu) ** 2 * jnp.exp(-raw) + raw)
    never = NEVER * (1.0 - counts)[:, None, None]
    joint = jax.nn.logsumexp(density.sum(-1) + never[..., 0], axis=1) - jnp.log(count)
    single = jax.nn.logsumexp(density + never, axis=1) - jnp.log(count)
    return jnp.sum(counts[:, None] * (joint - single.sum(-1))) / count
