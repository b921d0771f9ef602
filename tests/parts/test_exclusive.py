"""Exclusive parts: a softmax over channels, scores thresholded in evaluation alone, and trainable from a random start."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.special import softmax

from partrep import UserError
from partrep.losses import alignment, tanh_presence
from partrep.parts.exclusive import Exclusive

FEATURES = jax.nn.relu(jax.random.normal(jax.random.key(0), (2, 3, 4, 6)))
MODEL = Exclusive(parts=5)
VARIABLES = jax.jit(lambda k: MODEL.init(k, FEATURES, train=False))(jax.random.key(1))
MOVED = {
    "params": {
        "logits": {
            "kernel": 3 * VARIABLES["params"]["logits"]["kernel"],
            "bias": jnp.array([0.5, -9.0, 0.0, 1.0, -9.0]),
        }
    },
    "batch_stats": {"norm": {"mean": jnp.linspace(0.0, 1.0, 6), "var": jnp.linspace(0.5, 2.0, 6)}},
}
EVALUATE = jax.jit(lambda v, z: MODEL.apply(v, z, train=False))
TRAIN = jax.jit(lambda v, z: MODEL.apply(v, z, train=True, mutable=["batch_stats"]))


def oracle(variables, features, train):
    z = np.asarray(features, np.float64)
    mean, var = (np.asarray(variables["batch_stats"]["norm"][name], np.float64) for name in ("mean", "var"))
    if train:
        mean, var = z.mean((0, 1, 2)), z.var((0, 1, 2))
    kernel, bias = (np.asarray(variables["params"]["logits"][name], np.float64) for name in ("kernel", "bias"))
    logits = np.moveaxis((z - mean) / np.sqrt(var + 1e-6) @ kernel + bias, -1, 1)
    return logits, softmax(logits, axis=1)


@pytest.mark.parametrize("train", [False, True])
def test_against_oracle(train):
    parts = TRAIN(MOVED, FEATURES)[0] if train else EVALUATE(MOVED, FEATURES)
    logits, share = oracle(MOVED, FEATURES, train)
    best = share.max((2, 3))
    np.testing.assert_allclose(parts.similarity, logits, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(parts.assignment, share, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(parts.assignment.sum(1), 1.0, rtol=1e-5)
    np.testing.assert_allclose(parts.presence, best, rtol=1e-4)
    assert train or (best.min() < 0.1 and best.max() > 0.5)
    np.testing.assert_allclose(parts.scores, best if train else np.where(best < 0.1, 0, best), rtol=1e-4)
    assert parts.background is None and parts.vectors is None


def test_the_threshold_gives_exact_zeros_in_evaluation_and_none_in_training():
    parts = EVALUATE(MOVED, FEATURES)
    low = np.asarray(parts.presence) < 0.1
    assert low.any() and not np.asarray(parts.scores)[low].any() and np.asarray(parts.scores)[~low].all()
    assert np.asarray(TRAIN(MOVED, FEATURES)[0].scores).all()


def test_without_a_number_of_parts_each_channel_is_a_part():
    model = Exclusive(threshold=0.0)
    statistics = MOVED["batch_stats"]
    variables = {"params": {"sharpness": jnp.log(2.0)}, "batch_stats": statistics}
    parts = jax.jit(lambda v: model.apply(v, FEATURES, train=False))(variables)
    same = {"params": {"logits": {"kernel": 2 * jnp.eye(6), "bias": jnp.zeros(6)}}, "batch_stats": statistics}
    np.testing.assert_allclose(parts.assignment, oracle(same, FEATURES, False)[1], rtol=1e-4, atol=1e-6)


def test_permuting_parts_permutes_every_field():
    order = jnp.array([2, 0, 1, 4, 3])
    logits = {name: x[..., order] for name, x in MOVED["params"]["logits"].items()}
    before, after = EVALUATE(MOVED, FEATURES), EVALUATE({**MOVED, "params": {"logits": logits}}, FEATURES)
    for name in ("similarity", "assignment", "scores", "presence", "centroid"):
        np.testing.assert_allclose(getattr(after, name), getattr(before, name)[:, order], rtol=1e-4, atol=1e-6)


def test_evaluation_of_an_image_does_not_depend_on_the_others():
    other = EVALUATE(MOVED, FEATURES.at[1].set(5.0))
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[0], b[0]), other, EVALUATE(MOVED, FEATURES))


def test_scale_and_mean_of_the_features_have_no_say_in_training():
    plain, _ = TRAIN(VARIABLES, FEATURES)
    other, _ = TRAIN(VARIABLES, 0.02 * FEATURES + jnp.linspace(0.0, 3.0, 6))
    np.testing.assert_allclose(other.assignment, plain.assignment, rtol=2e-2, atol=1e-3)


def test_from_a_random_start_kinds_of_places_get_parts_of_their_own():
    """Features of six kinds with a large common mean, which, not taken off, gives every place to one part."""
    rng = np.random.default_rng(0)
    common, kinds = 3 * np.abs(rng.normal(size=16)), rng.normal(size=(6, 16))
    places = rng.integers(0, 6, (16, 4, 4))
    views = (common + np.maximum(kinds[places] + 0.3 * rng.normal(size=(2, 16, 4, 4, 16)), 0)).astype(np.float32)
    model, optimiser = Exclusive(parts=8), optax.adam(1e-2)

    @jax.jit
    def taught(key, mean, var):
        """The part of each place of the second view, after 200 steps."""

        def assign(params, view):
            statistics = {"norm": {"mean": mean, "var": var}}
            return model.apply({"params": params, "batch_stats": statistics}, view, train=False).assignment

        def loss(params):
            a, b = (assign(params, view) for view in views)
            return 5 * alignment(a, b).mean() + 2 * tanh_presence(a.max((2, 3)))

        def step(state, _):
            updates, memory = optimiser.update(jax.grad(loss)(state[0]), state[1])
            return (optax.apply_updates(state[0], updates), memory), None

        params = model.init(key, views[0], train=True)["params"]
        (params, _), _ = jax.lax.scan(step, (params, optimiser.init(params)), None, length=200)
        return assign(params, views[1]).argmax(1)

    def counts(mean, var):
        part = np.asarray(taught(jax.random.key(2), mean, var))
        return np.stack([np.bincount(part[places == kind], minlength=8) for kind in range(6)])

    standard = counts(views.mean((0, 1, 2, 3)), views.var((0, 1, 2, 3)))
    assert (standard.max(1) > 0.9 * standard.sum(1)).all() and len(set(standard.argmax(1))) >= 5
    assert len(set(counts(np.zeros(16, np.float32), np.ones(16, np.float32)).argmax(1))) == 1


def test_bfloat16_features_give_float32_and_finite_gradients_even_for_empty_features():
    low = FEATURES.astype(jnp.bfloat16).at[..., 0].set(0.0)

    def total(variables, z):
        parts, _ = TRAIN(variables, z)
        return parts.scores.sum(), parts

    grads, parts = jax.jit(jax.grad(total, argnums=(0, 1), has_aux=True))(VARIABLES, low)
    assert {x.dtype for x in jax.tree.leaves(parts)} == {jnp.dtype("float32")}
    assert all(np.isfinite(np.asarray(g, np.float32)).all() for g in jax.tree.leaves(grads))


def test_bad_input_is_named():
    for bad in (Exclusive(parts=1), Exclusive(parts=3, threshold=1.0)):
        with pytest.raises(UserError, match=r"expected 2 parts or more, a threshold in \[0,1\)"):
            jax.eval_shape(lambda bad=bad: bad.init(jax.random.key(0), FEATURES, train=False))
    with pytest.raises(ValueError, match="Exclusive: features has shape"):
        MODEL.init(jax.random.key(0), jnp.ones((2, 4, 6)), train=False)
