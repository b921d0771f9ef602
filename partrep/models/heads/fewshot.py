"""The few-shot heads by name: `head(support, query, support_mask, params=None, **settings) -> logits [Q,C]`.

`partrep.models.heads.episode` states the convention. `FEWSHOT_INIT[name](key, width)` makes the learned
parameters of a head for vectors of `width` numbers.
"""

from __future__ import annotations

from partrep.models.heads.aligned import aligned, init_aligned
from partrep.models.heads.episode import init_scale
from partrep.models.heads.mutual import mutual
from partrep.models.heads.prototypes import matching, prototypes

FEWSHOT_HEADS = {
    "prototypes": prototypes,
    "matching": matching,
    "aligned": aligned,
    "mutual": mutual,
}
FEWSHOT_INIT = {
    "prototypes": init_scale,
    "matching": init_scale,
    "aligned": init_aligned,
    "mutual": init_scale,
}
