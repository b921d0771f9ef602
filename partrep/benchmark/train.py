"""Training steps a second of whole presets, with and without the part method: batches, rendering and update."""

from __future__ import annotations

import numpy as np

from partrep.benchmark.timing import Numbers, Settings, Steps, interleaved, peak_bytes, prefixed, ratios
from partrep.tasks import fewshot


def measure(settings: Settings) -> Numbers:
    """Steps a second of the first stage of each preset, in interleaved rounds; ratios to the last preset's."""
    steps = {}
    for name, config in settings.configs.items():
        task = fewshot.make(config)
        steps[name] = Steps(fewshot.stages(task)[0], task.init)
        settings.say(f"train: {name} compiled in {steps[name].compile_seconds:.1f} s")
    times = interleaved(steps, settings.pairs, lambda line: settings.say(f"train: {line}"))
    base = list(steps)[-1]
    made: Numbers = {}
    for name, step in steps.items():
        numbers = {"steps_per_second": 1 / float(np.median(times[name])), **step.numbers()}
        if name != base:
            numbers |= ratios(times[name], times[base])
        made |= prefixed(f"train/{name}", numbers)
    return made | prefixed("train", peak_bytes())
