"""A classifier by named parts: part p tells the value of attribute p, and a class is a value of each."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from partrep import UserError


class Attributes(nn.Module):
    """Logits are the log-probabilities of the class's values, `l_c = sum_p log softmax(W_p z_p + b_p)[t_cp]`.

    A part that reads another value than the class has speaks against it by the logarithm of what it leaves it: which
    part is unknown can be read off. Not linear in the codes, but additive over the parts: what a part says hangs on its
    own code alone. It needs to know what values each class has, and neither where a part is nor what an image shows.
    Source: attribute-based classification (Lampert et al. 2009), equation 2 with equal priors, here with a part for
    each attribute, as in attribute prototype networks (Xu et al. 2020), and trained end to end.

    Attributes:
        classes: C.
        table: int [C,P] >= 0, the value of each attribute of each class, as nested tuples.

    Raises:
        UserError: a table of another number of classes, with negative values, or of another number of attributes than
            there are parts.

    >>> head = Attributes(classes=2, table=((0, 1), (1, 1)))
    >>> params = {"kernel": jnp.ones((2, 1, 2)), "bias": jnp.array([[0.0, jnp.log(3.0)], [0.0, 0.0]])}
    >>> shares = head.apply({"params": params}, jnp.zeros((1, 2, 1)), jnp.ones((1, 2)), method="contributions")
    >>> jnp.exp(shares[0]).round(2).tolist()
    [[0.25, 0.75], [0.5, 0.5]]
    """

    classes: int
    table: tuple[tuple[int, ...], ...]
    linear_in_codes = False

    @nn.compact
    def contributions(self, codes: jax.Array, presence: jax.Array) -> jax.Array:
        """[B,P,M], [B,P] -> [B,P,C], summing to the logits."""
        table = np.asarray(self.table)
        parts, width = codes.shape[1:]
        if table.shape != (self.classes, parts) or table.min() < 0:
            found = f"a table of shape {table.shape} with values from {table.min() if table.size else 0}"
            raise UserError(f"attributes: {found}; expected {self.classes} classes, {parts} parts and values from 0")
        values = int(table.max()) + 1
        kernel = self.param("kernel", nn.initializers.normal(0.01), (parts, width, values))
        bias = self.param("bias", nn.initializers.zeros, (parts, values))
        logits = jnp.einsum("bpm,pmv->bpv", codes.astype(jnp.float32), kernel) + bias
        return jnp.take_along_axis(jax.nn.log_softmax(logits), table.T[None], axis=2)

    def __call__(self, codes: jax.Array, presence: jax.Array, train: bool) -> jax.Array:
        """[B,P,M], [B,P] -> [B,C]."""
        return self.contributions(codes, presence).sum(1)
