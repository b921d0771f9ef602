"""A classifier by reconstruction: a small autoencoder for each class and part; what none rebuilds is unknown."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from partrep import UserError


class Autoencoders(nn.Module):
    """Logits are minus the errors with which the autoencoders of a class rebuild the codes of the parts.

        e_bkc = mean_m |v_bk - tanh(v_bk E_kc) D_kc - a_kc|,    logit_bc = -s sum_k p_bk e_bkc / sum_k p_bk

    Additive over the parts once the presences are given: the contributions are exact, and say which part a class
    cannot explain. Not linear in the codes. Costs K*C*M*(2*width+1) weights, and B*K*C*M numbers of memory.

    Attributes:
        classes: C.
        width: of the hidden codes, >= 1; under M, or an autoencoder rebuilds anything.
        scale: `s` > 0, of the errors.

    Raises:
        UserError: a width under 1.

    >>> head = Autoencoders(classes=3, width=2)
    >>> codes, presence = jnp.ones((2, 4, 5)), jnp.ones((2, 4))
    >>> variables = head.init(jax.random.key(0), codes, presence, False)
    >>> share = head.apply(variables, codes, presence, method="contributions")
    >>> share.shape, bool(jnp.allclose(share.sum(1), head.apply(variables, codes, presence, False), atol=1e-5))
    ((2, 4, 3), True)

    Source: Huang et al., Class-Specific Semantic Reconstruction for Open Set Recognition (TPAMI 2022), section 3.2: the
    autoencoder, its tanh and the absolute error. Departures: one for each part in place of one for all locations; an
    offset `a`, without which every class rebuilds a code of zeros; and the errors of an image are averaged before the
    softmax, not after it: a part may be common to many classes, and no single one need name the class.
    """

    classes: int
    width: int = 16
    scale: float = 10.0
    linear_in_codes = False

    @nn.compact
    def errors(self, codes: jax.Array) -> jax.Array:
        """The errors `e` [B,K,C] >= 0 of codes [B,K,M]."""
        if self.width < 1:
            raise UserError(f"autoencoders: width {self.width}; expected at least 1")
        k, m = codes.shape[1:]
        spread = nn.initializers.normal(m**-0.5)
        encode = self.param("encode", spread, (k, self.classes, m, self.width))
        decode = self.param("decode", nn.initializers.normal(self.width**-0.5), (k, self.classes, self.width, m))
        offset = self.param("offset", nn.initializers.zeros, (k, self.classes, m))
        codes = codes.astype(jnp.float32)
        hidden = jnp.tanh(jnp.einsum("bkm,kcmd->bkcd", codes, encode))
        rebuilt = jnp.einsum("bkcd,kcdm->bkcm", hidden, decode) + offset
        return jnp.abs(codes[:, :, None] - rebuilt).mean(-1)

    def contributions(self, codes: jax.Array, presence: jax.Array) -> jax.Array:
        """[B,K,M], [B,K] -> [B,K,C], summing to the logits."""
        presence = presence.astype(jnp.float32)
        share = presence / jnp.maximum(presence.sum(-1, keepdims=True), 1e-6)
        return -self.scale * share[..., None] * self.errors(codes)

    def __call__(self, codes: jax.Array, presence: jax.Array, train: bool) -> jax.Array:
        """[B,K,M], [B,K] -> [B,C]."""
        return self.contributions(codes, presence).sum(1)
