"""Resampling against the device's antialiased resize and hand-worked weights."""

import jax
import numpy as np

from partrep.data.resample import resize_matrix, resize_u8


def test_weights():
    assert np.array_equal(resize_matrix(5, 5), np.eye(5, dtype=np.float32))
    matrix = resize_matrix(105, 28)
    assert np.allclose(matrix.sum(1), 1, atol=1e-6) and (matrix >= 0).all()
    assert np.allclose(matrix, matrix[::-1, ::-1])
    assert ((matrix > 0).sum(1) <= 8).all()  # a triangle of half-width 3.75 reaches 8 pixels at most


def test_agrees_with_jax_image_resize():
    images = np.random.default_rng(0).integers(0, 256, (3, 21, 30, 2)).astype(np.uint8)
    ours = resize_u8(images, 8, 9, block=2)
    theirs = jax.image.resize(images.astype(np.float32), (3, 8, 9, 2), "linear", antialias=True)
    assert np.abs(ours - np.asarray(theirs)).max() <= 0.51
    assert resize_u8(images, 21, 30) is images
