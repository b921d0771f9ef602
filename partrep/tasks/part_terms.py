"""Loss terms that any task may ask of the parts or codes of a batch; each is a mean over the batch."""

from __future__ import annotations

from collections.abc import Mapping

from partrep import lookup
from partrep.losses.binary import bit_balance, bit_decorrelation
from partrep.losses.concentration import concentration, spread
from partrep.losses.entropy import assignment_entropy
from partrep.losses.orthogonality import map_decorrelation, orthogonality
from partrep.losses.presence import presence
from partrep.losses.total_variation import total_variation
from partrep.models.outputs import PartOutputs
from partrep.train.stages import Terms

PART_TERMS = {
    "concentration": lambda out: concentration(out.parts.assignment).mean(),
    "spread": lambda out: spread(out.parts.assignment).mean(),
    "total_variation": lambda out: total_variation(out.parts.assignment).mean(),
    "entropy": lambda out: assignment_entropy(out.parts.assignment, out.parts.background).mean(),
    "orthogonality": lambda out: orthogonality(out.parts.vectors).mean(),
    "map_decorrelation": lambda out: map_decorrelation(out.parts.assignment).mean(),
    "presence": lambda out: presence(out.parts.assignment),
    "bit_balance": lambda out: bit_balance(out.codes),
    "bit_decorrelation": lambda out: bit_decorrelation(out.codes),
}


def part_terms(weights: Mapping[str, float], outputs: PartOutputs) -> Terms:
    """The terms of `PART_TERMS` that have a weight, with their weights."""
    return {
        name: (lookup(PART_TERMS, name, "part loss")(outputs), weight)
        for name, weight in sorted(weights.items())
        if weight
    }
