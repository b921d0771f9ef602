"""Classifiers over part codes (`HEADS`) and few-shot heads over local vectors (`FEWSHOT_HEADS`)."""

from __future__ import annotations

from partrep.models.heads.fewshot import FEWSHOT_HEADS, FEWSHOT_INIT
from partrep.models.heads.linear import HEADS

__all__ = ["FEWSHOT_HEADS", "FEWSHOT_INIT", "HEADS"]
