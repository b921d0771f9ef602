"""The one file that knows devices: a mesh with one axis, "data", over all devices of all processes.

The state is replicated and the leading axis of a batch is sharded; under `jax.jit` every sum over the batch
is then one over the global batch, and one device, several devices and several processes are one code path.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Iterable
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from partrep import UserError

Tree = Any
AXIS = "data"


def initialize_distributed(
    coordinator: str | None = None, num_processes: int | None = None, process_id: int | None = None
) -> None:
    """Joins the processes of a run, before any other call; SLURM, Open MPI and TPU need no arguments."""
    try:
        jax.distributed.initialize(coordinator, num_processes, process_id)
    except (ValueError, RuntimeError) as error:
        found = f"coordinator={coordinator}, num_processes={num_processes}, process_id={process_id}"
        raise UserError(
            f"could not join the other processes with {found}; expected SLURM, Open MPI, a TPU or all three: "
            f"{str(error).splitlines()[0]}"
        ) from error


def share_cpu_cores(batch_sizes: Iterable[int]) -> None:
    """Makes two devices of a CPU with two cores or more, which halve every batch; before any other call.

    Within one device XLA keeps a second core busy for part of a step only. Nothing changes on accelerators, where a
    batch is odd, where JAX_NUM_CPU_DEVICES or XLA_FLAGS says how many devices there are, and where they are in use.
    """
    by_flag = "host_platform_device_count" in os.environ.get("XLA_FLAGS", "")
    chosen = by_flag or jax.config.values["jax_num_cpu_devices"] >= 0
    if cpu_cores() > 1 and not chosen and not any(size % 2 for size in batch_sizes):
        with contextlib.suppress(RuntimeError):  # a computation came before: the devices stay as they are
            jax.config.update("jax_num_cpu_devices", 2)


def compute_dtype(name: str) -> np.dtype:
    """The type of features that a config names; "auto" is float32 on CPUs and bfloat16 on accelerators."""
    if name == "auto":
        name = "float32" if jax.default_backend() == "cpu" else "bfloat16"
    return jax.numpy.dtype(name)


def cpu_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@functools.cache
def mesh() -> Mesh:
    """All devices in the order of their processes, so that process slices concatenate to the global batch."""
    devices = sorted(jax.devices(), key=lambda device: (device.process_index, device.id))
    return Mesh(np.array(devices), (AXIS,), axis_types=(jax.sharding.AxisType.Auto,))


def replicated() -> NamedSharding:
    """The same array on every device."""
    return NamedSharding(mesh(), PartitionSpec())


def batch_sharding() -> NamedSharding:
    """The leading axis cut over the devices."""
    return NamedSharding(mesh(), PartitionSpec(AXIS))


def process_index() -> int:
    """This process's number, from 0."""
    return jax.process_index()


def process_count() -> int:
    """The number of processes of the run."""
    return jax.process_count()


def is_writer() -> bool:
    """Whether this process writes files: process 0 alone does."""
    return jax.process_index() == 0


def local_device_count() -> int:
    """The number of devices of this process."""
    return jax.local_device_count()


def init_replicated(init: Callable[..., Tree], *args: Any) -> Tree:
    """Returns `init(*args)`, computed straight into the replicated sharding.

    The program runs once: on CPUs it is compiled without LLVM's optimisations, which takes a third of the time.
    """
    options = {"xla_backend_optimization_level": 0} if jax.default_backend() == "cpu" else None
    return jax.jit(init, out_shardings=replicated(), compiler_options=options)(*args)


def jit_step(step: Callable[[Tree, Tree], Tree]) -> Callable[[Tree, Tree], Tree]:
    """Compiles `step(state, batch)`: the state's memory is reused for the result, which is replicated."""
    return jax.jit(step, donate_argnums=0, out_shardings=replicated())


def jit_apply(apply: Callable[[Tree, Tree], Tree]) -> Callable[[Tree, Tree], Tree]:
    """Compiles `apply(variables, batch)` whose results are cut along their leading axis like it."""
    return jax.jit(apply, out_shardings=batch_sharding())


def jit_local(apply: Callable[[Tree, Any], Any], variables: Tree) -> Callable[[Any], Any]:
    """Compiles `apply(variables, inputs)` for the first device of this process alone, whatever the others do."""
    device = jax.local_devices()[0]
    placed = jax.device_put(variables, device)
    run = jax.jit(apply)
    return lambda inputs: run(placed, jax.device_put(inputs, device))


def replicate(tree: Tree) -> Tree:
    """Puts arrays that are the same in every process on every device; those already there pass through."""

    def place(leaf: Any) -> jax.Array:
        if isinstance(leaf, jax.Array) and leaf.sharding.is_equivalent_to(replicated(), leaf.ndim):
            return leaf
        host = np.asarray(leaf)
        return jax.make_array_from_callback(host.shape, replicated(), lambda index: host[index])

    return jax.tree.map(place, tree)


def put_batch(batch: Tree) -> Tree:
    """Makes the global batch of this process's slice: the leading axis is sharded, scalars are replicated."""

    def place(leaf: Any) -> jax.Array:
        leaf = np.asarray(leaf)
        if leaf.ndim == 0:
            return replicate(leaf)
        check_divides(leaf.shape[0])
        return jax.make_array_from_process_local_data(batch_sharding(), leaf)

    return jax.tree.map(place, batch)


def check_divides(size: int) -> None:
    """Raises a `UserError` unless the devices of this process share its slice of a batch evenly."""
    if size % local_device_count():
        raise UserError(
            f"found a batch of {size} a process on {local_device_count()} devices; "
            f"expected a multiple of {local_device_count()}"
        )


def gather(tree: Tree) -> Tree:
    """Returns whole arrays, in the order of the global batch, as NumPy arrays in every process."""
    return jax.tree.map(np.asarray, multihost_utils.process_allgather(tree, tiled=True))


def broadcast(value: int) -> int:
    """Returns process 0's whole number in every process."""
    return int(multihost_utils.broadcast_one_to_all(np.int32(value)))


def everywhere(value: bool) -> bool:
    """Whether `value` holds in every process; waits until all have come to this line."""
    return bool(np.all(multihost_utils.process_allgather(np.asarray(value))))
