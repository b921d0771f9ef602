"""What each way to explain a prediction costs, in forward passes of the same images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from partrep.benchmark.timing import Numbers, Ready, Settings, interleaved, peak_bytes, prefixed, ratios
from partrep.data import birds
from partrep.explain import bound
from partrep.explain.gradients import saliency, smooth_grad
from partrep.explain.shapley import label_masks, shapley_map
from partrep.models.part_model import PartModel, outputs_of
from partrep.tasks import classify

FORWARD = "forward pass"
Explain = Callable[..., jax.Array]


def measure(settings: Settings) -> Numbers:
    """Seconds to explain a batch of birds by each method, in interleaved rounds; ratios to a forward pass of it.

    Of a model that was not trained: the numbers do not depend on its weights. In each round a fast method runs again
    and again for a quarter of `seconds`: its first run pays for the memory that a slow one before it took.
    """
    task = classify.make(settings.explained)
    variables = jax.jit(task.init)(jax.random.key(0))
    images, regions = pictures(task, settings.explained_images)
    target = jnp.asarray(np.arange(len(images)) % task.data.train.classes)
    calls = {}
    for name, function in methods(task.model, regions).items():
        calls[name] = Ready(settings.seconds / 4, function, variables, images, target)
        settings.say(f"explain: {name} compiled in {calls[name].program.compile_seconds:.1f} s")
    times = interleaved(calls, settings.pairs, lambda line: settings.say(f"explain: {line}"))
    made: Numbers = {}
    for name, call in calls.items():
        once = times[name] / call.runs
        numbers = {"seconds": float(np.median(once)), **call.program.numbers()}
        if name != FORWARD:
            numbers |= ratios(once, times[FORWARD] / calls[FORWARD].runs)
        made |= prefixed(f"explain/{name.replace(' ', '_')}", numbers)
    return made | prefixed("explain", peak_bytes())


def pictures(task: classify.Classify, count: int) -> tuple[jax.Array, jax.Array]:
    """Evenly spaced test images f32 [n,S,S,3], and the regions of their true parts bool [n,6,S,S]."""
    test = task.data.test
    assert test.truth is not None
    batch = test.load(np.linspace(0, len(test) - 1, count).astype(np.int64))
    seen = jax.jit(test.truth)(batch)
    return seen.image, label_masks(seen.part_mask - 2, len(birds.PARTS))


def methods(model: PartModel, regions: jax.Array) -> dict[str, Explain]:
    """`(variables, images, target) -> maps` by name, and the forward pass that makes the logits."""

    def of_any_model(method: Explain, *settings: Any) -> Explain:
        return lambda variables, images, target: method(bound.explained(model, variables), images, target, *settings)

    def forward(variables: Any, images: jax.Array, target: jax.Array) -> jax.Array:
        logits = outputs_of(model, variables, images).logits
        assert logits is not None
        return logits

    return {
        FORWARD: forward,
        **bound.maps(model),
        "saliency": of_any_model(saliency),
        "smooth-grad": of_any_model(smooth_grad),
        "shapley of six regions": of_any_model(shapley_map, regions),
    }
