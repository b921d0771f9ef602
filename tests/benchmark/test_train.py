"""The suite `train` on smoke presets, with steps that are not compiled."""

import numpy as np
import pytest

from configs import fewshot
from partrep.benchmark import train
from partrep.benchmark.timing import Settings


def test_rates_and_ratios_to_the_last_preset(monkeypatch):
    made = []

    class Fake:
        compile_seconds = 1.5

        def __init__(self, stage, variables):
            batch = stage.batches[0]
            made.append((stage.name, len(batch["label"]), callable(variables)))

        def __call__(self):
            return None

        def numbers(self):
            return {"compile_seconds": self.compile_seconds}

    monkeypatch.setattr(train, "Steps", Fake)
    monkeypatch.setattr(
        train, "interleaved", lambda calls, rounds, say: dict(zip(calls, np.array([[0.3] * rounds, [0.2] * rounds])))
    )
    lines = []
    configs = {name: fewshot.get_config(f"{name},smoke") for name in ("parts", "gap")}
    found = train.measure(Settings(pairs=4, configs=configs, say=lines.append))
    assert made == [("classify", 8, True)] * 2
    assert found["train/gap/steps_per_second"] == pytest.approx(5.0)
    assert found["train/parts/median_ratio"] == pytest.approx(1.5)
    assert "train/gap/median_ratio" not in found
    assert lines == ["train: parts compiled in 1.5 s", "train: gap compiled in 1.5 s"]
