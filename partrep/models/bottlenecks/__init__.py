"""Bottlenecks: part vectors [B,K,D] in, codes [B,K,M] out; constraints on what a part may say.

A bottleneck whose codes are random in training also has a method `posterior(vectors) -> Posterior`, what they are
drawn from; `PartModel` puts it into its outputs, where losses read it. `affine` says whether, in evaluation, the
codes of a part are affine in its vector.
"""

from __future__ import annotations

from partrep.models.bottlenecks.binary import Binary, bernoulli_bits, gumbel_bits, sign, straight_through_sign
from partrep.models.bottlenecks.disentangled import Disentangled
from partrep.models.bottlenecks.identity import Identity
from partrep.models.bottlenecks.standardised import Standardised
from partrep.models.bottlenecks.whitened import Whitened

__all__ = [
    "BOTTLENECKS",
    "Binary",
    "Disentangled",
    "Identity",
    "Standardised",
    "Whitened",
    "bernoulli_bits",
    "gumbel_bits",
    "sign",
    "straight_through_sign",
]

BOTTLENECKS = {
    "binary": Binary,
    "disentangled": Disentangled,
    "identity": Identity,
    "standardised": Standardised,
    "whitened": Whitened,
}
