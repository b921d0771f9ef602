"""The loop: it learns, stops at the first value not finite, resumes to the bit, and keeps its books."""

from __future__ import annotations

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from partrep import UserError
from partrep.train import loop
from partrep.train.checkpoint import best_step, load_variables, saved_steps
from partrep.train.optimizer import Optimizer
from partrep.train.stages import Aux, Stage
from partrep.train.state import flatten
from partrep.train.step import TrainingDiverged


def arrays_of(state) -> dict[str, np.ndarray]:
    return {name: np.array(leaf) for name, leaf in flatten(state).items()}


def assert_bit_equal(found: dict, expected: dict) -> None:
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


def test_training_lowers_the_loss_and_logs_every_step(toy, straight):
    workdir, arrays = straight
    lines = toy.metrics(workdir)
    assert [line["step"] for line in lines] == list(range(1, 21))
    assert {line["stage"] for line in lines[:10]} == {"head"} and lines[10]["stage"] == "all"
    assert np.mean([line["loss"] for line in lines[-5:]]) < np.mean([line["loss"] for line in lines[:5]])
    for line in lines:
        assert line["loss"] == pytest.approx(line["loss/cross_entropy"] + 0.01 * line["loss/size"], rel=1e-5)
    assert [line["step"] for line in lines if "val/accuracy" in line] == [5, 10, 15, 20]
    assert arrays["loss_state/seen"] == 20 * toy.BATCH
    assert lines[0]["learning_rate"] == pytest.approx(0.1)


def test_the_best_validation_is_recorded_and_kept(toy, straight):
    workdir, arrays = straight
    scores = {line["step"]: line["val/accuracy"] for line in toy.metrics(workdir) if "val/accuracy" in line}
    best = max(scores, key=lambda step: (scores[step], -step))
    assert arrays["best_step"] == best == best_step(workdir / "checkpoints")
    assert arrays["best_metric"] == np.float32(scores[best])
    improved = [step for step in scores if scores[step] > max([0, *(scores[s] for s in scores if s < step)])]
    saves = sorted({4, 8, 10, 12, 16, 20, *improved})  # every fourth, the end of a stage, each best
    assert set(saved_steps(workdir / "checkpoints")) == {*saves[-3:], best}
    variables, step = load_variables(workdir / "checkpoints")
    assert step == 20
    np.testing.assert_array_equal(variables["params"]["head"]["bias"], arrays["ema/params/head/bias"])
    plain, _ = load_variables(workdir / "checkpoints", best, ema=False)
    assert plain["batch_stats"]["norm"]["mean"].shape == (16,)


def test_frozen_parameters_do_not_move_and_take_no_memory(toy):
    stage = dataclasses.replace(toy.stages(4)[0], until_step=3, optimizer=Optimizer("adamw", 0.1, weight_decay=0.1))
    seen = []
    hooks = loop.Hooks([loop.Every(1, lambda state: seen.append(arrays_of(state)))])
    start = toy.init(jax.random.key(3))
    loop.fit([stage], start, {}, None, hooks)
    for arrays in seen:
        np.testing.assert_array_equal(arrays["params/body/kernel"], start["params"]["body"]["kernel"])
        np.testing.assert_array_equal(arrays["params/norm/scale"], start["params"]["norm"]["scale"])
        assert not np.array_equal(arrays["params/head/kernel"], start["params"]["head"]["kernel"])
        assert not [name for name in arrays if name.startswith("opt_state") and "body" in name]
        assert [name for name in arrays if name.startswith("opt_state") and "head" in name]


def test_averages_follow_the_oracle(toy):
    seen = []
    hooks = loop.Hooks([loop.Every(1, lambda state: seen.append(arrays_of(state)))])
    variables = toy.init(jax.random.key(0))
    stage = dataclasses.replace(toy.stages(12)[0], trainable=".*", at_end=None)
    loop.fit([stage], variables, {"ema": 0.3}, None, hooks)
    for name in ("params/head/kernel", "model_state/batch_stats/norm/var"):
        collection = variables["params"] if name.startswith("params") else variables
        average = np.float64(flatten(collection)[name.removeprefix("params/").removeprefix("model_state/")])
        for t, arrays in enumerate(seen):
            decay = min(0.3, (1 + t) / (10 + t))
            average = decay * average + (1 - decay) * np.float64(arrays[name])
            np.testing.assert_allclose(arrays[f"ema/{name}"], average, rtol=1e-5, atol=1e-7)


class Interrupted(Exception):
    """A test's own stop."""


def interrupt(at: int):
    """A hook that stops the run after a step."""

    def call(state):
        if int(state.step) == at:
            raise Interrupted

    return loop.Every(1, call)


@pytest.mark.parametrize("at", [3, 9, 11])
def test_resuming_equals_going_straight_on_over_a_stage_boundary(toy, straight, tmp_path, at):
    workdir, expected = straight
    with pytest.raises(Interrupted):
        toy.run(tmp_path, hooks=[interrupt(at)])
    state = toy.run(tmp_path)
    toy.dump(state, tmp_path / "arrays.npz")
    assert_bit_equal(dict(np.load(tmp_path / "arrays.npz")), expected)
    assert toy.metrics(tmp_path) == toy.metrics(workdir)


def test_a_finished_run_is_returned_as_it_is(toy, straight):
    workdir, expected = straight
    before = (workdir / "metrics.jsonl").read_text()
    called = []
    state = toy.run(workdir, at_end=lambda state: called.append(1))
    assert_bit_equal(arrays_of(state), {n: a for n, a in expected.items() if not n.startswith("outputs/")})
    assert (workdir / "metrics.jsonl").read_text() == before and not called


def test_killed_anywhere_and_started_again_ends_the_same(toy, straight, child, tmp_path):
    workdir, expected = straight
    when = int(np.random.default_rng().integers(5, 10))
    for where, code in (("saving", -9), ("step", -9), ("at_end", -9), ("nowhere", 0)):
        process = child("kill", tmp_path / "run", tmp_path / "out.npz", where, when)
        errors = process.communicate(timeout=120)[1]
        assert process.returncode == code, errors
    assert "step 1/20" not in errors, "the last start went on from a checkpoint"
    assert_bit_equal(dict(np.load(tmp_path / "out.npz")), expected)
    assert toy.metrics(tmp_path / "run") == toy.metrics(workdir)
    assert not list((tmp_path / "run" / "checkpoints").glob("*tmp*"))


# Divergence, on a model of one vector: the batch says by how much each part of the loss goes wrong.


class Poison:
    """Batches of zeros but for one value at one step."""

    def __init__(self, **poison):
        self.poison = poison

    def __getitem__(self, t):
        return {"term": np.float32(0), "root": np.float32(1), "huge": np.float32(0)} | {
            name: np.float32(value) for name, (step, value) in self.poison.items() if step == t
        }


def poisoned(params, model_state, loss_state, batch, key):
    w = params["head"]["w"]
    terms = {
        "fit": (jnp.sum(jnp.square(w - 1)), 1.0),
        "margin": (jnp.sum(w) * batch["term"], 0.5),
        "root": (jnp.sqrt(jnp.sum(jnp.square(w)) * batch["root"]), 0.1),
        "size": (jnp.sum(w) * batch["huge"], 1.0),
    }
    return terms, Aux(model_state, loss_state, {})


VECTOR = {"params": {"head": {"w": jnp.array([0.5, -0.5])}, "body": {"b": jnp.ones(1)}}}


@pytest.mark.parametrize(
    ("poison", "message"),
    [
        ({"term": (6, np.nan)}, "step 7 (stage main, batch 6): the loss term 'margin' is not finite"),
        ({"term": (0, np.inf)}, "step 1 (stage main, batch 0): the loss term 'margin' is not finite"),
        (
            {"root": (4, 0)},
            "step 5 (stage main, batch 4): the gradient of the loss term 'root' is not finite at head/w",
        ),
        (
            {"huge": (4, 3e38)},
            "step 5 (stage main, batch 4): the gradient is not finite (its norm overflows)",
        ),
    ],
)
def test_a_value_that_is_not_finite_stops_with_its_step_and_term(tmp_path, poison, message):
    stage = Stage("main", 12, poisoned, Poison(**poison), Optimizer("sgd", 0.01, "constant"))
    settings = {"log_every": 5, "checkpoint_every": 3, "keep": 9}
    with pytest.raises(TrainingDiverged) as stopped:
        loop.fit([stage], VECTOR, settings, tmp_path)
    assert str(stopped.value) == f"training diverged at {message}"
    assert isinstance(stopped.value, UserError)
    bad = next(iter(poison.values()))[0]
    steps = saved_steps(tmp_path / "checkpoints")
    assert steps == [step for step in (9, 6, 3) if step <= bad]
    for step in steps:
        variables, _ = load_variables(tmp_path / "checkpoints", step)
        assert np.isfinite(variables["params"]["head"]["w"]).all()


def test_an_update_that_overflows_stops_though_terms_and_gradients_are_finite(tmp_path):
    stage = Stage("main", 4, poisoned, Poison(), Optimizer("sgd", 3e38, "constant"))
    with pytest.raises(TrainingDiverged, match=r"at step 1 .*the update made parameters"):
        loop.fit([stage], VECTOR, {"checkpoint_every": 1}, tmp_path)
    assert saved_steps(tmp_path / "checkpoints") == []


def test_a_bad_step_before_a_boundary_stops_before_at_end():
    called = []
    stage = Stage("main", 4, poisoned, Poison(term=(2, np.nan)), at_end=lambda state: called.append(1) or state)
    with pytest.raises(TrainingDiverged, match="step 3"):
        loop.fit([stage], VECTOR)
    assert not called


def test_stages_of_no_steps_run_their_end_and_variables_stay_the_callers():
    order = []

    def note(name):
        return lambda state: order.append((name, int(state.step), int(state.stage))) or state

    batches, optimizer = Poison(), Optimizer("sgd", 0.1, "constant", momentum=0.0)
    stages = [
        Stage("data", 0, poisoned, batches, optimizer, at_end=note("data")),
        Stage("main", 2, poisoned, batches, optimizer, at_end=note("main")),
        Stage("push", 2, poisoned, batches, optimizer, at_end=note("push")),
        Stage("head", 3, poisoned, batches, optimizer, trainable="head/.*", at_end=note("head")),
    ]
    every = loop.Every(2, lambda state: note("hook")(state) and None)
    hooks = loop.Hooks([every], on_checkpoint=[note("saved")], on_end=[note("end")])
    state = loop.fit(stages, VECTOR, {}, None, hooks)
    assert order == [
        ("data", 0, 0), ("main", 2, 1), ("push", 2, 2), ("hook", 2, 3), ("saved", 2, 3),
        ("head", 3, 3), ("hook", 3, 3), ("saved", 3, 3), ("end", 3, 3),
    ]  # fmt: skip
    assert VECTOR["params"]["head"]["w"].tolist() == [0.5, -0.5]
    # By hand: d/dw of |w - 1|^2 + 0.1 |w|; body/b has no gradient.
    w = np.array([0.5, -0.5])
    for _ in range(3):
        w = w - 0.1 * (2 * (w - 1) + 0.1 * w / np.linalg.norm(w))
    np.testing.assert_allclose(state.params["head"]["w"], w, rtol=1e-6)


def test_select_prefers_the_larger_or_with_a_minus_the_smaller(toy):
    state = loop.first_state(toy.stages(2), toy.init, loop.Settings())
    assert loop.select(state, "", {"a": 1.0})[1] is False
    assert loop.select(state, "a", {"b": 1.0})[1] is False
    assert loop.select(state, "a", {"a": float("nan")})[1] is False
    state, improved = loop.select(state, "a", {"a": 0.5})
    assert improved and float(state.best_metric) == 0.5
    assert loop.select(state, "a", {"a": 0.5})[1] is False
    assert loop.select(state, "a", {"a": 0.6})[1] is True
    assert loop.select(state, "-a", {"a": 0.4})[1] is True


def test_mistakes_in_the_settings_are_user_errors(toy):
    with pytest.raises(UserError, match="found log_every 0; expected at least 1"):
        loop.Settings(log_every=0)
    with pytest.raises(UserError, match=r"found ema 1.0; expected a decay in \[0, 1\)"):
        loop.Settings(ema=1.0)
    with pytest.raises(UserError, match="found the hook numbers val/accuracy; expected 'val/acuracy'"):
        toy.run(None, best="val/acuracy")


def test_another_configuration_in_the_folder_is_refused(toy, straight, tmp_path):
    workdir, _ = straight
    stages = [dataclasses.replace(stage, init_loss_state=None) for stage in toy.stages(20)]
    with pytest.raises(UserError, match=r"found loss_state/seen int32\[\]; expected none: .* another config"):
        loop.fit(stages, toy.init, toy.SETTINGS, workdir)
    with pytest.raises(UserError, match="checkpoint of stage 1; expected one of 1 stages"):
        loop.fit(toy.stages(20)[:1], toy.init, toy.SETTINGS, workdir)
    with pytest.raises(UserError, match="Settings settings: unknown 'log_evry'"):
        loop.fit(toy.stages(20), toy.init, {"log_evry": 1}, tmp_path)


def test_a_full_disk_under_the_log_is_one_line(toy, tmp_path, monkeypatch):
    monkeypatch.setattr("partrep.train.logging.rewind", lambda path, step: 0.0)  # reading it would never end
    (tmp_path / "metrics.jsonl").symlink_to("/dev/full")
    with pytest.raises(UserError, match=r"metrics.jsonl: no space left on the disk"):
        toy.run(tmp_path, tensorboard=False)


def test_metrics_are_strict_json(straight):
    for line in (straight[0] / "metrics.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=lambda constant: pytest.fail(constant))
