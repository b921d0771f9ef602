"""Shared by all tests: the development data, one CPU device, and absl flags parsed (Grain's worker processes need them)."""

from __future__ import annotations

import os
import pathlib

import pytest
from absl import flags

os.environ.setdefault("JAX_NUM_CPU_DEVICES", "1")  # the same here and in child processes
flags.FLAGS.mark_as_parsed()
ROOT = pathlib.Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"


@pytest.fixture(scope="session")
def shared() -> pathlib.Path:
    """The folder of development data; a test that needs it is skipped where it is missing."""
    if not SHARED.exists():
        pytest.skip("needs ../shared, the development data")
    return SHARED


MOST_MAPS = 10_000
"""Memory maps of a test process, three a compiled program, before it lets go of the programs it has."""


@pytest.fixture(scope="module", autouse=True)
def few_programs():
    """After each module: thousands of compiled programs are gigabytes, and near the 65,530 maps of a Linux process."""
    yield
    clear_beyond(MOST_MAPS)


@pytest.fixture
def few_programs_a_test():
    """After each test that asks for it: those of whole runs are thousands within a module."""
    yield
    clear_beyond(MOST_MAPS)


def clear_beyond(most: int) -> None:
    """Lets go of all compiled programs where the process has more memory maps than `most`."""
    maps = pathlib.Path("/proc/self/maps")
    if maps.exists() and len(maps.read_bytes().splitlines()) > most:
        import jax

        jax.clear_caches()


@pytest.fixture(scope="module")
def hasty(tmp_path_factory):
    """Programs are compiled quickly, whatever they then take, and each once."""
    import jax

    settings = {
        "jax_disable_most_optimizations": True,
        "jax_compilation_cache_dir": str(tmp_path_factory.mktemp("compiled")),
        "jax_persistent_cache_min_compile_time_secs": 0.1,
    }
    before = {name: jax.config.values[name] for name in settings}
    for name, value in settings.items():
        jax.config.update(name, value)
    yield
    for name, value in before.items():
        jax.config.update(name, value)
