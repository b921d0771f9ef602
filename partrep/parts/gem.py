"""Generalised-mean pooling as a part method with one part: the usual global descriptor of image retrieval."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from partrep import UserError
from partrep.parts import readout
from partrep.parts.structure import Parts

LEAST_POWER = 0.1


class Gem(nn.Module):
    """One part that is the whole image, `v = ((1/N) sum_n max(z_n, 1e-6)^p)^(1/p)`, with a learned p.

    Honest explanation, with a linear head: level 1 trivially (one part). Not level 2, as the read-out is not linear
    in the features, and not level 3.

    Attributes:
        power: p at the start, > 0.

    Call:
        features: [B,h,w,D], of a ReLU.
        train: unused.

    Returns:
        `Parts` with K=1: assignment and presence 1, centroid the image centre, no background, no scores.

    Raises:
        UserError: a power that is not above 0.
        ValueError: features without four axes.

    Example:
        >>> start = jax.jit(Gem(power=2.0).init_with_output, static_argnames="train")
        >>> parts, variables = start(jax.random.key(0), jnp.ones((2, 3, 3, 4)), train=False)
        >>> parts.vectors.shape, float(variables["params"]["power"])
        ((2, 1, 4), 2.0)

    Source: see `readout.gem`; one learned p for all channels.
    """

    power: float = 3.0

    @nn.compact
    def __call__(self, features: jax.Array, train: bool) -> Parts:
        """The whole image as one part."""
        if not self.power > 0:
            raise UserError(f"gem: power {self.power}; expected above 0")
        # A power that learning brings to 0 or below would divide by 0, or look for the smallest.
        power = jnp.maximum(self.param("power", nn.initializers.constant(self.power), ()), LEAST_POWER)
        vectors = readout.gem(features, power)[:, None]
        whole = jnp.ones_like(features[..., 0], jnp.float32)[:, None]
        return Parts(
            similarity=whole,
            assignment=whole,
            background=None,
            vectors=vectors,
            scores=None,
            presence=readout.presence(whole),
            centroid=readout.centroid(whole),
        )
