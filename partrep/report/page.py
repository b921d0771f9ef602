"""Writes the reports: one self-contained HTML page each, put in place whole or not at all."""

from __future__ import annotations

import pathlib

from partrep.report.content import ComparePage, FewshotPage


def write_fewshot(path: pathlib.Path, page: FewshotPage) -> pathlib.Path:
    """Writes the few-shot report to `path` (through a temporary file beside it) and returns the path."""
    raise NotImplementedError


def write_compare(path: pathlib.Path, page: ComparePage) -> pathlib.Path:
    """Writes the comparison of presets and seeds to `path` and returns the path."""
    raise NotImplementedError
