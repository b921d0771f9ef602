"""A classifier with one hidden layer, the same for every part."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from partrep import UserError


class Mlp(nn.Module):
    """One hidden layer: `logits = mean_k W relu(U c_k + u) + b`, the same matrices for all parts.

    Not linear in the codes; the contributions `W relu(U c_k + u) / K` are of one part each and sum to the logits less
    the bias. With one part, as of global pooling, it is the MLP probe of that vector. Presence does not enter.

    Attributes:
        classes: C.
        width: >= 1, of the hidden layer.
        dropout: share of hidden units left out in training (stream "dropout").

    Raises:
        UserError: a width under 1.

    >>> head = Mlp(classes=3, width=4)
    >>> codes, presence = jnp.ones((2, 4, 5)), jnp.ones((2, 4))
    >>> variables = head.init(jax.random.key(0), codes, presence, False)
    >>> share = head.apply(variables, codes, presence, method="contributions")
    >>> bool(jnp.allclose(share.sum(1), head.apply(variables, codes, presence, False), atol=1e-5))
    True
    """

    classes: int
    width: int = 256
    dropout: float = 0.0
    linear_in_codes = False

    @nn.compact
    def _terms(self, codes: jax.Array, train: bool) -> tuple[jax.Array, jax.Array]:
        """The shares of the parts [B,K,C] and the bias [C]."""
        if self.width < 1:
            raise UserError(f"mlp: width {self.width}; expected at least 1")
        hidden = nn.relu(nn.Dense(self.width, name="hidden")(codes.astype(jnp.float32)))
        hidden = nn.Dropout(self.dropout, deterministic=not train)(hidden)
        bias = self.param("bias", nn.initializers.zeros, (self.classes,))
        return nn.Dense(self.classes, use_bias=False, name="out")(hidden) / codes.shape[1], bias

    def __call__(self, codes: jax.Array, presence: jax.Array, train: bool) -> jax.Array:
        """[B,K,M], [B,K] -> [B,C]."""
        share, bias = self._terms(codes, train)
        return share.sum(1) + bias

    def contributions(self, codes: jax.Array, presence: jax.Array) -> jax.Array:
        """[B,K,M], [B,K] -> [B,K,C], summing to the logits less the bias."""
        return self._terms(codes, False)[0]
