"""Programs shared by the trainings of one process: loaded, not compiled again, and nothing is left behind."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.compilation_cache import compilation_cache

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


NAMES = "jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs"


def settings() -> list:
    """The settings of JAX that are changed for a while."""
    return [jax.config.values[name] for name in NAMES]


@pytest.fixture(params=[None, "mine"])
def mine(request, tmp_path):
    """The user's own folder or none, whatever the tests before have set."""
    before, folder = settings(), request.param and str(tmp_path / request.param)
    jax.config.update(NAMES[0], folder)
    compilation_cache.reset_cache()
    yield folder
    for name, value in zip(NAMES, before):
        jax.config.update(name, value)
    compilation_cache.reset_cache()


def test_the_same_computation_of_another_function_is_loaded(hits, mine, monkeypatch):
    monkeypatch.setattr(programs, "QUICK", 0.0)
    before = settings()
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
        assert str(folder) == mine  # the user's own stays in use
    else:
        assert not folder.exists()
    assert settings() == before
