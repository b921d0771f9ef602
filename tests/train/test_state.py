"""The state: begun by copying, averaged with a warm-up, read as the model's variables."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from partrep.train.state import begin, ema_decay, flatten, split_variables, update_ema

VARIABLES = {"params": {"w": jnp.ones(2)}, "batch_stats": {"mean": jnp.zeros(2), "count": jnp.int32(3)}}


def test_a_state_begins_with_copies():
    state = begin(VARIABLES, ema=True)
    assert state.params["w"] is not VARIABLES["params"]["w"]
    assert state.params["w"].unsafe_buffer_pointer() != state.ema["params"]["w"].unsafe_buffer_pointer()
    assert int(state.step) == 0 and int(state.bad_step) == -1 and int(state.best_step) == -1
    assert begin(VARIABLES, ema=False).ema is None


def test_variables_of_training_and_evaluation():
    state = begin(VARIABLES, ema=True)
    state = state.replace(params={"w": jnp.full(2, 5.0)})
    assert state.variables["params"]["w"][0] == 5 and state.eval_variables["params"]["w"][0] == 1
    assert state.eval_variables.keys() == VARIABLES.keys() == state.variables.keys()
    assert state.replace(ema=None).eval_variables["params"]["w"][0] == 5
    params, rest = split_variables(VARIABLES)
    assert params is VARIABLES["params"] and list(rest) == ["batch_stats"]


def test_leaves_by_path():
    tree = {"b": (1, {"c": 2}), "a": None}
    assert flatten(tree) == {"b/0": 1, "b/1/c": 2} and list(flatten(tree).values()) == jax.tree.leaves(tree)


def test_the_decay_warms_up_to_its_value():
    expected = [min(0.9, (1 + t) / (10 + t)) for t in range(200)]
    np.testing.assert_allclose([ema_decay(0.9, t) for t in range(200)], expected, rtol=1e-6)


def test_averages_move_floats_and_copy_counts():
    old = {"params": {"w": jnp.zeros(2)}, "model_state": {"count": jnp.int32(1)}}
    new = update_ema(old, {"w": jnp.ones(2)}, {"count": jnp.int32(9)}, jnp.float32(0.75))
    assert jax.tree.map(np.asarray, new)["params"]["w"].tolist() == [0.25, 0.25]
    assert int(new["model_state"]["count"]) == 9
