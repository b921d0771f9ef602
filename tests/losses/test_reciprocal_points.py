"""Reciprocal points: logits, loss and all gradients against float64 loops, and the corners."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from partrep.losses.reciprocal_points import reciprocal_logits, reciprocal_points

RNG = np.random.default_rng(3)
FEATURES, POINTS = RNG.normal(size=(5, 4)), RNG.normal(size=(3, 4))
LABELS = np.array([0, 2, 1, 2, 0])
# Images on both sides of the radius: their distances are 0.7 to 2.9.
RADIUS = 2.5


def logits_loop(features, points):
    found = np.zeros((len(features), len(points)))
    for b, z in enumerate(features):
        for c, p in enumerate(points):
            found[b, c] = sum((z - p) ** 2) / len(z) - sum(z * p)
    return found


def oracle(features, points, radius, labels=LABELS, weight=0.1, temperature=1.0, smoothing=0.0):
    total = 0.0
    for x, z, y in zip(logits_loop(features, points) / temperature, features, labels):
        log_probability = x - np.log(np.sum(np.exp(x)))
        target = np.full(len(points), smoothing / len(points))
        target[y] += 1 - smoothing
        total += -sum(target * log_probability)
        total += weight * max(0.0, np.mean((z - points[y]) ** 2) - radius + 1)
    return total / len(features)


def test_logits_against_oracle(matches):
    matches(lambda z: reciprocal_logits(z, jnp.float32(POINTS)), lambda z: logits_loop(z, POINTS), FEATURES)


@pytest.mark.parametrize("setting", [{}, dict(weight=0.7, temperature=0.5, label_smoothing=0.2)])
def test_loss_and_all_gradients_against_oracle(setting, matches):
    distances = ((FEATURES - POINTS[LABELS]) ** 2).mean(1)
    assert min(distances) < RADIUS - 1 < max(distances)
    changed = {key.removeprefix("label_"): value for key, value in setting.items()}
    everything = np.concatenate([FEATURES.ravel(), POINTS.ravel(), [RADIUS]])

    def parts(x):
        return x[:20].reshape(5, 4), x[20:32].reshape(3, 4), x[32]

    matches(
        lambda x: reciprocal_points(*parts(x), LABELS, **setting),
        lambda x: oracle(*parts(x), **changed),
        everything,
    )


def test_within_the_radius_only_cross_entropy_is_left():
    wide = reciprocal_points(jnp.float32(FEATURES), jnp.float32(POINTS), jnp.float32(1e3), LABELS)
    assert float(wide) == pytest.approx(oracle(FEATURES, POINTS, 1e3, weight=0.0), rel=1e-5)


def test_a_step_on_the_radius_alone_widens_it():
    gradient = jax.jit(jax.grad(reciprocal_points, 2))(jnp.float32(FEATURES), jnp.float32(POINTS), 0.0, LABELS)
    assert float(gradient) == pytest.approx(-0.1)


value_and_gradients = jax.jit(jax.value_and_grad(reciprocal_points, (0, 1, 2)), static_argnums=(4, 5, 6))


@pytest.mark.parametrize("weight, temperature", [(0.1, 1e-3), (1e3, 1e3), (0.0, 1.0)])
@pytest.mark.parametrize("kind", ["one class", "duplicates", "on the point", "large"])
def test_corners_are_finite(kind, weight, temperature):
    features, points, labels = FEATURES, POINTS, LABELS
    if kind == "one class":
        points, labels = POINTS[:1], np.zeros(5, int)
    elif kind == "duplicates":
        features = np.repeat(FEATURES[:1], 5, 0)
    elif kind == "on the point":
        features = POINTS[LABELS]
    else:
        features = 1e4 * FEATURES
    given = (jnp.float32(features), jnp.float32(points), jnp.float32(0.0), labels)
    value, gradients = value_and_gradients(*given, weight, temperature, 0.0, np.ones(5, bool))
    assert value >= 0 and np.isfinite(value)
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(gradients))


def test_masking_is_leaving_out_and_nothing_is_nothing():
    padded = jnp.float32(FEATURES).at[3].set(jnp.nan)
    where, labels = np.arange(5) != 3, np.where(np.arange(5) == 3, -9, LABELS)
    given = (padded, jnp.float32(POINTS), jnp.float32(RADIUS), labels)
    value, gradients = value_and_gradients(*given, 0.1, 1.0, 0.0, where)
    assert float(value) == pytest.approx(oracle(FEATURES[where], POINTS, RADIUS, LABELS[where]), rel=1e-5)
    assert np.isfinite(gradients[0]).all() and not gradients[0][3].any()
    value, gradients = value_and_gradients(*given, 0.1, 1.0, 0.0, np.zeros(5, bool))
    assert float(value) == 0 and all(not np.any(g) for g in gradients)


@pytest.mark.parametrize("label", [-1, 3])
def test_an_image_of_no_class_does_not_count(label):
    labels = np.where(np.arange(5) == 3, label, LABELS)
    given = (jnp.float32(FEATURES), jnp.float32(POINTS), jnp.float32(RADIUS))
    value, gradients = value_and_gradients(*given, labels, 0.1, 1.0, 0.0, np.ones(5, bool))
    wanted = value_and_gradients(*given, LABELS, 0.1, 1.0, 0.0, np.arange(5) != 3)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), (value, gradients), wanted)


def test_bfloat16_is_read_as_float32():
    value = reciprocal_points(jnp.bfloat16(FEATURES), jnp.bfloat16(POINTS), jnp.bfloat16(RADIUS), LABELS)
    assert value.dtype == jnp.float32 and float(value) == pytest.approx(oracle(FEATURES, POINTS, RADIUS), rel=0.03)


def test_the_weight_may_be_traced():
    value = jax.jit(lambda w: reciprocal_points(FEATURES, POINTS, RADIUS, LABELS, weight=w))(0.3)
    assert float(value) == pytest.approx(float(reciprocal_points(FEATURES, POINTS, RADIUS, LABELS, weight=0.3)))


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="weight is -1; expected at least 0"):
        reciprocal_points(jnp.ones((5, 4)), jnp.ones((3, 4)), 0.0, LABELS, weight=-1)
    with pytest.raises(ValueError, match=r"points has shape \(3, 2\)"):
        reciprocal_logits(jnp.ones((5, 4)), jnp.ones((3, 2)))
    with pytest.raises(ValueError, match="labels has shape"):
        reciprocal_points(jnp.ones((5, 4)), jnp.ones((3, 4)), 0.0, np.zeros(4, int))
    with pytest.raises(ValueError, match=r"radius has shape \(5,\); expected a scalar"):
        reciprocal_points(jnp.ones((5, 4)), jnp.ones((3, 4)), np.zeros(5), LABELS)
    with pytest.raises(ValueError, match="temperature is 0.0; expected above 0"):
        reciprocal_points(jnp.ones((5, 4)), jnp.ones((3, 4)), 0.0, LABELS, temperature=0.0)
