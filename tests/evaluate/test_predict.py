"""Prediction keeps the order, drops the padding and takes any set size (several devices: tests/train)."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from partrep.evaluate.predict import pad, padded_size, predict
from partrep.train import sharding

TRACES = []


def apply(variables, batch):
    TRACES.append(1)
    return {"twice": batch["x"] * variables["scale"], "nested": {"row": jnp.sum(batch["x"], axis=1)}}


def batches(sizes, valid=None):
    start = 0
    for number, size in enumerate(sizes):
        x = np.arange(start, start + size, dtype=np.float32)[:, None] * np.ones(2, np.float32)
        start += size
        yield {"x": x} if valid is None else {"x": x, "valid": valid[number]}


def test_ragged_batches_compile_once_and_come_back_in_order():
    TRACES.clear()
    outputs = predict(apply, {"scale": np.float32(2)}, batches([10, 10, 10, 7]))
    np.testing.assert_array_equal(outputs["twice"][:, 0], 2 * np.arange(37))
    np.testing.assert_array_equal(outputs["nested"]["row"], 2 * np.arange(37))
    predict(apply, {"scale": np.float32(3)}, batches([10]))
    assert len(TRACES) == 1


def test_padding_is_dropped_wherever_it_is():
    valid = [np.array([True, False, True, True]), np.array([False, True, False, False])]
    outputs = predict(apply, {"scale": np.float32(1)}, batches([4, 4], valid))
    assert outputs["twice"][:, 0].tolist() == [0, 2, 3, 5]


def test_batches_are_padded_to_what_the_devices_divide(monkeypatch):
    monkeypatch.setattr(sharding, "local_device_count", lambda: 4)
    assert [padded_size(size) for size in (1, 4, 10, 12)] == [4, 4, 12, 12]
    batch = pad({"x": np.array([[1], [2]]), "valid": np.array([True, True])}, 4)
    assert batch["x"].tolist() == [[1], [2], [2], [2]] and batch["valid"].tolist() == [
        True,
        True,
        False,
        False,
    ]


def test_no_batch_is_an_error():
    with pytest.raises(ValueError, match="at least one batch"):
        predict(apply, {}, [])
