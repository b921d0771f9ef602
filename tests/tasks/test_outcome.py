"""Evaluations of a test set are counted before they begin, over all starts in a workdir."""

import json

import pytest

from partrep import UserError
from partrep.tasks.outcome import count_test_evaluations


def test_counts_add_up_over_starts_and_are_written_at_once(tmp_path):
    assert count_test_evaluations(tmp_path, 5) == 5
    assert json.loads((tmp_path / "test_evaluations.json").read_text()) == {"test_evaluations": 5}
    assert count_test_evaluations(tmp_path, 2) == 7  # as after a kill: no results were ever written
    assert [path.name for path in tmp_path.iterdir()] == ["test_evaluations.json"]


def test_a_damaged_count_is_named(tmp_path):
    (tmp_path / "test_evaluations.json").write_text("{")
    with pytest.raises(UserError, match="test_evaluations.json is damaged"):
        count_test_evaluations(tmp_path, 1)
