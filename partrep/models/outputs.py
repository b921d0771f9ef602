"""What the part model returns: named arrays, read by tasks, evaluators and explanations."""

from __future__ import annotations

import jax
from flax import struct

from partrep.parts.structure import Parts


@struct.dataclass
class Posterior:
    """The independent Gaussians that random codes are drawn from in training; in evaluation codes are the mean.

    Attributes:
        mean: f32 [B,K,M].
        log_variance: f32 [B,K,M].
    """

    mean: jax.Array
    log_variance: jax.Array


@struct.dataclass
class Reconstruction:
    """The image painted again from its parts, `image = sum_k shares_k * layers_k`; the last layer is background.

    Attributes:
        image: f32 [B,H,W,C], about in [0,1].
        shares: f32 [B,K+1,H,W] >= 0, each layer's share of each pixel, summing to one over the layers.
        layers: f32 [B,K+1,H,W,C], what each layer would paint everywhere.
    """

    image: jax.Array
    shares: jax.Array
    layers: jax.Array


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
        contributions: f32 [B,K,C], what each part adds to each logit in evaluation; their sum over the parts is the
            logit less the bias. None where the model has no classifier. Costs nothing where it is not read: a
            compiled program computes what it returns.
        posterior: what the codes are drawn from; None where the bottleneck has no random Gaussian codes.
        reconstruction: the image painted from codes and parts; None where the model has no decoder.
        proposal: with an isolated read-out, what the part method proposed, before its masks were made hard; None
            without one, and where the masks were given.
        proposal_logits: f32 [B,C], the proposal's own classification; None where there is no head for it.
    """

    features: jax.Array
    parts: Parts
    codes: jax.Array
    logits: jax.Array | None
    embedding: jax.Array
    contributions: jax.Array | None = None
    posterior: Posterior | None = None
    reconstruction: Reconstruction | None = None
    proposal: Parts | None = None
    proposal_logits: jax.Array | None = None
