"""Whitening: variances, what it is invariant to, and generalised eigenvectors by another route."""

import numpy as np
import pytest
from scipy import linalg

from partrep.search.whitening import learned_whitening, pca_whitening

RNG = np.random.default_rng(0)
DATA = RNG.normal(size=(60, 5)) @ RNG.normal(size=(5, 5)) + 3.0
PAIRS = RNG.permutation(60).reshape(30, 2)


def project(whitening, x):
    return (x - whitening.mean) @ whitening.projection.T


@pytest.mark.parametrize("width", [None, 5, 2])
def test_pca_whitens(width):
    y = project(pca_whitening(DATA, width), DATA)
    np.testing.assert_allclose(y.mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(np.cov(y.T, bias=True), np.eye(width or 5), atol=1e-10)


def test_pca_keeps_the_largest_variances():
    turned = project(pca_whitening(DATA, power=0.0), DATA)
    variances = turned.var(0)
    np.testing.assert_allclose(variances, np.linalg.eigvalsh(np.cov(DATA.T, bias=True))[::-1])
    np.testing.assert_allclose(project(pca_whitening(DATA, 2, 0.0), DATA), turned[:, :2])
    np.testing.assert_allclose(project(pca_whitening(DATA, power=0.25), DATA), turned * variances**-0.25, rtol=1e-9)
    distances = linalg.norm(turned[:, None] - turned, axis=-1)
    np.testing.assert_allclose(distances, linalg.norm(DATA[:, None] - DATA, axis=-1), atol=1e-12)


def test_descriptors_come_out_at_length_one_in_float32():
    whiten = pca_whitening(DATA, 3)
    y = whiten(DATA)
    assert y.dtype == np.float32 and y.shape == (60, 3)
    np.testing.assert_allclose(np.linalg.norm(y, axis=1), 1, rtol=1e-6)
    np.testing.assert_array_equal(whiten(whiten.mean[None]), np.zeros((1, 3)))


def test_full_pca_whitening_does_not_see_an_affine_map():
    moved = DATA @ RNG.normal(size=(5, 5)) + 7.0
    np.testing.assert_allclose(
        pca_whitening(DATA)(DATA) @ pca_whitening(DATA)(DATA).T,
        pca_whitening(moved)(moved) @ pca_whitening(moved)(moved).T,
        atol=1e-5,
    )


def test_directions_without_variance_are_dropped():
    flat = np.concatenate([DATA, DATA[:, :2] @ [[1.0], [2.0]], np.ones((60, 1))], axis=1)
    whiten = pca_whitening(flat)
    assert whiten.projection.shape == (5, 7)
    np.testing.assert_allclose(np.cov(project(whiten, flat).T, bias=True), np.eye(5), atol=1e-8)
    with pytest.raises(ValueError, match="width 6; expected 1 to 5"):
        pca_whitening(flat, 6)


def test_learned_whitening_against_generalised_eigenvectors():
    whiten = learned_whitening(DATA, PAIRS, ridge=0.0)
    mean = np.mean([DATA[i] for i, _ in PAIRS], axis=0)
    within = np.mean([np.outer(DATA[i] - DATA[j], DATA[i] - DATA[j]) for i, j in PAIRS], axis=0)
    between = np.sum([np.outer(x - mean, x - mean) for x in DATA], axis=0)
    values, vectors = linalg.eigh(between, within)
    np.testing.assert_allclose(whiten.mean, mean)
    np.testing.assert_allclose(np.abs(whiten.projection), np.abs(vectors.T[::-1]), rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(whiten.projection @ within @ whiten.projection.T, np.eye(5), atol=1e-9)
    np.testing.assert_allclose(whiten.projection @ between @ whiten.projection.T, np.diag(values[::-1]), atol=1e-7)
    np.testing.assert_allclose(learned_whitening(DATA, PAIRS, 2, 0.0).projection, whiten.projection[:2])


def test_learned_whitening_mutes_what_varies_within_pairs():
    things = np.repeat(RNG.normal(size=(40, 3)), 2, axis=0)
    noise = RNG.normal(size=(80, 3)) * 10  # drowns the things in cosines
    x, pairs = np.concatenate([things, noise], axis=1), np.arange(80).reshape(40, 2)
    y = learned_whitening(x, pairs, 3)(x)
    cosines = y @ y.T - 2 * np.eye(80)
    assert np.mean(cosines.argmax(1) == np.arange(80) ^ 1) > 0.95
    raw = x / np.linalg.norm(x, axis=1, keepdims=True)
    assert np.mean((raw @ raw.T - 2 * np.eye(80)).argmax(1) == np.arange(80) ^ 1) < 0.5


def test_a_ridge_helps_few_pairs():
    with pytest.raises(ValueError, match="2 pairs do not differ in every direction; add a ridge"):
        learned_whitening(DATA, PAIRS[:2], ridge=0.0)
    assert np.isfinite(learned_whitening(DATA, PAIRS[:2])(DATA)).all()


def test_bad_input_is_named():
    for call, message in [
        (lambda: pca_whitening(DATA[0]), "descriptors has shape"),
        (lambda: pca_whitening(DATA[:1]), r"shape \(1, 5\); expected two or more"),
        (lambda: pca_whitening(np.full((3, 2), np.nan)), "all finite"),
        (lambda: pca_whitening(np.ones((3, 2))), "width 0; expected 1 to 0"),
        (lambda: pca_whitening(DATA, 0), "width 0; expected 1 to 5"),
        (lambda: learned_whitening(DATA, np.zeros((0, 2), int)), r"pairs of shape \(0, 2\)"),
        (lambda: learned_whitening(DATA, [[0, 60]]), "expected rows 0 to 59"),
        (lambda: learned_whitening(DATA, [[0, 1, 2]]), r"pairs of shape \(1, 3\)"),
        (lambda: learned_whitening(DATA, [[1, 1]]), "1 pairs do not differ"),
        (lambda: pca_whitening(DATA)(DATA[:, :3]), "descriptors has shape .* with D=5"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()
