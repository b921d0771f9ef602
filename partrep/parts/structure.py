"""The arrays every part method returns."""

from __future__ import annotations

import jax
from flax import struct


@struct.dataclass
class Parts:
    """Where the parts of each image lie, how strongly they are there, and what they look like.

    Attributes:
        similarity: f32 [B,K,h,w], how similar each location is to each part, before competition.
        assignment: f32 [B,K,h,w] >= 0, the share of each location given to each part, after competition.
        background: f32 [B,h,w], the share given to no part; None where the method has no background.
        vectors: [B,K,D], one vector a part; None where the method only scores parts.
        scores: f32 [B,K], one score a part; None where the method only pools vectors.
        presence: f32 [B,K] in [0,1], how much of the part is in the image.
        centroid: f32 [B,K,2], mean (y, x) of the assignment, in [0,1].
    """

    similarity: jax.Array
    assignment: jax.Array
    background: jax.Array | None
    vectors: jax.Array | None
    scores: jax.Array | None
    presence: jax.Array
    centroid: jax.Array
