"""`Parts` is a pytree that survives jit, with None for what a method does not give."""

import jax
import jax.numpy as jnp

from partrep.parts.structure import Parts


def test_parts_pass_through_jit():
    maps = jnp.ones((1, 2, 3, 3))
    parts = Parts(maps, maps, None, jnp.ones((1, 2, 4)), None, jnp.ones((1, 2)), jnp.ones((1, 2, 2)))
    doubled = jax.jit(lambda p: jax.tree.map(lambda x: 2 * x, p))(parts)
    assert doubled.background is None and doubled.scores is None
    assert float(doubled.vectors.max()) == 2.0
