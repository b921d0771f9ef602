"""Programs of these tests are compiled quickly: they are small, and run once."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True, scope="module")
def quickly(hasty):
    """For every module here."""
