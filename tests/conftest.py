"""Shared by all tests: the development data, one CPU device, and absl flags parsed (Grain's worker processes need them)."""

from __future__ import annotations

import os
import pathlib

import pytest
from absl import flags

os.environ.setdefault("JAX_NUM_CPU_DEVICES", "1")  # the same here and in child processes
flags.FLAGS.mark_as_parsed()
ROOT = pathlib.Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"


@pytest.fixture(scope="session")
def shared() -> pathlib.Path:
    """The folder of development data; a test that needs it is skipped where it is missing."""
    if not SHARED.exists():
        pytest.skip("needs ../shared, the development data")
    return SHARED
