"""How the benchmarks measure, on calls whose times are known."""

import jax.numpy as jnp
import numpy as np
import pytest

from partrep import UserError
from partrep.benchmark import timing
from partrep.train.stages import Aux, Stage


@pytest.fixture
def clock(monkeypatch):
    """A clock that only `pass_` moves."""

    class Clock:
        now = 0.0

        def pass_(self, seconds):
            self.now += seconds

    made = Clock()
    monkeypatch.setattr(timing.time, "perf_counter", lambda: made.now)
    return made


def test_rounds_rotate_and_the_first_is_not_counted(clock):
    order = []

    def call(name, seconds):
        def run():
            order.append(name)
            clock.pass_(seconds if len(order) > 3 else 100.0)  # the first round is slow

        return run

    lines = []
    times = timing.interleaved({n: call(n, s) for n, s in (("a", 1.0), ("b", 2.0), ("c", 3.0))}, 3, lines.append)
    assert {name: seconds.tolist() for name, seconds in times.items()} == {"a": [1] * 3, "b": [2] * 3, "c": [3] * 3}
    assert order == list("cababcbcacab")
    assert lines[0] == "round 1 of 3: a 1000 ms, b 2000 ms, c 3000 ms"


def test_ratios_by_hand():
    found = timing.ratios([2.0, 3.0, 12.0, 4.0, 5.0], [1.0, 2.0, 3.0, 4.0, 5.0])
    # Medians 4 and 3; ratios of the rounds 2, 1.5, 4, 1, 1.
    assert found == pytest.approx(
        {"ratio_of_medians": 4 / 3, "median_ratio": 1.5, "median_ratio_low": 1.0, "median_ratio_high": 2.0}
    )


def test_a_machine_that_slows_down_does_not_move_the_ratio():
    slowing = np.linspace(1, 5, 20)
    found = timing.ratios(1.1 * slowing, slowing)
    assert found["median_ratio"] == pytest.approx(1.1) == found["median_ratio_high"]


def test_rate_is_the_amount_over_the_median_time(clock):
    seconds = iter([100.0, 2.0, 4.0, 2.0, 2.0])
    assert timing.rate(lambda: clock.pass_(next(seconds)), amount=10, seconds=9.0) == 5.0
    assert next(seconds, None) is None  # 2 + 4 + 2 s were not enough


def test_rate_repeats_three_times_at_least(clock):
    calls = []
    timing.rate(lambda: (calls.append(1), clock.pass_(50.0)), amount=1, seconds=0.0)
    assert len(calls) == 4


@pytest.mark.parametrize("name", ["pairs", "batch", "image"])
def test_settings_that_no_benchmark_can_have(name):
    with pytest.raises(UserError, match=f"{name} is 0; expected at least"):
        timing.Settings(**{name: 0})


def test_peak_memory_is_that_of_this_process():
    found = timing.peak_bytes()
    assert 1e7 < found["peak_process_bytes"] < 1e12


def test_names_are_prefixed():
    assert timing.prefixed("a", {"b": 1.0}) == {"a/b": 1.0}


def test_a_compiled_step_takes_the_batches_in_turn():
    asked = []

    class Batches:
        def __getitem__(self, t):
            asked.append(t)
            return {"x": np.full((4, 2), t, np.float32)}

    def loss(params, model_state, loss_state, batch, key):
        value = ((batch["x"] @ params["w"]) ** 2).mean()
        return {"square": (value, 1.0)}, Aux(model_state, loss_state, {})

    stage = Stage("measured", 100, loss, Batches(), {"name": "sgd", "learning_rate": 0.1})
    steps = timing.Steps(stage, lambda key: {"params": {"w": jnp.ones((2, 1))}})
    for _ in range(3):
        steps()
    assert asked == [0, 0, 1, 2]  # the first only to compile
    assert int(steps._state.step) == 3
    found = steps.numbers()
    assert found["compile_seconds"] > 0 and found["trace_seconds"] > 0


def test_a_fast_function_runs_again_and_again():
    ran = []
    call = timing.Ready(0.2, lambda x: x + 1, jnp.ones(3))
    assert call.runs > 10  # a small part of a millisecond each
    call.program, call.runs = lambda *arguments: ran.append(arguments), 5
    call()
    assert len(ran) == 5
    assert timing.Ready(0.0, lambda x: x + 1, jnp.ones(3)).runs == 1
