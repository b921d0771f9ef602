"""Averaging over views: equal to reading each view by itself."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from partrep.evaluate.views import averaged, join
from partrep.models.heads.mutual import mutual
from partrep.models.local import Local


def _local(key: int, *shape: int) -> Local:
    keys = jax.random.split(jax.random.key(key), 3)
    weights = jax.random.uniform(keys[1], shape)
    return Local(jax.random.normal(keys[0], (*shape, 4)), weights, jax.random.uniform(keys[2], (*shape, 2)))


def test_mean_of_the_logits_of_each_view():
    images = _local(0, 3, 7, 2)  # three views of seven images, two vectors each
    joined, mask = join(images), jnp.ones((4, 1), bool)
    assert joined.vectors.shape == (7, 6, 4) and joined.weights.shape == (7, 6)
    head = functools.partial(mutual, geometry=0.5)

    def episode(local: Local) -> tuple[Local, Local]:
        return jax.tree.map(lambda x: x[:4, None], local), jax.tree.map(lambda x: x[4:], local)

    expected = [head(*episode(jax.tree.map(lambda x, t=t: x[t], images)), mask) for t in range(3)]
    found = jax.jit(averaged(head, 3))(*episode(joined), mask)
    np.testing.assert_allclose(found, np.mean(expected, 0), rtol=1e-5, atol=1e-5)


def test_equal_heads_are_equal_programs():
    head = functools.partial(mutual, geometry=0.5)
    structures = [jax.tree.structure(averaged(head, 2)) for _ in range(2)]
    assert structures[0] == structures[1]
