"""Warps: exact cases by hand, and images, points, boxes and masks that move together."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage

from partrep.data import transforms
from partrep.data.transforms import PhotometricSettings, Warp, WarpSettings

# Jitted, as in a training step; op by op each test would compile dozens of small programs.
affine_warp = jax.jit(transforms.affine_warp, static_argnames="aspect")
random_warp = jax.jit(transforms.random_warp, static_argnums=(1, 2, 3))
apply_to_images = jax.jit(transforms.apply_to_images, static_argnames=("size", "fill", "oversample"))
apply_to_masks = jax.jit(transforms.apply_to_masks, static_argnames=("size", "fill"))
apply_to_points = jax.jit(transforms.apply_to_points, static_argnums=2)
apply_to_boxes = jax.jit(transforms.apply_to_boxes)
apply_to_batch = jax.jit(transforms.apply_to_batch, static_argnums=2)
source_points = jax.jit(transforms.source_points)
random_photometric = jax.jit(transforms.random_photometric, static_argnums=2)
bilinear = jax.jit(transforms.bilinear)
correspondence = jax.jit(transforms.correspondence, static_argnums=(2, 3))
source_grid = jax.jit(transforms.source_grid, static_argnums=(1, 2))
knot_weights = jax.jit(transforms.knot_weights, static_argnums=1)
rotate90 = jax.jit(transforms.rotate90)

STRONG = WarpSettings(0.35, (0.8, 1.25), 0.15, 0.2, 0.08, 0.5, 0.02)
B, H, W = 6, 24, 32


def images(channels=1, height=H, width=W, seed=0):
    return np.random.default_rng(seed).random((B, height, width, channels), dtype=np.float32)


def warp_of(rotation=0.0, scale=(1.0, 1.0), shear=0.0, shift=(0.0, 0.0), aspect=1.0):
    """The same affine warp for every example."""
    full = [
        jnp.tile(jnp.asarray(v, jnp.float32), (B, 1) if np.ndim(v) else B)
        for v in (rotation, scale, shear, shift)
    ]
    return affine_warp(*full, aspect=aspect)


@pytest.fixture(scope="module")
def strong():
    return random_warp(jax.random.key(3), B, STRONG, W / H)


def test_identity():
    warp = random_warp(jax.random.key(0), B, WarpSettings(), 1.0)
    x = images(3)
    mask = np.random.default_rng(0).integers(0, 9, (B, H, W)).astype(np.uint8)
    points = np.random.default_rng(1).random((B, 5, 2), dtype=np.float32)
    assert np.allclose(apply_to_images(warp, x, fill=7.0), x, atol=1e-4)
    assert np.array_equal(apply_to_masks(warp, mask), mask)
    assert np.allclose(apply_to_points(warp, points), points, atol=1e-6)
    still = Warp(warp.matrix, warp.offset, jnp.zeros((B, 5, 5, 2)))
    assert np.allclose(apply_to_images(still, x), x, atol=1e-4)


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_quarter_turns_are_rot90(turns):
    x = images(2, 20, 20)
    turned = np.rot90(x, turns, axes=(1, 2))
    assert np.allclose(apply_to_images(warp_of(turns * np.pi / 2), x, fill=9.0), turned, atol=1e-4)
    assert np.array_equal(rotate90(x, jnp.full(B, turns)), turned)
    mask = (x[..., 0] * 9).astype(np.uint8)
    assert np.array_equal(
        apply_to_masks(warp_of(turns * np.pi / 2), mask), np.rot90(mask, turns, axes=(1, 2))
    )


def test_quarter_turn_of_a_wide_image_keeps_its_pixels_square():
    x = np.zeros((B, 20, 40, 1), np.float32)
    x[:, :, 10:30] = images(1, 20, 20)
    out = apply_to_images(warp_of(np.pi / 2, aspect=2.0), x)
    assert np.allclose(out[:, :, 10:30], np.rot90(x[:, :, 10:30], axes=(1, 2)), atol=1e-4)


def test_flip_shift_scale_and_shear_by_hand():
    x = images()
    assert np.allclose(apply_to_images(warp_of(scale=(1.0, -1.0)), x), x[:, :, ::-1], atol=1e-4)
    shifted = apply_to_images(warp_of(shift=(3 / H, -2 / W)), x, fill=0.25)
    assert np.allclose(shifted[:, 3:, :-2], x[:, :-3, 2:], atol=1e-4)
    assert np.allclose(shifted[:, :3], 0.25) and np.allclose(shifted[:, :, -2:], 0.25)
    rim = apply_to_images(warp_of(shift=(3 / H, 0.0)), x, fill=None)
    assert np.allclose(rim[:, :3], x[:, :1], atol=1e-4)
    points = jnp.full((B, 1, 2), jnp.array([0.6, 0.7]))
    moved = apply_to_points(warp_of(scale=(2.0, 3.0), shear=0.5, shift=(0.01, 0.02)), points)
    # (0.1, 0.2) from the centre -> (0.2, 0.6) -> x + 0.5 y: (0.2, 0.7) -> shifted (0.21, 0.72)
    assert np.allclose(moved[0, 0], [0.71, 1.22], atol=1e-6)
    assert not transforms.visible_inside(moved, jnp.ones((B, 1), bool)).any()


def test_enlarged_content_agrees_with_scipy():
    x = images()
    out = apply_to_images(warp_of(scale=(1.3, 0.8)), x, size=(30, 20), fill=0.0)
    i, j = np.meshgrid(np.arange(30), np.arange(20), indexing="ij")
    y = (0.5 + ((i + 0.5) / 30 - 0.5) / 1.3) * H - 0.5
    z = (0.5 + ((j + 0.5) / 20 - 0.5) / 0.8) * W - 0.5
    for b in range(2):
        expected = scipy.ndimage.map_coordinates(x[b, :, :, 0], [y, z], order=1, mode="grid-constant")
        assert np.allclose(out[b, :, :, 0], expected, atol=1e-4)


def test_points_follow_a_painted_dot(strong):
    points = 0.25 + 0.5 * np.random.default_rng(2).random((B, 3, 2))
    grid = np.stack(np.meshgrid(np.arange(H) + 0.5, np.arange(W) + 0.5, indexing="ij"), -1)
    centre = points * [H, W]
    dots = np.exp(-((grid[None, :, :, None] - centre[:, None, None]) ** 2).sum(-1) / 2 / 1.2**2)
    size = (60, 80)
    out = np.asarray(apply_to_images(strong, dots.astype(np.float32), size=size))
    moved = np.asarray(apply_to_points(strong, points))
    at = np.stack(np.meshgrid(np.arange(60) + 0.5, np.arange(80) + 0.5, indexing="ij"), -1)
    found = np.einsum("byxk,yxc->bkc", out, at) / out.sum((1, 2))[..., None]
    inside = ((moved > 0.1) & (moved < 0.9)).all(-1)
    assert inside.sum() > 12
    assert np.abs(found - moved * size)[inside].max() < 1.0  # of an output pixel


def test_points_invert_source_points(strong):
    points = jnp.asarray(np.random.default_rng(3).random((B, 40, 2)), jnp.float32)
    assert np.allclose(source_points(strong, apply_to_points(strong, points, 25)), points, atol=1e-5)
    assert np.allclose(apply_to_points(strong, source_points(strong, points)), points, atol=2e-3)
    affine = Warp(strong.matrix, strong.offset)
    assert np.allclose(apply_to_points(affine, source_points(affine, points)), points, atol=1e-5)
    grid = source_grid(strong, 7, 9)
    flat = jnp.stack(jnp.meshgrid((jnp.arange(7) + 0.5) / 7, (jnp.arange(9) + 0.5) / 9, indexing="ij"), -1)
    assert np.allclose(
        grid.reshape(B, -1, 2), source_points(strong, jnp.tile(flat.reshape(-1, 2), (B, 1, 1))), atol=1e-6
    )


def test_masks_agree_with_warped_one_hot_maps(strong):
    blobs = scipy.ndimage.gaussian_filter(np.random.default_rng(4).random((B, H, W, 4)), (0, 4, 4, 0))
    mask = blobs.argmax(-1).astype(np.uint8)
    soft = np.asarray(apply_to_images(strong, np.eye(4, dtype=np.float32)[mask], size=28))
    hard = np.asarray(apply_to_masks(strong, mask, size=28, fill=9))
    sure = soft.max(-1) > 0.75
    assert sure.mean() > 0.4 and hard.dtype == np.uint8
    assert np.array_equal(hard[sure], soft.argmax(-1)[sure])
    assert (hard[soft.sum(-1) == 0] == 9).all()


def test_boxes(strong):
    boxes = jnp.tile(jnp.array([[0.2, 0.3, 0.6, 0.5]]), (B, 1))
    turned = apply_to_boxes(warp_of(np.pi / 2), boxes)
    assert np.allclose(turned[0], [0.5, 0.2, 0.7, 0.6], atol=1e-6)
    assert np.allclose(apply_to_boxes(warp_of(shift=(2.0, 0.0)), boxes)[:, 2] - 1, 0, atol=1e-6)
    inner = 0.2 + jnp.asarray(np.random.default_rng(5).random((B, 50, 2)), jnp.float32) * jnp.array(
        [0.4, 0.2]
    )
    inner = inner + jnp.array([0.0, 0.1])
    moved, around = apply_to_points(strong, inner), apply_to_boxes(strong, boxes)
    cut = jnp.clip(moved, 0, 1)
    assert (cut >= around[:, None, :2] - 0.01).all() and (cut <= around[:, None, 2:] + 0.01).all()


def test_batch_moves_together(strong):
    x, points = images(3), jnp.asarray(np.random.default_rng(6).random((B, 4, 2)), jnp.float32)
    batch = {"image": x, "keypoints": points, "visible": jnp.ones((B, 4), bool), "label": jnp.arange(B)}
    batch |= {
        "box": jnp.tile(jnp.array([[0.2, 0.3, 0.6, 0.5]]), (B, 1)),
        "part_mask": jnp.ones((B, H, W), jnp.uint8),
    }
    out = apply_to_batch(strong, batch, (12, 16))
    assert out["image"].shape == (B, 12, 16, 3) and out["part_mask"].shape == (B, 12, 16)
    assert np.array_equal(out["keypoints"], apply_to_points(strong, points))
    assert np.array_equal(out["visible"], ((out["keypoints"] >= 0) & (out["keypoints"] <= 1)).all(-1))
    assert not out["visible"].all() and np.array_equal(out["label"], batch["label"])
    assert set(apply_to_batch(strong, {"image": x})) == {"image"}


def test_views_correspond():
    settings = WarpSettings(0.3, (1.1, 1.3), elastic=0.01)
    first, second = (random_warp(jax.random.key(seed), B, settings, 1.0) for seed in (1, 2))
    smooth = scipy.ndimage.gaussian_filter(images(), (0, 3, 3, 0))
    one, two = (apply_to_images(w, smooth, size=(48, 64), fill=None) for w in (first, second))
    places = correspondence(first, second, 48, 64)
    brought = np.asarray(bilinear(one, places))
    inside = np.asarray(((places > 0.03) & (places < 0.97)).all(-1))
    assert inside.mean() > 0.5
    error = np.abs(brought - np.asarray(two))[inside]
    assert error.max() < 0.1 * np.ptp(smooth) and error.mean() < 0.01 * np.ptp(smooth)


def test_oversampling_is_the_mean_of_its_samples(strong):
    x = images(2)
    fine = np.asarray(apply_to_images(strong, x, size=(24, 32)))
    twice = np.asarray(apply_to_images(strong, x, size=(12, 16), oversample=2))
    assert np.allclose(twice, fine.reshape(B, 12, 2, 16, 2, 2).mean((2, 4)), atol=1e-6)


def test_random_warps():
    settings = WarpSettings(0.3, (0.5, 2.0), 0.0, 0.0, 0.1, 0.25, 0.02, 4)
    warp = random_warp(jax.random.key(0), 2000, settings, 1.0)
    forward = np.asarray(transforms.inverse(warp.matrix))
    zoom = np.sqrt(np.abs(np.linalg.det(forward)))
    assert zoom.min() >= 0.499 and zoom.max() <= 2.001 and abs(np.median(zoom) - 1) < 0.1
    assert abs((np.linalg.det(forward) < 0).mean() - 0.25) < 0.04
    shift = -np.einsum("bij,bj->bi", forward, warp.offset)
    assert np.abs(shift).max() <= 0.1001 and np.abs(shift).max() > 0.099
    assert warp.field.shape == (2000, 4, 4, 2) and abs(np.asarray(warp.field).std() - 0.02) < 1e-3
    assert len(np.unique(np.asarray(warp.matrix[:, 0, 0]))) > 1990
    assert np.array_equal(random_warp(jax.random.key(0), 2000, settings, 1.0).field, warp.field)
    assert random_warp(jax.random.key(0), 2, WarpSettings(), 1.0).field is None


def test_knot_weights_interpolate():
    at_knots = knot_weights(jnp.linspace(0, 1, 5), 5)
    assert np.allclose(at_knots, np.eye(5), atol=1e-6)
    place = jnp.linspace(0, 1, 101)
    assert np.allclose(knot_weights(place, 5).sum(-1), 1, atol=1e-6)
    inner = (place > 0.25) & (place < 0.75)
    assert np.allclose((knot_weights(place, 5) @ jnp.linspace(0, 1, 5))[inner], place[inner], atol=1e-6)


def test_gradients_are_finite_and_images_stay_bounded(strong):
    x = jnp.asarray(images())
    out = apply_to_images(strong, x, size=28, fill=1.0)
    assert out.min() >= 0 and out.max() <= 1
    gradient = jax.grad(lambda x: apply_to_images(strong, x, size=28).sum())(x)
    assert jnp.isfinite(gradient).all() and (gradient >= 0).all()


def test_photometric_by_hand():
    x = images(3)
    assert np.allclose(random_photometric(jax.random.key(0), x, PhotometricSettings()), x, atol=1e-6)
    x = 0.4 + 0.2 * x  # far from the cut at 0 and 1
    luma = x @ np.array([0.299, 0.587, 0.114], np.float32)
    brighter = np.asarray(random_photometric(jax.random.key(1), x, PhotometricSettings(brightness=0.3)))
    ratio = brighter / x
    assert np.allclose(ratio, ratio[:, :1, :1, :1], atol=1e-5) and np.ptp(ratio[:, 0, 0, 0]) > 0.05
    harder = np.asarray(random_photometric(jax.random.key(2), x, PhotometricSettings(contrast=0.3)))
    mean = luma.mean((1, 2))[:, None, None, None]
    factor = (harder - mean) / (x - mean)
    assert np.allclose(factor, np.median(factor, (1, 2, 3), keepdims=True), atol=1e-2)
    duller = np.asarray(random_photometric(jax.random.key(3), x, PhotometricSettings(saturation=0.5)))
    assert np.allclose(duller @ np.array([0.299, 0.587, 0.114], np.float32), luma, atol=1e-5)
    assert not np.allclose(duller, x, atol=1e-2)
    one = random_photometric(jax.random.key(3), x[..., :1], PhotometricSettings(saturation=0.5))
    assert np.allclose(one, x[..., :1], atol=1e-6)


def test_rotate90_and_resize():
    x = images(1, 8, 8)
    turns = np.array([0, 1, 2, 3, 4, -1])
    expected = np.stack([np.rot90(image, k) for image, k in zip(x, turns)])
    assert np.array_equal(rotate90(x, jnp.asarray(turns)), expected)
    assert np.allclose(transforms.resize(np.full((1, 9, 7, 2), 0.3, np.float32), (4, 3)), 0.3, atol=1e-6)
    with pytest.raises(ValueError, match="square"):
        rotate90(images(), jnp.zeros(B, int))
