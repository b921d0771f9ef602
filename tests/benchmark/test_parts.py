"""The suite `parts` on a tiny network, and the competition it adds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from partrep.benchmark import parts
from partrep.benchmark.timing import Settings
from partrep.parts import METHODS


def test_every_part_of_balanced_takes_the_same_share():
    features = jax.random.normal(jax.random.key(0), (2, 4, 4, 8))
    start = jax.jit(parts.Balanced(parts=4).init_with_output, static_argnums=2)
    found, _ = start(jax.random.key(1), features, False)
    assert np.allclose(found.assignment.sum(1), 1, atol=1e-5)
    assert np.allclose(found.assignment.mean((2, 3)), 0.25, atol=1e-2)
    assert found.vectors.shape == (2, 4, 8) and found.background is None


def test_the_methods_are_the_three_competitions_and_the_backbone_alone():
    made = parts.methods()
    assert list(made) == ["backbone alone", "landmarks", "slots", "sinkhorn"]
    assert made["slots"].rounds == 3
    assert {made[name].parts for name in ("landmarks", "slots", "sinkhorn")} == {16}


def test_the_map_has_one_location_for_16_pixels():
    model = parts.model(parts.methods()["landmarks"], Settings())
    shape = jax.eval_shape(lambda: model.init_with_output(jax.random.key(0), jnp.zeros((1, 224, 224, 3)), False)[0])
    assert shape.parts.assignment.shape == (1, 16, 14, 14)
    assert shape.features.shape == (1, 14, 14, 512) and shape.logits.shape == (1, 200)


def test_a_suite_of_two_tiny_networks(monkeypatch):
    # The simplest method twice: what the others add is measured, not tested.
    monkeypatch.setattr(parts, "methods", lambda: dict.fromkeys(("backbone alone", "landmarks"), METHODS["gap"]()))
    lines = []
    tiny = dict(stages=(1,), widths=(8,), strides=(2,), stem="small")
    found = parts.measure(Settings(pairs=2, batch=2, image=32, backbone=tiny, say=lines.append))
    assert found["parts/backbone_alone/step_seconds"] > 0 and "parts/backbone_alone/median_ratio" not in found
    ends = [found[f"parts/landmarks/{name}"] for name in ("median_ratio_low", "median_ratio", "median_ratio_high")]
    assert ends == sorted(ends) and ends[0] > 0
    assert all(isinstance(value, float) and np.isfinite(value) for value in found.values())
    assert lines[-1].startswith("parts: round 2 of 2: backbone alone ")


@pytest.mark.parametrize("t", [0, 5])
def test_the_batch_lies_ready(t):
    batches = parts.Ready(2, 16)
    assert batches[t] is batches[0]
    assert batches[t]["image"].shape == (2, 16, 16, 3)
