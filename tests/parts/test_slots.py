"""Slots: against a float64 loop, one round is plain attention, and vectors are means of features."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import softmax

from partrep import UserError
from partrep.parts.slots import Slots

FEATURES = jax.nn.relu(jax.random.normal(jax.random.key(0), (2, 4, 5, 16)))
MODEL = Slots(parts=3, rounds=3, width=8)
APPLY = jax.jit(lambda v, z: MODEL.apply(v, z, train=False))


def jittered(key):
    """Parameters away from their start, so that no bias is zero and no scale one."""
    variables = jax.jit(lambda k: MODEL.init(k, FEATURES, train=False))(key)
    leaves, structure = jax.tree.flatten(variables)
    keys = jax.random.split(key, len(leaves))
    return jax.tree.unflatten(structure, [x + 0.1 * jax.random.normal(k, x.shape) for x, k in zip(leaves, keys)])


VARIABLES = jittered(jax.random.key(1))


def norm(x, params):
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)
    return x * params.get("scale", 1) + params.get("bias", 0)


def oracle(features, p, rounds):
    z = np.asarray(features, np.float64).reshape(2, 20, 16)
    y, x = np.meshgrid((np.arange(4) + 0.5) / 4, (np.arange(5) + 0.5) / 5, indexing="ij")
    places = np.stack([y, x], -1).reshape(20, 2) - 0.5
    out = []
    for image in z:
        inputs = np.concatenate([norm(image, {}), places], axis=1)
        keys = inputs @ np.concatenate([p["key_kernel"], p["place_kernel"]])
        states = p["queries"]
        for t in range(rounds):
            logits = norm(states, p["query_norm"]) @ p["query_kernel"] @ keys.T / np.sqrt(8)
            share = softmax(logits, axis=0)
            mean = share / share.sum(1, keepdims=True)
            if t < rounds - 1:
                states = states + mean @ inputs @ p["update"]["kernel"]
                hidden = norm(states, p["mlp_norm"]) @ p["mlp_hidden"]["kernel"] + p["mlp_hidden"]["bias"]
                states = states + np.maximum(hidden, 0) @ p["mlp_output"]["kernel"] + p["mlp_output"]["bias"]
        out.append((logits, share, mean @ image))
    return [np.stack(x) for x in zip(*out)]


@pytest.mark.parametrize("rounds", [1, 3])
def test_against_oracle(rounds):
    params = jax.tree.map(lambda x: np.asarray(x, np.float64), VARIABLES["params"])
    model = Slots(parts=3, rounds=rounds, width=8)
    parts = jax.jit(lambda v: model.apply(v, FEATURES, train=False))(VARIABLES)
    similarity, assignment, vectors = oracle(FEATURES, params, rounds)
    np.testing.assert_allclose(parts.similarity.reshape(2, 3, 20), similarity, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(parts.assignment.reshape(2, 3, 20), assignment, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(parts.vectors, vectors, rtol=1e-3, atol=1e-5)


def test_one_round_has_no_update_to_learn():
    model = Slots(parts=3, rounds=1)
    variables = jax.eval_shape(lambda k: model.init(k, FEATURES, train=False), jax.random.key(0))
    assert not {"update", "mlp_hidden"} & set(variables["params"])


def test_every_parameter_is_learned():
    """Also those of the first rounds: the gradient flows through the iteration."""
    head = jax.random.normal(jax.random.key(2), (3, 16))
    grads = jax.jit(jax.grad(lambda v: (head * APPLY(v, FEATURES).vectors).sum()))(VARIABLES)
    for path, gradient in jax.tree_util.tree_leaves_with_path(grads):
        assert 1e-5 < float(jnp.abs(gradient).max()) < 1e3, jax.tree_util.keystr(path)


def test_permuting_queries_permutes_every_field():
    order = jnp.array([2, 0, 1])
    moved = {**VARIABLES["params"], "queries": VARIABLES["params"]["queries"][order]}
    before, after = APPLY(VARIABLES, FEATURES), APPLY({"params": moved}, FEATURES)
    for name in ("similarity", "assignment", "vectors", "presence", "centroid"):
        np.testing.assert_allclose(getattr(after, name), getattr(before, name)[:, order], rtol=1e-3, atol=1e-5)


def test_the_background_is_none_and_shares_sum_to_one():
    parts = APPLY(VARIABLES, FEATURES)
    assert parts.background is None and parts.scores is None
    np.testing.assert_allclose(parts.assignment.sum(1), 1.0, rtol=1e-5)


def test_a_border_is_the_mean_of_the_edge_and_slots_read_the_inside():
    """With the same parameters, and slots that still look at all cells before they are read."""
    model = Slots(parts=3, rounds=3, width=8, border=1)
    made = jax.jit(lambda v: model.apply(v, FEATURES, train=False))(VARIABLES)
    inside = np.zeros((4, 5), bool)
    inside[1:3, 1:4] = True
    shares = np.where(inside, APPLY(VARIABLES, FEATURES).assignment, 0)
    np.testing.assert_allclose(made.assignment[:, :3], shares, rtol=1e-6)
    z = np.asarray(FEATURES, np.float64)
    np.testing.assert_allclose(made.vectors[:, 3], z[:, ~inside].mean(1), rtol=1e-5)
    means = np.einsum("bkhw,bhwd->bkd", shares, z) / shares.sum((2, 3))[..., None]
    np.testing.assert_allclose(made.vectors[:, :3], means, rtol=1e-4)
    assert made.similarity.shape == made.assignment.shape == (2, 4, 4, 5)


def test_without_position_a_shuffled_image_has_the_same_parts():
    model = Slots(parts=3, width=8, position=False)
    variables = jax.jit(lambda k: model.init(k, FEATURES, train=False))(jax.random.key(3))
    order = np.random.default_rng(0).permutation(20)
    shuffled = FEATURES.reshape(2, 20, 16)[:, order].reshape(FEATURES.shape)
    blind = jax.jit(lambda z: model.apply(variables, z, train=False))
    plain, mixed = blind(FEATURES), blind(shuffled)
    np.testing.assert_allclose(mixed.vectors, plain.vectors, rtol=1e-4, atol=1e-5)
    assert float(jnp.abs(APPLY(VARIABLES, shuffled).vectors - APPLY(VARIABLES, FEATURES).vectors).max()) > 1e-3


def test_linear_head_is_explained_exactly_by_location():
    head = jax.random.normal(jax.random.key(5), (3, 16))
    parts = APPLY(VARIABLES, FEATURES)
    share = parts.assignment / parts.assignment.sum((2, 3), keepdims=True)
    by_place = jnp.einsum("bkhw,bhwd,kd->bkhw", share, FEATURES, head)
    logit = jnp.einsum("kd,bkd->b", head, parts.vectors)
    np.testing.assert_allclose(by_place.sum((1, 2, 3)), logit, atol=1e-4)
    frozen = MODEL.read_out(FEATURES.at[:, 3, 0].set(0.0), parts.assignment)
    change = logit - jnp.einsum("kd,bkd->b", head, frozen)
    np.testing.assert_allclose(change, by_place[:, :, 3, 0].sum(1), atol=1e-5)


def test_bfloat16_features_give_float32():
    parts = APPLY(VARIABLES, FEATURES.astype(jnp.bfloat16))
    assert {x.dtype for x in jax.tree.leaves(parts)} == {jnp.dtype("float32")}


def test_bad_input_is_named():
    with pytest.raises(UserError, match="0 rounds, 8 parts"):
        Slots(rounds=0).init(jax.random.key(0), FEATURES, train=False)
    with pytest.raises(ValueError, match="features has shape"):
        MODEL.init(jax.random.key(0), jnp.ones((2, 4, 16)), train=False)


def test_a_background_is_one_more_slot_that_is_no_part():
    three, two = APPLY(VARIABLES, FEATURES), Slots(parts=2, rounds=3, width=8, background=True)
    parts = jax.jit(lambda v: two.apply(v, FEATURES, train=False))(VARIABLES)
    np.testing.assert_allclose(parts.background, three.assignment[:, 2], rtol=1e-5, atol=1e-6)
    for name in ("similarity", "assignment", "vectors", "presence", "centroid"):
        np.testing.assert_allclose(getattr(parts, name), getattr(three, name)[:, :2], rtol=1e-4, atol=1e-6)
