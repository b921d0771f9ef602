"""Assigned: detectors' best and mean scores, one region a part as the target, running statistics."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from partrep import UserError
from partrep.parts.assigned import Assigned
from partrep.parts.readout import peak_assignment

RNG = np.random.default_rng(0)
MIX = RNG.normal(size=(6, 6))
FEATURES = jnp.float32(RNG.normal(size=(3, 3, 4, 6)) @ MIX + 1.0)
QUERIES = jnp.float32(RNG.normal(size=(4, 6)))
PLAIN, WHITE, GROUPED = Assigned(parts=4), Assigned(parts=4, whiten=True), Assigned(parts=4, groups=2)
STATISTICS = {
    "batches": jnp.float32(3),
    "mean": jnp.ones(6),
    "covariance": jnp.float32(np.cov(RNG.normal(size=(6, 40)))),
}
CASES = {
    "plain": (PLAIN, {"params": {"queries": QUERIES}}),
    "grouped": (GROUPED, {"params": {"queries": QUERIES}}),
    "whitened": (WHITE, {"params": {"queries": QUERIES}, "batch_stats": STATISTICS}),
}
FORWARD = {name: jax.jit(lambda v, z, m=model: m.apply(v, z, train=False)) for name, (model, _) in CASES.items()}


def detectors(name):
    queries = np.asarray(QUERIES, np.float64)
    if name != "whitened":
        return queries
    covariance = np.asarray(STATISTICS["covariance"], np.float64)
    return np.linalg.solve(covariance + 0.01 * np.trace(covariance) / 6 * np.eye(6), queries.T).T


@pytest.mark.parametrize("name", CASES)
def test_scores_against_float64(name):
    parts = FORWARD[name](CASES[name][1], FEATURES)
    scores = np.einsum("kd,bhwd->bkhw", detectors(name), np.asarray(FEATURES, np.float64))
    np.testing.assert_allclose(parts.similarity, scores, rtol=1e-3, atol=1e-4)
    expected = np.stack([scores.max((2, 3)), scores.mean((2, 3))], axis=-1)
    np.testing.assert_allclose(parts.vectors, expected, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(parts.scores, expected[..., 0], rtol=1e-3, atol=1e-4)


def test_without_the_mean_vectors_are_the_best_scores():
    model = Assigned(parts=4, mean=False)
    peaks = jnp.zeros((3, 4, 3, 4)).at[..., 0, 0].set(1.0)
    vectors = jax.jit(lambda v: model.apply(v, FEATURES, peaks, method="read_out"))(CASES["plain"][1])
    np.testing.assert_allclose(vectors[..., 0], FEATURES[:, 0, 0] @ QUERIES.T, rtol=1e-4, atol=1e-5)
    assert vectors.shape == (3, 4, 1)


def test_each_part_has_one_region_and_no_region_two_parts():
    parts = FORWARD["plain"](CASES["plain"][1], FEATURES)
    np.testing.assert_allclose(parts.assignment.sum((2, 3)), 1.0, atol=1e-5)
    np.testing.assert_allclose(parts.assignment.sum(1) + parts.background, 1.0, atol=1e-5)
    assert float(parts.background.min()) >= 0
    scaled = FORWARD["plain"](CASES["plain"][1], 100 * FEATURES)  # the scale of the features has no say
    np.testing.assert_allclose(scaled.assignment, parts.assignment, atol=1e-3)


def test_a_group_is_assigned_as_if_it_were_alone():
    rival = {"params": {"queries": jnp.stack([QUERIES[0], QUERIES[1], QUERIES[0], QUERIES[1]])}}  # two equal groups
    together, shared = (FORWARD[name](rival, FEATURES).assignment for name in ("grouped", "plain"))
    alone = jax.jit(lambda z: Assigned(parts=2).apply({"params": {"queries": QUERIES[:2]}}, z, train=False))(FEATURES)
    for group in (together[:, :2], together[:, 2:]):
        np.testing.assert_allclose(group, alone.assignment, atol=1e-5)
        np.testing.assert_allclose(group.sum((2, 3)), 1.0, atol=1e-5)
        assert float(group.sum(1).max()) <= 1 + 1e-5
    assert float(together.sum(1).max()) > 1.5 and float(shared.sum(1).max()) <= 1 + 1e-5
    background = FORWARD["grouped"](rival, FEATURES).background
    np.testing.assert_allclose(background, np.maximum(1 - together.sum(1), 0), atol=1e-6)


def test_the_order_of_groups_and_of_the_parts_in_them_is_free():
    order = jnp.array([3, 2, 0, 1])
    before = FORWARD["grouped"](CASES["grouped"][1], FEATURES)
    after = FORWARD["grouped"]({"params": {"queries": QUERIES[order]}}, FEATURES)
    for field in ("similarity", "assignment", "vectors", "scores", "presence", "centroid"):
        np.testing.assert_allclose(getattr(after, field), getattr(before, field)[:, order], rtol=1e-3, atol=1e-4)


def test_parts_of_all_groups_may_be_more_than_locations():
    made = jax.eval_shape(lambda: Assigned(parts=14, groups=7).init(jax.random.key(0), FEATURES, train=False))
    assert made["params"]["queries"].shape == (14, 6)


def test_the_assignment_is_a_target():
    def through(variables):
        parts = PLAIN.apply(variables, FEATURES, train=False)
        return (parts.assignment * FEATURES[..., 0][:, None]).sum() + parts.centroid.sum() + parts.presence.sum()

    np.testing.assert_array_equal(jax.jit(jax.grad(through))(CASES["plain"][1])["params"]["queries"], 0.0)


@pytest.mark.parametrize("name", CASES)
def test_linear_head_is_explained_exactly_by_part_and_by_location(name):
    """Zeroing any feature, with the peaks frozen, changes the logit by the contribution of that location."""
    model, variables = CASES[name]
    head = jnp.float32(np.random.default_rng(5).normal(size=(4, 2)))
    parts = FORWARD[name](variables, FEATURES)
    peaks = peak_assignment(parts.similarity)
    read_out = jax.jit(lambda z: model.apply(variables, z, peaks, method="read_out"))
    np.testing.assert_allclose(read_out(FEATURES), parts.vectors, rtol=1e-5, atol=1e-5)
    by_place = parts.similarity * (head[:, 0, None, None] * peaks + head[:, 1, None, None] / 12)
    logit = jnp.einsum("km,bkm->b", head, parts.vectors)
    np.testing.assert_allclose(by_place.sum((1, 2, 3)), logit, rtol=1e-4, atol=1e-4)
    for y, x in np.ndindex(3, 4):
        change = logit - jnp.einsum("km,bkm->b", head, read_out(FEATURES.at[:, y, x].set(0.0)))
        np.testing.assert_allclose(change, by_place[:, :, y, x].sum(1), rtol=1e-4, atol=1e-4)


def test_the_form_of_the_other_methods_once_bound():
    model, variables = CASES["whitened"]

    @jax.jit
    def run(variables):
        bound = model.bind(variables)
        parts = bound(FEATURES, False)
        return parts, bound.read_out(FEATURES, peak_assignment(parts.similarity))

    parts, read = run(variables)
    np.testing.assert_allclose(read, parts.vectors, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["plain", "whitened"])
def test_permuting_queries_permutes_every_field(name):
    order = jnp.array([2, 0, 3, 1])
    variables = CASES[name][1]
    moved = {**variables, "params": {"queries": QUERIES[order]}}
    before, after = FORWARD[name](variables, FEATURES), FORWARD[name](moved, FEATURES)
    for field in ("similarity", "assignment", "vectors", "scores", "presence", "centroid"):
        np.testing.assert_allclose(getattr(after, field), getattr(before, field)[:, order], rtol=1e-3, atol=1e-4)


TRAIN = jax.jit(lambda v, z: WHITE.apply(v, z, train=True, mutable=["batch_stats"]))


def test_the_first_batches_count_alike_and_evaluation_moves_nothing():
    variables = jax.jit(lambda k: WHITE.init(k, FEATURES, True))(jax.random.key(0))
    assert float(variables["batch_stats"]["batches"]) == 0
    batches = [FEATURES, 2 * FEATURES[::-1] - 3.0, -FEATURES]
    for batch in batches:
        _, state = TRAIN(variables, batch)
        variables = {**variables, **state}
    rows = np.concatenate([np.asarray(b, np.float64).reshape(-1, 6) for b in batches])
    got = variables["batch_stats"]
    np.testing.assert_allclose(got["mean"], rows.mean(0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(got["covariance"], np.cov(rows.T, bias=True), rtol=1e-4, atol=1e-4)
    still = jax.jit(lambda v: WHITE.apply(v, FEATURES, train=False, mutable=["batch_stats"])[1])
    state = still(variables)
    for after, before in zip(jax.tree.leaves(state), jax.tree.leaves({"batch_stats": got})):
        np.testing.assert_array_equal(after, before)


def test_later_batches_count_by_the_momentum():
    old = {**STATISTICS, "batches": jnp.float32(1e6)}
    _, state = TRAIN({"params": {"queries": QUERIES}, "batch_stats": old}, FEATURES)
    rows = np.asarray(FEATURES, np.float64).reshape(-1, 6)
    np.testing.assert_allclose(state["batch_stats"]["mean"], 0.99 + 0.01 * rows.mean(0), rtol=1e-5)
    shift = rows.mean(0) - 1
    mixed = 0.99 * np.asarray(STATISTICS["covariance"]) + 0.01 * np.cov(rows.T, bias=True)
    mixed += 0.99 * 0.01 * np.outer(shift, shift)
    np.testing.assert_allclose(state["batch_stats"]["covariance"], mixed, rtol=1e-4, atol=1e-5)


def test_whitened_detectors_do_not_change_when_features_are_mixed():
    """Scores of whitened detectors of mean differences are those of the mixed features, up to the ridge."""
    mixed = jnp.einsum("bhwd,de->bhwe", FEATURES, jnp.float32(np.diag([1.0, 3.0, 0.5, 2.0, 1.0, 4.0])))
    scores = []
    for features in (FEATURES, mixed):
        rows = features.reshape(-1, 6)
        queries = rows[:4] - rows.mean(0)
        plain = {"batches": jnp.float32(0), "mean": jnp.zeros(6), "covariance": jnp.eye(6)}
        out, _ = TRAIN({"params": {"queries": queries}, "batch_stats": plain}, features)
        scores.append(np.asarray(out.similarity - out.similarity.mean((0, 2, 3), keepdims=True)))
    correlation = [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(*scores)]
    assert min(correlation) > 0.9


def test_bfloat16_features_give_float32_and_finite_gradients_even_for_empty_features():
    low = jnp.zeros_like(FEATURES, jnp.bfloat16)

    def total(variables, features):
        out = WHITE.apply(variables, features, train=True, mutable=["batch_stats"])
        return out[0].vectors.sum(), out

    grads, out = jax.jit(jax.grad(total, argnums=(0, 1), has_aux=True))(CASES["whitened"][1], low)
    assert {x.dtype for x in jax.tree.leaves(out)} == {jnp.dtype("float32")}
    assert all(np.isfinite(np.asarray(g, np.float32)).all() for g in jax.tree.leaves(grads))


FOUR_DEVICES = """
import jax, jax.numpy as jnp, numpy as np
from partrep.losses.occurrence import beta_quantiles, occurrence, smoothed_occurrence
from partrep.parts.assigned import Assigned
from partrep.train import sharding
assert jax.device_count() == 4
model, table = Assigned(parts=3, whiten=True), beta_quantiles(0.2, 0.2, 8)
features = np.random.default_rng(0).normal(size=(8, 3, 3, 5)).astype(np.float32)
maps = np.random.default_rng(1).uniform(size=(8, 2, 5, 5)).astype(np.float32)
statistics = {"batches": np.float32(0), "mean": np.zeros(5, np.float32), "covariance": np.eye(5, dtype=np.float32)}
queries = np.random.default_rng(2).normal(size=(3, 5)).astype(np.float32)
variables = {"params": {"queries": queries}, "batch_stats": statistics}

def step(variables, batch):
    out, state = model.apply(variables, batch["z"], True, mutable=["batch_stats"])
    prior = jax.value_and_grad(lambda a: occurrence(smoothed_occurrence(a), table, batch["where"]))
    return out, state, prior(batch["maps"])

batch = {"z": features, "maps": maps, "where": np.arange(8) != 5}
one = jax.jit(step)(*jax.device_put((variables, batch), jax.devices()[0]))
four = jax.jit(step)(sharding.replicate(variables), sharding.put_batch(batch))
assert len(four[0].assignment.sharding.device_set) == 4
for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(four)):
    np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=1e-4, atol=1e-4)
"""


def test_four_devices_equal_one_in_statistics_and_in_the_occurrence_prior():
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "4"}
    run = subprocess.run([sys.executable, "-c", FOUR_DEVICES], env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"parts": 0}, "0 parts, 1 groups; expected at least 1 part in each of equal groups"),
        ({"parts": 5, "groups": 2}, "5 parts, 2 groups; expected at least 1 part in each of equal groups"),
        ({"parts": 4, "groups": 0}, "4 parts, 0 groups"),
        ({"parts": 13}, "13 parts that compete, 12 locations; expected no more parts than locations"),
        ({"parts": 26, "groups": 2}, "13 parts that compete, 12 locations"),
        ({"momentum": 1.0}, r"momentum 1\.0; expected 0 <= momentum < 1"),
    ],
)
def test_bad_settings_are_named(fields, message):
    with pytest.raises(UserError, match=message):
        Assigned(**fields).init(jax.random.key(0), FEATURES, train=False)


def test_bad_features_are_named():
    with pytest.raises(ValueError, match="features has shape"):
        PLAIN.apply(CASES["plain"][1], jnp.ones((2, 4, 6)), train=False)
