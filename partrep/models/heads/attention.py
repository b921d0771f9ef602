"""The attention head: parts are weighed against each other, then classified together (Huang & Li)."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from partrep import UserError


class Attention(nn.Module):
    """Linear classifier of an attention-weighted mean over parts: logits = W sum_k a_k p_k + b.

    With `r_k` the code standardised over its M entries, `p_k = r_k + U relu(V r_k)` and
    `a = softmax_k(<t, relu(T r_k)>)`, the same matrices for all parts.

    Level 0: the contributions `a_k W p_k` sum to the logits less the bias exactly, but `a_k` depends on all parts
    (softmax): taking a part away changes what the others contribute. Presence does not enter. The attention a
    [B,K] is sown as `intermediates/attention`.

    Source: Huang and Li (CVPR 2020), section 3.2, region attention. Departures: one hidden layer in place of two
    and four bottleneck blocks, and standardised codes in place of batch normalisation, so that an image's logits do
    not depend on other images.

    Attributes:
        classes: C.
        width: >= 1, of the hidden layers.

    Raises:
        UserError: a width under 1.

    >>> head = Attention(classes=3, width=6)
    >>> codes, presence = jnp.arange(40.0).reshape(2, 4, 5) ** 2, jnp.ones((2, 4))
    >>> logits, variables = jax.jit(head.init_with_output, static_argnums=3)(jax.random.key(0), codes, presence, False)
    >>> share = jax.jit(lambda v: head.apply(v, codes, presence, method="contributions"))(variables)
    >>> bool(jnp.allclose(share.sum(1), logits, atol=1e-5))
    True
    """

    classes: int
    width: int = 256
    linear_in_codes = False

    @nn.compact
    def _terms(self, codes: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
        """The attention [B,K], the codes after their block [B,K,M], the weights [M,C] and the bias [C]."""
        if self.width < 1:
            raise UserError(f"attention: width {self.width}; expected at least 1")
        size = codes.shape[-1]
        standard = nn.LayerNorm(use_bias=False, use_scale=False, name="norm")(codes.astype(jnp.float32))
        looked = nn.relu(nn.Dense(self.width, name="score_hidden")(standard))
        scores = nn.Dense(1, use_bias=False, name="score")(looked)[..., 0]  # a bias would cancel in the softmax
        attention = nn.softmax(scores, axis=-1)
        self.sow("intermediates", "attention", attention)
        hidden = nn.relu(nn.Dense(self.width, name="post_hidden")(standard))
        post = standard + nn.Dense(size, name="post")(hidden)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (size, self.classes))
        bias = self.param("bias", nn.initializers.zeros, (self.classes,))
        return attention, post, kernel, bias

    def __call__(self, codes: jax.Array, presence: jax.Array, train: bool) -> jax.Array:
        """[B,K,M], [B,K] -> [B,C]."""
        attention, post, kernel, bias = self._terms(codes)
        return jnp.einsum("bk,bkm->bm", attention, post) @ kernel + bias

    def contributions(self, codes: jax.Array, presence: jax.Array) -> jax.Array:
        """[B,K,M], [B,K] -> [B,K,C], summing to the logits less the bias."""
        attention, post, kernel, _ = self._terms(codes)
        return (attention[..., None] * post) @ kernel
