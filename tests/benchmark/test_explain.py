"""The suite `explain` on a tiny network, with clocks and without."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import classify as config
from partrep.benchmark import explain
from partrep.benchmark.timing import Settings
from partrep.explain import bound
from partrep.tasks import classify


@pytest.fixture(scope="module")
def tiny():
    made = config.get_config("landmarks,smoke")
    made.data.size = 16
    made.model.backbone.update(widths=(4,), depths=(0,))
    made.model.method.parts = 2
    return made


@pytest.fixture(scope="module")
def task(tiny):
    return classify.make(tiny)


@pytest.fixture(scope="module")
def seen(task):
    return explain.pictures(task, 3)


def test_everything_that_explains_is_measured_beside_the_forward_pass(task):
    names = list(explain.methods(task.model, jnp.ones((1, 6, 16, 16), bool)))
    assert names[0] == explain.FORWARD
    own = ["contributions", "centred contributions", "location contributions"]
    assert names[1:] == [*own, *bound.POST_HOC, "saliency", "smooth-grad", "shapley of six regions"]


def test_the_regions_are_the_true_parts_and_credit_stays_in_them(task, seen):
    images, regions = seen
    assert images.shape == (3, 16, 16, 3) and regions.shape == (3, 6, 16, 16) and regions.dtype == bool
    assert regions.sum(1).max() == 1 and 0.05 < regions.any(1).mean() < 0.6
    variables = jax.eval_shape(task.init, jax.random.key(0))
    variables = jax.tree.map(lambda s: np.random.default_rng(0).normal(size=s.shape).astype(np.float32) ** 2, variables)
    shapley = explain.methods(task.model, regions)["shapley of six regions"]
    found = jax.jit(shapley)(variables, images, np.zeros(3, np.int32))
    assert found.any() and not np.where(regions.any(1), 0, found).any()


def test_a_suite_of_three_methods(tiny, seen, monkeypatch):
    chosen, methods = [explain.FORWARD, "contributions", "shapley of six regions"], explain.methods
    monkeypatch.setattr(explain, "methods", lambda *args: {name: methods(*args)[name] for name in chosen})
    asked, lines = [], []
    monkeypatch.setattr(explain, "pictures", lambda task, count: (asked.append(count), seen)[1])
    found = explain.measure(Settings(pairs=2, explained=tiny, explained_images=3, seconds=0.0, say=lines.append))
    assert asked == [3]
    for name in ("forward_pass", "contributions", "shapley_of_six_regions"):
        assert found[f"explain/{name}/seconds"] > 0 and found[f"explain/{name}/compile_seconds"] > 0
    assert "explain/forward_pass/median_ratio" not in found
    # Sixty-four subsets of the regions take longer than one pass, even of a network this small.
    assert found["explain/shapley_of_six_regions/median_ratio_low"] > 1
    assert all(isinstance(value, float) and np.isfinite(value) for value in found.values())
    assert lines[0].startswith("explain: forward pass compiled in ")
    assert lines[-1].startswith("explain: round 2 of 2: forward pass ")
