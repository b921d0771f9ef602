"""Compiled programs that several trainings of one process share."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator

import jax
from jax.experimental.compilation_cache import compilation_cache

QUICK = 0.2
"""Seconds of compiling under which a program is not kept."""


@contextlib.contextmanager
def shared_programs() -> Iterator[None]:
    """Within it a program that was compiled before is loaded, whichever function asks for it.

    JAX knows a program by the function, and each training has functions of its own; on disk it is known by what it
    computes. The files are removed at the end. Where JAX_COMPILATION_CACHE_DIR is set, that folder is used, and stays.
    """
    if jax.config.values["jax_compilation_cache_dir"]:
        yield
        return
    with tempfile.TemporaryDirectory(prefix="partrep-compiled-") as folder:
        names = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")
        before = {name: jax.config.values[name] for name in names}
        try:
            for name, value in zip(names, (folder, QUICK)):
                jax.config.update(name, value)
            compilation_cache.reset_cache()  # whether there is a folder is asked once, at the first program
            yield
        finally:
            for name, value in before.items():
                jax.config.update(name, value)
            compilation_cache.reset_cache()
