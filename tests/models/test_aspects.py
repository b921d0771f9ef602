"""Parts told by the image and by its grey levels: what is averaged, what colour reaches, what gradients reach."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from partrep.models.aspects import GreyAspect
from partrep.models.part_model import build

TABLE = ((0, 1), (1, 2), (2, 0))
CONFIG = dict(
    backbone=dict(name="patchnet", widths=(8,), depths=(0,)),
    method=dict(name="slots", parts=2, rounds=1, width=8, background=True, position=False),
    bottleneck=dict(name="standardised", width=4),
    head=dict(name="attributes", table=TABLE),
)
IMAGES = jnp.float32(np.random.default_rng(0).uniform(0.2, 0.8, size=(5, 16, 16, 3)))
CLASSIFIER, TWIN = build(CONFIG, 3), build(CONFIG, 3)
MODEL = GreyAspect(CLASSIFIER, TWIN.backbone, TWIN.bottleneck, TWIN.head)


@pytest.fixture(scope="module")
def variables():
    """Random, heads included: these start near zero, and would tell nothing apart."""
    made = jax.jit(lambda key: MODEL.init(key, IMAGES, False))(jax.random.key(0))
    random = np.random.default_rng(1)
    moved = jax.tree.map(lambda x: x + 0.3 * random.normal(size=x.shape).astype(np.float32), made["params"])
    return {**made, "params": moved}


def parts_of(variables, name):
    return {kind: tree[name] for kind, tree in variables.items() if name in tree}


def by_grey(variables, images):
    outputs = CLASSIFIER.apply(parts_of(variables, "classifier"), images, False)
    return MODEL.apply(variables, images, outputs, False, method="by_grey")


def test_contributions_are_the_mean_of_both_and_sum_to_the_logits(variables):
    outputs = MODEL.apply(variables, IMAGES, False)
    image = CLASSIFIER.apply(parts_of(variables, "classifier"), IMAGES, False)
    grey = by_grey(variables, IMAGES)
    assert np.ptp(grey) > 0.1 and np.abs(grey - image.contributions).max() > 0.1
    np.testing.assert_allclose(outputs.contributions, (image.contributions + grey) / 2, atol=1e-6)
    np.testing.assert_allclose(outputs.logits, outputs.contributions.sum(1), atol=1e-6)
    np.testing.assert_array_equal(outputs.parts.assignment, image.parts.assignment)


def test_each_aspect_is_a_probability_of_each_value(variables):
    """Over the classes of the table each value of a part occurs once."""
    np.testing.assert_allclose(jnp.exp(by_grey(variables, IMAGES)).sum(-1), 1, atol=1e-5)


def test_colour_of_equal_luma_is_not_seen(variables):
    """In the same places: the assignment is of the image, which sees the colour."""
    outputs = CLASSIFIER.apply(parts_of(variables, "classifier"), IMAGES, False)
    tinted = IMAGES + jnp.array([0.1, -0.1 * 0.299 / 0.587, 0.0])
    found = [MODEL.apply(variables, images, outputs, False, method="by_grey") for images in (IMAGES, tinted, 0.5 * IMAGES)]
    np.testing.assert_allclose(found[0], found[1], atol=1e-4)
    assert np.abs(found[0] - found[2]).max() > 1e-2


def test_no_gradient_of_the_grey_network_moves_the_parts(variables):
    def loss(params):
        return (by_grey({**variables, "params": params}, IMAGES) ** 2).sum()

    gradient = jax.jit(jax.grad(loss))(variables["params"])
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(gradient["classifier"]))
    assert np.any(gradient["backbone"]["Dense_0"]["kernel"])
