"""The classifier beside an autoencoder: which channels it sees, what gradients reach, and quarter turns."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from partrep.models.generative_discriminative import GenerativeDiscriminative, ImageAutoencoder, turned
from partrep.models.part_model import build

MODEL = GenerativeDiscriminative(
    ImageAutoencoder(width=4, code=3, patch=4),
    build(dict(backbone=dict(name="patchnet", widths=(8,), depths=(0,)), method=dict(name="gap"), head=dict(name="concat")), 5),
)
IMAGES = jnp.float32(np.random.default_rng(0).uniform(size=(3, 8, 8, 1)))


@pytest.fixture(scope="module")
def made():
    start = jax.jit(lambda key: MODEL.init_with_output(key, IMAGES, False))
    return start(jax.random.key(0))


def test_shapes(made):
    compared, variables = made
    assert compared.outputs.logits.shape == (3, 5) and compared.turns.shape == (3, 4)
    assert compared.rebuilt.shape == IMAGES.shape and compared.rebuilt.dtype == jnp.float32
    assert 0 < compared.rebuilt.min() and compared.rebuilt.max() < 1
    kernel = variables["params"]["classifier"]["backbone"]["Dense_0"]["kernel"]
    assert kernel.shape[0] == 4 * 4 * 2  # the image and its reconstruction, side by side


def test_no_gradient_of_the_classifier_reaches_the_autoencoder(made):
    def loss(params):
        compared = MODEL.apply({**made[1], "params": params}, IMAGES, False)
        return (compared.outputs.logits**2).sum() + (compared.turns**2).sum()

    gradient = jax.jit(jax.grad(loss))(made[1]["params"])
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(gradient["autoencoder"]))
    assert np.any(gradient["classifier"]["backbone"]["Dense_0"]["kernel"])


def test_images_are_turned_one_by_one():
    turns = np.array([0, 1, 3])
    wanted = [np.rot90(image, k) for image, k in zip(np.asarray(IMAGES), turns)]
    np.testing.assert_array_equal(turned(IMAGES, turns), wanted)
