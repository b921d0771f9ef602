"""A classifier by reciprocal points, whose largest logit says how well an image is known."""

from __future__ import annotations

import flax.linen as nn
import jax

from partrep import UserError
from partrep.losses.reciprocal_points import reciprocal_logits


class Reciprocal(nn.Module):
    """Logits are how far the code of the whole image is from each class's reciprocal point, `reciprocal_logits`.

    Its parameters are `points` [C,M] and `radius`, a scalar that `partrep.losses.reciprocal_points` alone reads. Not
    linear in the codes. Source: Chen et al., Adversarial Reciprocal Points Learning (TPAMI 2021).

    Attributes:
        classes: C.

    Raises:
        UserError: more than one part; reciprocal points are of whole images.

    >>> import jax.numpy as jnp
    >>> head = Reciprocal(classes=2)
    >>> params = {"points": jnp.array([[0.0, 0.0], [1.0, 0.0]]), "radius": jnp.zeros(())}
    >>> head.apply({"params": params}, jnp.array([[[2.0, 0.0]]]), jnp.ones((1, 1)), False).tolist()
    [[2.0, -1.5]]
    """

    classes: int
    linear_in_codes = False

    @nn.compact
    def __call__(self, codes: jax.Array, presence: jax.Array, train: bool) -> jax.Array:
        """[B,1,M], [B,1] -> [B,C]."""
        if codes.shape[1] != 1:
            raise UserError(f"reciprocal: {codes.shape[1]} parts; expected one, such as the part method gap has")
        points = self.param("points", nn.initializers.normal(0.1), (self.classes, codes.shape[-1]))
        self.param("radius", nn.initializers.zeros, ())
        return reciprocal_logits(codes[:, 0], points)

    def contributions(self, codes: jax.Array, presence: jax.Array) -> jax.Array:
        """[B,1,M], [B,1] -> [B,1,C], the logits."""
        return self(codes, presence, False)[:, None]
