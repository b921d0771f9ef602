"""Optimisers and schedules against values worked by hand and a float64 oracle; patterns; user errors."""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from partrep import UserError
from partrep.train.optimizer import (
    Optimizer,
    make_optimizer,
    make_schedule,
    match,
    merge,
    partition,
    turned,
)

PARAMS = {
    "body": {"kernel": jnp.array([[1.0, -2.0], [0.5, 3.0]]), "bias": jnp.array([0.1, -0.1])},
    "head": {"kernel": jnp.array([[2.0], [1.0]])},
}


def gradients(t: int) -> dict:
    return jax.tree.map(lambda leaf: jnp.cos(leaf * (t + 1)), PARAMS)


def run(settings, steps: int) -> list[dict]:
    transform = make_optimizer(settings, PARAMS, steps)
    params, state, seen = PARAMS, transform.init(PARAMS), []
    for t in range(steps):
        updates, state = transform.update(gradients(t), state, params)
        params = optax.apply_updates(params, updates)
        seen.append(params)
    return seen


def test_nesterov_by_hand():
    settings = Optimizer("sgd", 0.1, "constant", momentum=0.9)
    transform = make_optimizer(settings, {"w": jnp.array([1.0])}, 2)
    w = {"w": jnp.array([1.0])}
    state = transform.init(w)
    # v1 = 1, update 1 + 0.9 * 1 = 1.9;  v2 = 2 + 0.9 * 1 = 2.9, update 2 + 0.9 * 2.9 = 4.61.
    for gradient, expected in ((1.0, 1 - 0.19), (2.0, 1 - 0.19 - 0.461)):
        updates, state = transform.update({"w": jnp.array([gradient])}, state, w)
        w = optax.apply_updates(w, updates)
        np.testing.assert_allclose(w["w"], [expected], rtol=1e-6)


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd"])
def test_five_steps_against_the_oracle(name):
    decay = 0.0 if name == "adam" else 0.2
    settings = Optimizer(name, 0.05, "cosine", weight_decay=decay, multipliers=(("head/.*", 0.5),))
    seen = run(settings, 5)
    for module, leaf in (("body", "kernel"), ("body", "bias"), ("head", "kernel")):
        x = np.float64(PARAMS[module][leaf])
        m, v, first = 0.0, 0.0, np.float64(PARAMS[module][leaf])
        wd = decay if x.ndim > 1 else 0.0
        for t in range(5):
            g = np.cos(first * (t + 1))
            rate = 0.05 * 0.5 * (1 + math.cos(math.pi * t / 5)) * (0.5 if module == "head" else 1)
            if name == "sgd":
                g = g + wd * x
                m = g + 0.9 * m
                update = g + 0.9 * m
            else:
                m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
                update = m / (1 - 0.9 ** (t + 1)) / (np.sqrt(v / (1 - 0.999 ** (t + 1))) + 1e-8) + wd * x
            x = x - rate * update
            np.testing.assert_allclose(seen[t][module][leaf], x, rtol=2e-5, atol=3e-6, err_msg=f"{module}/{leaf} {t}")


def orthogonalised(matrix: np.ndarray) -> np.ndarray:
    """Five quintic Newton-Schulz iterations with the published coefficients."""
    x = matrix / (np.linalg.norm(matrix) + 1e-8)
    for _ in range(5):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x


def test_muon_turns_kernels_by_orthogonal_matrices_and_the_rest_by_nadam():
    kernel = jax.random.normal(jax.random.key(0), (3, 3, 2, 4))
    params = {"conv": kernel, "bias": jnp.array([1.0, -1.0])}
    transform = make_optimizer(Optimizer("muon", 0.1, "constant", weight_decay=0.2, muon_rate=3.0), params, 2)
    gradient = jax.tree.map(jnp.cos, params)
    updates, _ = transform.update(gradient, transform.init(params), params)
    # In one step the momentum is a multiple of the gradient, and its length cancels. The update is scaled by
    # sqrt(max(1, outputs / inputs)); the decay is at the plain rate.
    g = np.asarray(gradient["conv"], np.float64).reshape(18, 4)
    turned = orthogonalised(g.T).T * max(1, 4 / 18) ** 0.5
    expected = -0.1 * (3.0 * turned + 0.2 * np.asarray(kernel, np.float64).reshape(18, 4))
    np.testing.assert_allclose(updates["conv"].reshape(18, 4), expected, rtol=1e-3, atol=1e-4)
    assert np.all(np.sign(updates["bias"]) == -np.sign(gradient["bias"]))
    assert 0.05 < abs(float(updates["bias"][0])) < 0.2


@pytest.mark.parametrize("shape", [(3, 3, 16, 32), (1, 1, 5, 40), (3, 3, 2, 18)])
def test_muon_is_that_of_optax(shape):
    def as_matrix(leaf):
        return optax.contrib.MuonDimensionNumbers((0, 1, 2), 3) if leaf.ndim == 4 else None

    params = {"conv": jax.random.normal(jax.random.key(0), shape), "bias": jnp.array([1.0, -1.0])}
    theirs = optax.contrib.muon(
        0.3,
        adam_learning_rate=0.1,
        muon_weight_dimension_numbers=lambda tree: jax.tree.map(as_matrix, tree),
    )
    ours = make_optimizer(Optimizer("muon", 0.1, "constant", muon_rate=3.0), params, 4)
    states = [ours.init(params), theirs.init(params)]
    for t in range(4):
        gradient = {name: jnp.cos(leaf * (t + 1)) for name, leaf in params.items()}
        (update, states[0]), (expected, states[1]) = (
            transform.update(gradient, state, params) for transform, state in zip((ours, theirs), states)
        )
        for name in params:
            np.testing.assert_allclose(update[name], expected[name], rtol=1e-4, atol=1e-5)


def test_a_kernel_of_all_lengths_and_of_none_is_turned():
    rng = np.random.default_rng(0)
    left, right = (np.linalg.qr(rng.normal(size=(n, 16)))[0] for n in (72, 16))
    lengths = np.logspace(0, -8, 16)  # far below 32-bit precision of the Gram matrix, whose squares they are
    matrix = left * lengths @ right.T
    found = np.asarray(turned(jnp.float32(matrix).reshape(3, 3, 8, 16)), np.float64).reshape(72, 16)
    expected = orthogonalised(matrix.T).T * np.linalg.norm(matrix)
    assert np.abs(found - expected).max() < 1e-3 * np.linalg.norm(expected, 2)
    np.testing.assert_array_equal(turned(jnp.zeros((3, 3, 8, 16))), 0.0)


def test_clipping_bounds_the_global_norm():
    settings = Optimizer("sgd", 1.0, "constant", momentum=0.0, clip=0.5)
    transform = make_optimizer(settings, PARAMS, 1)
    gradient = jax.tree.map(lambda leaf: 100 * jnp.ones_like(leaf), PARAMS)
    updates, _ = transform.update(gradient, transform.init(PARAMS), PARAMS)
    assert float(optax.tree.norm(updates)) == pytest.approx(0.5, rel=1e-5)
    small = jax.tree.map(lambda leaf: 0.01 * jnp.ones_like(leaf), PARAMS)
    updates, _ = transform.update(small, transform.init(PARAMS), PARAMS)
    np.testing.assert_allclose(updates["head"]["kernel"], -0.01, rtol=1e-6)


def test_the_first_matching_multiplier_counts():
    settings = Optimizer("sgd", 1.0, "constant", momentum=0.0, multipliers=((".*/bias", 0.0), ("body/.*", 0.1)))
    transform = make_optimizer(settings, PARAMS, 1)
    updates, _ = transform.update(jax.tree.map(jnp.ones_like, PARAMS), transform.init(PARAMS), PARAMS)
    np.testing.assert_allclose(updates["body"]["bias"], 0.0)
    np.testing.assert_allclose(updates["body"]["kernel"], -0.1, rtol=1e-6)
    np.testing.assert_allclose(updates["head"]["kernel"], -1.0)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (Optimizer(schedule="constant", learning_rate=2.0), {0: 2.0, 99: 2.0, 100: 2.0}),
        (Optimizer(schedule="constant", learning_rate=2.0, warmup=0.1), {0: 0.2, 4: 1.0, 9: 2.0, 10: 2.0}),
        (Optimizer(schedule="cosine", learning_rate=2.0), {0: 2.0, 50: 1.0, 100: 0.0, 200: 0.0}),
        (
            Optimizer(schedule="cosine", learning_rate=2.0, warmup=0.2, final=0.1),
            {0: 0.1, 19: 2.0, 20: 2.0, 60: 1.1, 100: 0.2},
        ),
        (
            Optimizer(schedule="one_cycle", learning_rate=1.0, warmup=0.3, final=0.01),
            {0: 0.04, 15: 0.52, 30: 1.0, 65: 0.505, 100: 0.01},
        ),
        (
            Optimizer(schedule="step", learning_rate=1.0, milestones=(0.5, 0.75), factor=0.1),
            {0: 1.0, 49: 1.0, 50: 0.1, 74: 0.1, 75: 0.01, 99: 0.01},
        ),
    ],
)
def test_schedules_pass_through_their_points(settings, expected):
    rate = make_schedule(settings, 100)
    for t, value in expected.items():
        assert float(rate(t)) == pytest.approx(value, rel=1e-5, abs=1e-7), t
    assert rate(jnp.int32(3)).dtype == jnp.float32


def test_partition_and_merge_undo_each_other():
    mask = match(PARAMS, "body/.*")
    moving, frozen = partition(PARAMS, mask)
    assert len(jax.tree.leaves(moving)) == 2 and len(jax.tree.leaves(frozen)) == 1
    assert jax.tree.all(jax.tree.map(jnp.array_equal, merge(moving, frozen), PARAMS))
    state = make_optimizer({"name": "adamw"}, moving, 5).init(moving)
    assert {leaf.shape for leaf in jax.tree.leaves(state)} == {(), (2, 2), (2,)}


def test_patterns_match_whole_paths():
    assert match(PARAMS, "body/kernel") == {
        "body": {"kernel": True, "bias": False},
        "head": {"kernel": False},
    }
    assert match(PARAMS, "(?!body/).*") == {
        "body": {"kernel": False, "bias": False},
        "head": {"kernel": True},
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "lion"}, "unknown optimizer 'lion'; known: adam, adamw, muon, sgd"),
        ({"schedule": "linear"}, "unknown schedule 'linear'; known: constant, cosine, one_cycle, step"),
        ({"warmup": 1.0}, "found warmup 1.0; expected a share of the stage in"),
        ({"schedule": "one_cycle"}, "found one_cycle with warmup 0; expected a share"),
        ({"name": "adam", "weight_decay": 0.1}, "found adam with weight_decay 0.1; expected 0, or adamw"),
        (
            {"multipliers": (("neck/.*", 2.0),)},
            "'neck/.*' matches no parameter; known are body/bias, body/kernel",
        ),
        ({"multipliers": (("(", 2.0),)}, "no regular expression"),
    ],
)
def test_mistakes_are_user_errors(change, message):
    with pytest.raises(UserError, match=message):
        make_optimizer(dataclasses.asdict(Optimizer()) | change, PARAMS, 10)


def test_an_unknown_setting_is_a_user_error():
    with pytest.raises(UserError, match=r"Optimizer settings: unknown 'lr'; known: .*learning_rate"):
        make_optimizer({"lr": 0.1}, PARAMS, 10)
