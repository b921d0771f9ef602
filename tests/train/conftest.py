"""The toy run as a module, its unbroken result, and child processes."""

from __future__ import annotations

import importlib.util
import os
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest

CACHE = {
    "JAX_COMPILATION_CACHE_DIR": None,
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": 0,
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": -1,
}
SCRIPT = pathlib.Path(__file__).with_name("toy_run.py")


@pytest.fixture(scope="session")
def compiled(tmp_path_factory):
    """A folder of compiled programs that these tests and their children share, to compile each once."""
    folder = str(tmp_path_factory.mktemp("compiled"))
    before = {name: getattr(jax.config, name.lower()) for name in CACHE}
    for name, value in (CACHE | {"JAX_COMPILATION_CACHE_DIR": folder}).items():
        jax.config.update(name.lower(), value)
    yield folder
    for name, value in before.items():
        jax.config.update(name.lower(), value)


@pytest.fixture(scope="session")
def toy(compiled):
    """The module toy_run.py."""
    spec = importlib.util.spec_from_file_location("toy_run", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["toy_run"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def straight(toy, tmp_path_factory):
    """(workdir, arrays) of the toy run without a break, on one device of this process."""
    workdir = tmp_path_factory.mktemp("straight")
    state = toy.run(workdir)
    toy.dump(state, workdir / "arrays.npz")
    return workdir, dict(np.load(workdir / "arrays.npz"))


@pytest.fixture(scope="session")
def child(compiled):
    """Starts toy_run.py in a process of its own."""

    def start(*arguments, devices: int = 1) -> subprocess.Popen:
        environment = os.environ | {
            "JAX_PLATFORMS": "cpu",
            "JAX_NUM_CPU_DEVICES": str(devices),
            "JAX_COMPILATION_CACHE_DIR": compiled,
        }
        environment |= {name: str(value) for name, value in CACHE.items() if value is not None}
        command = [sys.executable, str(SCRIPT), *map(str, arguments)]
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    return start
