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
    # exp(v) - 1 would lose small log-variances.
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

    Source: Chen et al. (2018), beta-TCVAE, equations 2 and 3, minibatch weighted sampling; beta 1 to 10.
    Departures: the mixture is that of the batch. With its equation 3 (N images in the data set) the value is
    larger by (M-1) log N; with all constants dropped, as in later code, smaller by (M-1) log B: the same gradients.
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


def _dip(covariance: jax.Array, diagonal: float) -> jax.Array:
    """The distance of covariances [P,M,M] from the identity, the diagonal weighed, summed over P."""
    eye = jnp.eye(covariance.shape[-1])
    squared = (covariance - eye) ** 2
    return jnp.sum(squared * (1.0 - eye)) + diagonal * jnp.sum(squared * eye)


def _covariance(centred: jax.Array, count: jax.Array) -> jax.Array:
    """Of each part: [B,P,M] -> [P,M,M]."""
    return jnp.einsum("bpm,bpn->pmn", centred, centred, precision=jax.lax.Precision.HIGHEST) / count


def dip_i(mean: jax.Array, where: jax.Array | None = None, diagonal: float = 10.0) -> jax.Array:
    """Means of unit covariance over the batch, `l = sum_{m != n} C_mn^2 + r sum_m (C_mm - 1)^2`, `C = Cov_b(mu_b)`.

    Args:
        mean: [B,...,M], `mu`.
        where: bool [B]; false examples are ignored.
        diagonal: `r` >= 0.

    Returns:
        f32 scalar >= 0 (per batch), the sum over the axes between B and M (parts).

    Raises:
        ValueError: no batch axis, shapes that do not agree.

    Example:
        >>> float(dip_i(jnp.array([[1.0, 1.0], [-1.0, -1.0]])))
        2.0

    Source: Kumar et al. (2018), DIP-VAE-I, equation 6; weight 1 to 50 with `r` = 10.
    """
    _check("dip_i", where, mean=mean)
    return _dip(_covariance(*_centred(mean, where)), diagonal)


def dip_ii(
    mean: jax.Array, log_variance: jax.Array, where: jax.Array | None = None, diagonal: float = 1.0
) -> jax.Array:
    """Codes of unit covariance over the batch, as `dip_i` with `C = Cov_b(mu_b) + diag(mean_b s_b^2)`.

    `C` is the covariance of the codes themselves, which are drawn from `N(mu, s^2)`.

    Args:
        mean: [B,...,M], `mu`.
        log_variance: the same shape, `log s^2`.
        where: bool [B]; false examples are ignored.
        diagonal: `r` >= 0.

    Returns:
        f32 scalar >= 0 (per batch), the sum over the axes between B and M (parts); 0 where nothing is said
        (`mu = 0`, `s = 1`).

    Raises:
        ValueError: no batch axis, shapes that do not agree.

    Example:
        >>> float(dip_ii(jnp.array([[1.0, 0.0], [-1.0, 0.0]]), jnp.zeros((2, 2))))
        1.0

    Source: Kumar et al. (2018), DIP-VAE-II, equation 7; weight 1 to 50 with `r` = 1.
    """
    _check("dip_ii", where, mean=mean, log_variance=log_variance)
    centred, count = _centred(mean, where)
    raw, counts, _ = _rows(log_variance, where)
    variance = jnp.einsum("b,bpm->pm", counts, jnp.exp(raw)) / count
    return _dip(_covariance(centred, count) + variance[:, None] * jnp.eye(variance.shape[-1]), diagonal)


def _normalised(codes: jax.Array, where: jax.Array | None) -> jax.Array:
    """Codes [B,P,M] such that inner products over the batch are correlations; zero where a number never varies."""
    centred, count = _centred(codes, where)
    variance = jnp.sum(centred**2, axis=0) / count
    varies = variance > SMALLEST_VARIANCE
    return jnp.where(varies, centred, 0.0) * jax.lax.rsqrt(jnp.where(varies, variance * count, 1.0))


def code_decorrelation(codes: jax.Array, where: jax.Array | None = None) -> jax.Array:
    """Numbers of a part say different things, `l = mean_k mean_{m != n} r_kmn^2`, `r` their correlation over the batch.

    Args:
        codes: [B,...,M].
        where: bool [B]; false examples are ignored.

    Returns:
        f32 scalar in [0,1] (per batch), the mean over the axes between B and M (parts) and over pairs of numbers; 0
        for M = 1. Numbers that do not vary (variance under 1e-12) are uncorrelated. Independent numbers give about
        1 / (B - 1).

    Raises:
        ValueError: no batch axis, shapes that do not agree.

    Example:
        >>> round(float(code_decorrelation(jnp.array([[1.0, 2.0], [2.0, 4.0], [3.0, 6.0]]))), 5)
        1.0

    Source: Barlow Twins (Zbontar et al. 2021), equation 1, the redundancy reduction term.
    Departures: correlations within one view, a mean in place of a sum, and no invariance term beside it.
    """
    _check("code_decorrelation", where, codes=codes)
    unit = _normalised(codes, where)
    parts, width = unit.shape[1:]
    correlation = jnp.einsum("bpm,bpn->pmn", unit, unit, precision=jax.lax.Precision.HIGHEST)
    return jnp.sum((correlation * (1.0 - jnp.eye(width))) ** 2) / (parts * max(width * (width - 1), 1))


def part_decorrelation(codes: jax.Array, where: jax.Array | None = None) -> jax.Array:
    """Parts say different things, `l = mean_{k != l} mean_{m,n} r_kmln^2`, `r` the correlation over the batch of number
    m of part k with number n of part l.

    `orthogonality` compares part vectors within an image and `map_decorrelation` places; this one compares what
    changes from image to image: parts that look alike may vary independently, and unlike ones together.

    Args:
        codes: [B,K,M].
        where: bool [B]; false examples are ignored.

    Returns:
        f32 scalar in [0,1] (per batch); 0 for one part. Numbers that do not vary (variance under 1e-12) are
        uncorrelated. Independent numbers give about 1 / (B - 1).

    Raises:
        ValueError: shapes that do not agree.

    Example:
        >>> round(float(part_decorrelation(jnp.array([[[1.0], [2.0]], [[2.0], [4.0]], [[3.0], [6.0]]]))), 5)
        1.0

    Source: Barlow Twins (Zbontar et al. 2021), equation 1, the redundancy reduction term, between parts.
    Departures: as `code_decorrelation`; true attributes of parts may depend on each other, so a small weight.
    """
    check_shapes("part_decorrelation", codes=(codes, "B K M"), where=(where, "B"))
    unit = _normalised(codes, where)
    parts, width = unit.shape[1:]
    correlation = jnp.einsum("bkm,bln->kmln", unit, unit, precision=jax.lax.Precision.HIGHEST)
    apart = 1.0 - jnp.eye(parts)[:, None, :, None]
    return jnp.sum((correlation * apart) ** 2) / max(parts * (parts - 1) * width**2, 1)
