"""What the part model returns: named arrays, read by tasks, evaluators and explanations."""

from __future__ import annotations

import jax
from flax import struct

from partrep.parts.structure import Parts


@struct.dataclass
class PartOutputs:
    """Every named array of one forward pass.

    Attributes:
        features: [B,h,w,D], the map that the part vectors are read from: the backbone's, or with an isolated
            read-out its tokens.
        parts: the arrays of the parts that are classified, see `Parts`.
        codes: [B,K,M], the part vectors after the bottleneck.
        logits: f32 [B,C]; None where the model has no classifier.
        embedding: f32 [B,E], one vector an image, the presence-weighted mean of the codes.
        proposal: with an isolated read-out, what the part method proposed, before its masks were made hard; None
            without one, and where the masks were given.
        proposal_logits: f32 [B,C], the proposal's own classification; None where there is no head for it.
    """

    features: jax.Array
    parts: Parts
    codes: jax.Array
    logits: jax.Array | None
    embedding: jax.Array
    proposal: Parts | None = None
    proposal_logits: jax.Array | None = None
