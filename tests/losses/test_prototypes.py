"""Cluster, separation and the weights for wrong classes: against float64 loops and the released form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from partrep.losses import class_orthonormality, cluster, separation, wrong_class_l1

RNG = np.random.default_rng(5)
CLASSES = np.array([0, 0, 1, 1, 2, 2])
LABELS = np.array([2, 0, 1, 0])
KEPT = np.array([1.0, 0.0, 1.0, 1.0, 0.0, 1.0])
DISTANCES = RNG.uniform(0.1, 4.0, (4, 6))
LOSSES = {cluster: np.equal, separation: np.not_equal}


def oracle(loss, distances, kept=KEPT):
    rows = zip(distances, LABELS)
    return np.array([min(d for d, c, k in zip(row, CLASSES, kept) if LOSSES[loss](c, y) and k) for row, y in rows])


@pytest.mark.parametrize("loss", LOSSES)
def test_against_loops(loss, matches):
    matches(lambda d: loss(d, CLASSES, LABELS, jnp.float32(KEPT)), lambda d: oracle(loss, d), DISTANCES)
    found = loss(jnp.float32(DISTANCES), CLASSES, LABELS)
    np.testing.assert_allclose(found, oracle(loss, DISTANCES, np.ones(6)), rtol=1e-6)


@pytest.mark.parametrize("loss", LOSSES)
def test_the_masked_minimum_is_the_released_form_for_features_in_the_unit_cube_only(loss):
    """`D - max((D - d) mask)`, D the largest squared distance: right up to D, stuck at D beyond."""
    mask = LOSSES[loss](CLASSES, LABELS[:, None])

    def released(distances, largest):
        return largest - ((largest - distances) * mask).max(1)

    width = 5
    z, p = RNG.uniform(size=(4, 1, width)), RNG.uniform(size=(1, 6, width))
    inside = ((z - p) ** 2).sum(-1)
    np.testing.assert_allclose(loss(jnp.float32(inside), CLASSES, LABELS), released(inside, width), rtol=1e-5)
    beyond = inside + 2 * width
    np.testing.assert_array_equal(released(beyond, width), width)
    np.testing.assert_allclose(loss(jnp.float32(beyond), CLASSES, LABELS), oracle(loss, beyond, np.ones(6)), rtol=1e-5)


@pytest.mark.parametrize("loss", LOSSES)
def test_no_prototype_to_compare_with_costs_nothing_and_has_no_gradient(loss):
    removed = jnp.zeros(6)
    value, gradient = jax.jit(jax.value_and_grad(lambda d: loss(d, CLASSES, LABELS, removed).sum()))(
        jnp.float32(DISTANCES)
    )
    assert float(value) == 0.0
    np.testing.assert_array_equal(gradient, 0.0)
    assert float(cluster(jnp.ones((1, 6)), CLASSES, jnp.array([-1]))[0]) == 0.0


@pytest.mark.parametrize("loss", LOSSES)
def test_a_removed_prototype_is_as_good_as_absent(loss):
    there = KEPT > 0
    masked = loss(jnp.float32(DISTANCES), CLASSES, LABELS, jnp.float32(KEPT))
    np.testing.assert_array_equal(masked, loss(jnp.float32(DISTANCES[:, there]), CLASSES[there], LABELS))


def test_weights_for_wrong_classes_against_loops(matches):
    kernel = RNG.normal(size=(6, 3))

    def loops(w, kept):
        return sum(abs(w[p, c]) for p in range(6) for c in range(3) if c != CLASSES[p] and kept[p])

    matches(lambda w: wrong_class_l1(w, CLASSES), lambda w: loops(w, np.ones(6)), kernel)
    np.testing.assert_allclose(wrong_class_l1(jnp.float32(kernel), CLASSES, KEPT), loops(kernel, KEPT), rtol=1e-6)


def test_bad_shapes_are_named():
    with pytest.raises(ValueError, match=r"cluster: labels has shape \(3,\); expected \[B\] with B=4"):
        cluster(jnp.ones((4, 6)), CLASSES, LABELS[:3])
    with pytest.raises(ValueError, match=r"separation: kept has shape \(5,\)"):
        separation(jnp.ones((4, 6)), CLASSES, LABELS, jnp.ones(5))
    with pytest.raises(ValueError, match="wrong_class_l1: prototype_classes"):
        wrong_class_l1(jnp.ones((5, 3)), CLASSES)


def test_orthonormality_of_the_prototypes_of_a_class(matches):
    prototypes = RNG.normal(size=(6, 5))

    def loops(p):
        return np.mean([((p[c : c + 3] @ p[c : c + 3].T - np.eye(3)) ** 2).sum() for c in (0, 3)])

    matches(lambda p: class_orthonormality(p, 3), loops, prototypes)
    basis = np.linalg.qr(RNG.normal(size=(5, 5)))[0]
    assert float(class_orthonormality(jnp.float32(basis[[0, 1, 1, 0]]), 2)) < 1e-10  # of one class alone
    assert float(class_orthonormality(jnp.float32(basis[[0, 0, 0, 3, 3, 3]]), 3)) == pytest.approx(6.0, rel=1e-5)
    for wrong in (4, 0):
        with pytest.raises(ValueError, match=f"6 prototypes, {wrong} a class"):
            class_orthonormality(jnp.ones((6, 5)), wrong)
