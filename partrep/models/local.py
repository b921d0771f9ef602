"""Sets of weighted, placed local vectors: the common currency of the few-shot heads."""

from __future__ import annotations

import jax
from flax import struct


@struct.dataclass
class Local:
    """`r` local vectors an image: all locations, fixed cells, parts, or one pooled vector.

    Attributes:
        vectors: [...,r,D].
        weights: f32 [...,r] >= 0; zero removes a vector.
        positions: f32 [...,r,2], (y, x) in [0,1].
    """

    vectors: jax.Array
    weights: jax.Array
    positions: jax.Array
