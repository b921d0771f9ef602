"""The CAM family on heads whose gradient is known in closed form, by hand and against float64 NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import softmax

from partrep import UserError
from partrep.explain.cam import cam, grad_cam, grad_cam_plus_plus, hires_cam, layer_cam, opti_cam, score_cam
from partrep.explain.model import Explained

RANDOM = np.random.default_rng(0)
IMAGES = np.abs(RANDOM.normal(size=(2, 3, 4, 5))).astype(np.float32)
DIRECTIONS = RANDOM.normal(size=(5, 3)).astype(np.float32)
PLACES = RANDOM.normal(size=(3, 4)).astype(np.float32)
TARGET = np.array([2, 0])


def curved(z):
    """`y_c = sum_n p_n (z_n . u_c)^2`, of gradient `2 p_n (z_n . u_c) u_c`."""
    return jnp.einsum("hw,bhwc->bc", PLACES, jnp.einsum("bhwd,dc->bhwc", z, DIRECTIONS) ** 2)


CURVED = Explained(lambda x: x, curved)


def curved_gradient(features=IMAGES):
    u = DIRECTIONS.astype(np.float64).T[TARGET]
    along = np.einsum("bhwd,bd->bhw", features.astype(np.float64), u)
    return 2 * PLACES[None, ..., None] * along[..., None] * u[:, None, None]


def run(method, model, images, target, **settings):
    return np.asarray(jax.jit(lambda x, c: method(model, x, c, **settings))(jnp.asarray(images), jnp.asarray(target)))


def test_cam_is_hires_cam_where_a_linear_head_reads_the_mean():
    pooled = Explained(jnp.tanh, lambda z: z.mean((1, 2)) @ DIRECTIONS + 7.0)
    both = jax.jit(lambda x, c: (cam(pooled, x, c, DIRECTIONS), hires_cam(pooled, x, c), grad_cam(pooled, x, c)))
    by_weights, exact, averaged = both(IMAGES, TARGET)
    want = np.einsum("bhwd,db->bhw", np.tanh(IMAGES), DIRECTIONS[:, TARGET])
    np.testing.assert_allclose(by_weights, want, atol=1e-5)
    np.testing.assert_allclose(exact, want / 12, atol=1e-5)
    np.testing.assert_allclose(averaged, np.maximum(want, 0) / 12, atol=1e-5)
    assert np.isnan(both(IMAGES, np.array([-1, 3]))[0]).all()
    # The sum of the exact map is the logit less its bias.
    logit = (np.tanh(IMAGES).mean((1, 2)) @ DIRECTIONS)[[0, 1], TARGET]
    np.testing.assert_allclose(exact.sum((1, 2)), logit, atol=1e-5)


def test_grad_cam_hires_cam_and_layer_cam_against_oracle():
    a, g = IMAGES.astype(np.float64), curved_gradient()
    np.testing.assert_allclose(run(hires_cam, CURVED, IMAGES, TARGET), (a * g).sum(-1), rtol=1e-4, atol=1e-4)
    want = np.maximum(np.einsum("bhwd,bd->bhw", a, g.mean((1, 2))), 0)
    np.testing.assert_allclose(run(grad_cam, CURVED, IMAGES, TARGET), want, rtol=1e-4, atol=1e-4)
    assert want.any() and (want == 0).any()
    want = np.maximum((a * np.maximum(g, 0)).sum(-1), 0)
    np.testing.assert_allclose(run(layer_cam, CURVED, IMAGES, TARGET), want, rtol=1e-4, atol=1e-4)


def test_grad_cam_plus_plus_against_oracle():
    a, g = IMAGES.astype(np.float64), curved_gradient()
    alpha = np.zeros_like(g)
    total = a.sum((1, 2), keepdims=True) + np.zeros_like(a)
    alpha[g != 0] = (g**2 / np.where(g == 0, 1, 2 * g**2 + total * g**3 + 1e-6))[g != 0]
    weights = (alpha * np.maximum(g, 0)).sum((1, 2))
    want = np.maximum(np.einsum("bhwd,bd->bhw", a, weights), 0)
    np.testing.assert_allclose(run(grad_cam_plus_plus, CURVED, IMAGES, TARGET), want, rtol=1e-3)


def test_grad_cam_plus_plus_where_the_head_reads_nothing():
    blind = Explained(lambda x: x, lambda z: 0.0 * z.mean((1, 2)))
    assert not run(grad_cam_plus_plus, blind, IMAGES, TARGET).any()


def test_grad_cam_shows_a_location_that_counts_against_the_class_and_hires_cam_does_not():
    head = Explained(lambda x: x, lambda z: 3 * z[:, 0, 0] - z[:, 0, 1])
    images, target = np.array([[[[1.0], [2.0]]]], np.float32), np.array([0])
    np.testing.assert_allclose(run(hires_cam, head, images, target), [[[3.0, -2.0]]])
    np.testing.assert_allclose(run(grad_cam, head, images, target), [[[1.0, 2.0]]])
    np.testing.assert_allclose(run(layer_cam, head, images, target), [[[3.0, 0.0]]])


def test_features_in_bfloat16_are_explained_in_float32():
    low = Explained(lambda x: x.astype(jnp.bfloat16), CURVED.head)
    rounded = np.asarray(jnp.asarray(IMAGES).astype(jnp.bfloat16), np.float64)
    got = run(hires_cam, low, IMAGES, TARGET)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, (rounded * curved_gradient(rounded)).sum(-1), rtol=1e-4, atol=1e-4)


def pooled_pairs(x, xp=jnp):
    """2 x 2 means, and a flat channel."""
    b, h, w, c = x.shape
    z = x.reshape(b, h // 2, 2, w // 2, 2, c).mean((2, 4))
    return xp.concatenate([z, 0 * z[..., :1] + 0.3], axis=-1)


PICTURES = RANDOM.uniform(size=(2, 4, 6, 3)).astype(np.float32)
MAPS = pooled_pairs(PICTURES.astype(np.float64), np)
MIXING = np.array([[1.0, -1], [-1.0, 2], [0.5, 0.5], [0, 0]], np.float32)
SCORED = Explained(pooled_pairs, lambda z: (z**2).sum((1, 2)) @ MIXING)
TWO = Explained(lambda x: pooled_pairs(x)[..., :2], lambda z: (z**2).sum((1, 2)) @ MIXING[:2])
SECOND_FIRST = np.array([1, 0])


def bilinear_line(cells, pixels):
    place = np.clip((np.arange(pixels) + 0.5) * cells / pixels - 0.5, 0, cells - 1)
    return np.maximum(1 - np.abs(place[:, None] - np.arange(cells)), 0)


def mask_of(maps):
    wide = np.einsum("bhw,yh,xw->byx", maps, bilinear_line(2, 4), bilinear_line(3, 6))
    low, high = wide.min((1, 2), keepdims=True), wide.max((1, 2), keepdims=True)
    return np.where(high - low < 1e-6, 0, (wide - low) / np.maximum(high - low, 1e-6))


def masked_logit(mask, channels=4):
    """The logits of classes 1 and 0 of the two masked pictures."""
    z = pooled_pairs(PICTURES * np.asarray(mask, np.float64)[..., None], np)[..., :channels]
    return ((z**2).sum((1, 2)) @ MIXING[:channels])[[0, 1], SECOND_FIRST]


def test_score_cam_against_oracle():
    scores = np.stack([masked_logit(mask_of(MAPS[..., k])) for k in range(4)], axis=-1)
    assert np.ptp(scores, axis=1).min() > 0.1
    want = np.maximum(np.einsum("bhwk,bk->bhw", MAPS, softmax(scores, axis=1)), 0)
    np.testing.assert_allclose(run(score_cam, SCORED, PICTURES, SECOND_FIRST, block=3), want, rtol=1e-4)


def test_opti_cam_reaches_the_best_of_all_mixtures_of_two_channels():
    shares = np.linspace(0, 1, 201)
    masks = (mask_of(share * MAPS[..., 0] + (1 - share) * MAPS[..., 1]) for share in shares)
    logits = np.stack([masked_logit(mask, 2) for mask in masks])
    assert (logits.max(0) > logits[100] + 0.05).all()
    got = run(opti_cam, TWO, PICTURES, SECOND_FIRST)
    np.testing.assert_allclose(masked_logit(got, 2), logits.max(0), atol=0.02)
    assert got.min() == 0 and got.max() == 1


def test_opti_cam_starts_at_the_plain_mean_and_keeps_the_best_it_has_seen():
    start = run(opti_cam, SCORED, PICTURES, SECOND_FIRST, steps=0)
    np.testing.assert_allclose(start, mask_of(MAPS.mean(-1)), atol=1e-5)
    leap = jax.jit(lambda c: opti_cam(SCORED, PICTURES, c, steps=2, rate=30.0))
    assert (masked_logit(leap(SECOND_FIRST)) >= masked_logit(start) - 1e-5).all()
    assert np.isnan(leap(np.array([1, 9]))[1]).all()
    with pytest.raises(UserError, match=r"-1 steps of rate 0\.1"):
        opti_cam(SCORED, PICTURES, SECOND_FIRST, steps=-1)
