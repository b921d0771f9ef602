"""Codes of bits: a sign, with the gradient that its estimator gives it."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from partrep import UserError


def sign(logits: jax.Array) -> jax.Array:
    """The sign of each entry in {-1, +1}, zero counted as +1; no gradient.

    >>> sign(jnp.array([-0.5, 0.0, 2.0])).tolist()
    [-1.0, 1.0, 1.0]
    """
    return jnp.where(jax.lax.stop_gradient(logits) >= 0, 1.0, -1.0)


def straight_through_sign(logits: jax.Array) -> jax.Array:
    """Bits whose gradient is the identity, `b = u + sg(sign(u) - u)`.

    Args:
        logits: [...], `u`.

    Returns:
        f32 [...] in {-1, +1}.

    Example:
        >>> bits, gradient = jax.value_and_grad(straight_through_sign)(-0.3)
        >>> float(bits), float(gradient)
        (-1.0, 1.0)

    Source: Bengio et al. (2013), straight-through estimator; GreedyHash (Su et al. 2018).
    """
    logits = jnp.asarray(logits, jnp.float32)
    return sign(logits) + (logits - jax.lax.stop_gradient(logits))


def bernoulli_bits(logits: jax.Array, key: jax.Array) -> jax.Array:
    """Random bits with `P(b = +1) = sigmoid(u)` and the gradient of their mean, `2 sigmoid(u) - 1`.

    Args:
        logits: [...], `u`.
        key: a random key.

    Returns:
        f32 [...] in {-1, +1}.

    Example:
        >>> bernoulli_bits(jnp.array([-99.0, 99.0]), jax.random.key(0)).tolist()
        [-1.0, 1.0]

    Source: Bengio et al. (2013), stochastic binary neurons, straight through.
    """
    mean = jnp.tanh(jnp.asarray(logits, jnp.float32) / 2)
    drawn = sign(mean - jax.random.uniform(key, mean.shape, minval=-1.0, maxval=1.0))
    return drawn + (mean - jax.lax.stop_gradient(mean))


def gumbel_bits(logits: jax.Array, key: jax.Array, temperature: float = 1.0) -> jax.Array:
    """Random bits `b = sign(u + g)`, `g` logistic noise, with the gradient of `tanh((u + g) / 2t)`.

    The same distribution as `bernoulli_bits`; the gradient follows the drawn noise.

    Args:
        logits: [...], `u`.
        key: a random key.
        temperature: > 0, `t`.

    Returns:
        f32 [...] in {-1, +1}.

    Example:
        >>> gumbel_bits(jnp.array([-99.0, 99.0]), jax.random.key(0)).tolist()
        [-1.0, 1.0]

    Source: Jang et al. (2017) and Maddison et al. (2017), with two classes: the difference of two Gumbel
    variables is logistic. Straight through.
    """
    noisy = jnp.asarray(logits, jnp.float32)
    noisy = noisy + jax.random.logistic(key, noisy.shape)
    soft = jnp.tanh(noisy / (2 * temperature))
    return sign(noisy) + (soft - jax.lax.stop_gradient(soft))


class Binary(nn.Module):
    """Each part says `bits` bits, `b = sign(W v + c)` in {-1, +1}, the same `W` for all parts.

    Honest explanation, with a linear head: level 1 exactly (linear in the codes). Not level 2: the sign is
    not linear in the features. The logits `W v + c` are sown as `intermediates/bit_logits`, for the
    quantisation loss.

    Attributes:
        bits: M >= 1.
        noise: in training only, "none" (straight-through sign), "bernoulli" or "gumbel" (stream "gumbel").
        temperature: > 0, of the Gumbel relaxation.

    Call:
        vectors: [B,K,D].
        train: whether this is a training step; evaluation is always the sign.

    Returns:
        f32 [B,K,M] in {-1, +1}.

    Raises:
        UserError: an unknown noise, no bits, a temperature that is not positive.

    Example:
        >>> codes, _ = Binary(bits=4).init_with_output(jax.random.key(0), jnp.ones((1, 2, 3)), train=False)
        >>> codes.shape, bool((jnp.abs(codes) == 1).all())
        ((1, 2, 4), True)

    Source: see `straight_through_sign`, `bernoulli_bits`, `gumbel_bits`.
    Departures: vectors are standardised over their D entries first, so that bits say what a part looks like
    and not how large it is; a part that is absent (zero vector) gives the bits of the bias.
    """

    bits: int = 64
    noise: str = "none"
    temperature: float = 1.0
    affine = False

    @nn.compact
    def __call__(self, vectors: jax.Array, train: bool) -> jax.Array:
        """Codes of each part."""
        if self.noise not in ("none", "bernoulli", "gumbel"):
            raise UserError(f"unknown bit noise {self.noise!r}; known: bernoulli, gumbel, none")
        if self.bits < 1 or self.temperature <= 0:
            found = f"{self.bits} bits, temperature {self.temperature}"
            raise UserError(f"binary: {found}; expected at least 1 bit and a positive temperature")
        standard = nn.LayerNorm(use_bias=False, use_scale=False, dtype=jnp.float32)(vectors)
        logits = nn.Dense(self.bits, dtype=jnp.float32, name="projection")(standard)
        self.sow("intermediates", "bit_logits", logits)
        if not train or self.noise == "none":
            return straight_through_sign(logits)
        key = self.make_rng("gumbel")
        if self.noise == "bernoulli":
            return bernoulli_bits(logits, key)
        return gumbel_bits(logits, key, self.temperature)
