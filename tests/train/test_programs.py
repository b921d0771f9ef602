"""Programs shared by the trainings of one process: loaded, not compiled again, and nothing is left behind."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from partrep.train import programs
from partrep.train.programs import shared_programs


@pytest.fixture
def hits():
    """How often a program was loaded from disk so far."""
    found = []

    def listen(event: str, **about) -> None:
        if event == "/jax/compilation_cache/cache_hits":
            found.append(event)

    jax.monitoring.register_event_listener(listen)
    yield found
    jax.monitoring.unregister_event_listener(listen)


def slope(x):
    """A function of its own at each call, as each training has one, of the same computation."""
    return jax.jit(jax.grad(lambda y: jnp.sin(y @ y.T).sum()))(x)


@pytest.mark.parametrize("mine", [None, "mine"])
def test_the_same_computation_of_another_function_is_loaded(hits, mine, tmp_path, monkeypatch):
    monkeypatch.setattr(programs, "QUICK", 0.0)
    before = jax.config.jax_compilation_cache_dir, jax.config.jax_persistent_cache_min_compile_time_secs
    if mine:
        jax.config.update("jax_compilation_cache_dir", str(tmp_path / mine))
    x = jnp.linspace(0.0, 1.0, 12).reshape(3, 4)
    alone = slope(x)
    with shared_programs():
        folder = pathlib.Path(jax.config.jax_compilation_cache_dir)
        first, so_far = slope(x), len(hits)
        second = slope(x)
        if not mine:
            assert len(hits) > so_far and any(folder.iterdir())
    np.testing.assert_array_equal(first, second)
    np.testing.assert_allclose(first, alone, rtol=1e-6)
    if mine:
        assert folder == tmp_path / mine  # the user's own stays in use
        jax.config.update("jax_compilation_cache_dir", before[0])
    else:
        assert not folder.exists()
    assert before == (jax.config.jax_compilation_cache_dir, jax.config.jax_persistent_cache_min_compile_time_secs)
