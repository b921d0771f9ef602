"""Shapes and counts without running anything."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest


@pytest.fixture(scope="session")
def describe():
    """describe(model, image shape) -> (output shape, number of parameters)."""

    def run(model, shape):
        image = jax.ShapeDtypeStruct(shape, jnp.float32)
        out, variables = jax.eval_shape(lambda x: model.init_with_output(jax.random.key(0), x, True), image)
        return out.shape, sum(int(np.prod(x.shape)) for x in jax.tree.leaves(variables["params"]))

    return run
