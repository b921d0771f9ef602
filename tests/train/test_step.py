"""The step's parts: weighing terms, the watch for values not finite, entering a stage."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from partrep.train.optimizer import Optimizer
from partrep.train.stages import Aux, Stage
from partrep.train.state import begin
from partrep.train.step import all_finite, commit, enter, make_step, weigh

STATE = begin({"params": {"w": jnp.array([1.0, 2.0])}, "batch_stats": {}}, ema=False)


def loss(params, model_state, loss_state, batch, key):
    value = jnp.sum(params["w"] * batch)
    return {"linear": (value.astype(jnp.bfloat16), 2.0), "none": (0, 1)}, Aux(model_state, loss_state, {})


def test_weighed_terms_are_float32_scalars():
    values, weighted, _ = weigh(Stage("a", 1, loss, None), STATE.params, STATE, jnp.ones(2), jax.random.key(0))
    assert values["linear"].dtype == weighted["linear"].dtype == values["none"].dtype == jnp.float32
    assert values["linear"] == 3 and weighted["linear"] == 6


def test_a_term_that_is_no_scalar_is_named():
    def wrong(*_):
        return {"each": (jnp.ones(3), 1.0)}, Aux({}, {}, {})

    with pytest.raises(ValueError, match=r"loss term 'each' has shape \(3,\); expected a scalar"):
        weigh(Stage("a", 1, wrong, None), STATE.params, STATE, None, jax.random.key(0))


def test_all_finite_skips_integers():
    assert all_finite({"a": jnp.ones(2), "n": jnp.int32(3)}) and all_finite({})
    assert not all_finite({"a": jnp.array([1.0, jnp.inf])})
    assert not all_finite({"a": jnp.array([jnp.nan], jnp.bfloat16)})


def test_the_first_bad_step_freezes_the_state_for_good():
    new = STATE.replace(step=STATE.step + 1, params={"w": jnp.zeros(2)})
    good = commit(STATE, new, jnp.array([True, True, True]))
    assert int(good.step) == 1 and int(good.bad_step) == -1 and good.params["w"].tolist() == [0, 0]
    bad = commit(good, new.replace(step=jnp.int32(2)), jnp.array([True, False, False]))
    assert (int(bad.step), int(bad.bad_step), int(bad.bad_term)) == (1, 1, 1)
    later = commit(bad, new.replace(step=jnp.int32(2)), jnp.array([True, True, True]))
    assert (int(later.step), int(later.bad_step), int(later.bad_term)) == (1, 1, 1)
    worse = commit(bad, new, jnp.array([False, True, True]))
    assert (int(worse.bad_step), int(worse.bad_term)) == (1, 1)


@pytest.mark.parametrize(
    ("memory", "message"),
    [
        ({"seen": jnp.zeros(3)}, r"loss_state/seen from float32\[2\] to float32\[3\]"),
        ({"seen": jnp.zeros(2, jnp.bfloat16)}, r"loss_state/seen from float32\[2\] to bfloat16\[2\]"),
        ({}, r"loss_state/seen from float32\[2\] to None"),
    ],
)
def test_a_loss_that_changes_the_kind_of_its_memory_is_named(memory, message):
    def wrong(params, model_state, loss_state, batch, key):
        return {"a": (jnp.sum(params["w"]), 1.0)}, Aux(model_state, memory, {})

    stages = [Stage("a", 1, wrong, None, init_loss_state=lambda state: {"seen": jnp.zeros(2)})]
    with pytest.raises(ValueError, match=message):
        make_step(stages, 0, STATE.params, 0, 0.0)(enter(stages, 0, STATE), jnp.ones(2))


def test_a_step_by_hand():
    stages = [Stage("a", 4, loss, None, Optimizer("sgd", 0.5, "constant", momentum=0.0))]
    state, report = make_step(stages, 0, STATE.params, 0, 0.0)(
        enter(stages, 0, jax.tree.map(jnp.copy, STATE)), jnp.array([1.0, -1.0])
    )
    np.testing.assert_allclose(state.params["w"], [1 - 0.5 * 2, 2 + 0.5 * 2])
    assert report["numbers"]["loss"] == -2 and report["terms"]["linear"] == -1
    assert report["numbers"]["gradient_norm"] == pytest.approx(8**0.5)
    assert int(state.step) == 1
