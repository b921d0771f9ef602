"""What a task hands back to the command that ran it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from partrep.report.content import FewshotPage, Result


@dataclasses.dataclass(frozen=True)
class Outcome:
    """Numbers, rows and pictures of one finished run.

    Attributes:
        results: flat `{name: number}` for `results.json`.
        rows: of the terminal's table.
        page: of the report; the command adds provenance, config and its own line.
        episodes: `{reader: accuracy of each novel episode [E]}`, so that runs can be compared pairwise.
        fingerprints: `{what: digest}` of the data and the episodes.
        test_evaluations: how often a test set was evaluated.
        measure: what the rows' values are.
    """

    results: Mapping[str, float]
    rows: tuple[Result, ...]
    page: FewshotPage
    episodes: Mapping[str, np.ndarray]
    fingerprints: Mapping[str, str]
    test_evaluations: int
    measure: str = "accuracy"
