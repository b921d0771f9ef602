"""The few-shot heads by name: `head(support, query, support_mask, params=None, **settings) -> logits [Q,C]`.

`partrep.models.heads.episode` states the convention. `FEWSHOT_INIT[name](key, width)` makes the learned
parameters of a head for vectors of `width` numbers.
"""

from __future__ import annotations

from partrep.models.heads.adapt import baseline_plus_plus, linear_readout
from partrep.models.heads.aligned import aligned, init_aligned
from partrep.models.heads.episode import init_scale
from partrep.models.heads.mutual import mutual
from partrep.models.heads.prototypes import matching, prototypes
from partrep.models.heads.reconstruction import ctx, frn, init_ctx, init_frn
from partrep.models.heads.transport import deepemd

FEWSHOT_HEADS = {
    "prototypes": prototypes,
    "matching": matching,
    "frn": frn,
    "ctx": ctx,
    "deepemd": deepemd,
    "aligned": aligned,
    "mutual": mutual,
    "baseline++": baseline_plus_plus,
    "linear": linear_readout,
}
FEWSHOT_INIT = {
    **dict.fromkeys(FEWSHOT_HEADS, init_scale),
    "frn": init_frn,
    "ctx": init_ctx,
    "aligned": init_aligned,
}
