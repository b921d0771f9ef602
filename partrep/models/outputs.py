"""What the part model returns: named arrays, read by tasks, evaluators and explanations."""

from __future__ import annotations

import jax
from flax import struct

from partrep.parts.structure import Parts


@struct.dataclass
class PartOutputs:
    """Every named array of one forward pass.

    Attributes:
        features: [B,h,w,D], the backbone's map.
        parts: the part method's arrays, see `Parts`.
        codes: [B,K,M], the part vectors after the bottleneck.
        logits: f32 [B,C]; None where the model has no classifier.
        embedding: f32 [B,E], one vector an image, the presence-weighted mean of the codes.
        contributions: f32 [B,K,C], what each part adds to each logit in evaluation; their sum over the parts is the
            logit less the bias. None where the model has no classifier. Costs nothing where it is not read: a
            compiled program computes what it returns.
    """

    features: jax.Array
    parts: Parts
    codes: jax.Array
    logits: jax.Array | None
    embedding: jax.Array
    contributions: jax.Array | None = None
