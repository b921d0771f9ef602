"""Four devices and two processes against one, evaluation included; what the device file promises."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from partrep import UserError
from partrep.train import sharding


def assert_same_run(found: dict, expected: dict, rtol: float = 1e-4) -> None:
    """The arrays of two runs agree, but for numbers around zero."""
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=rtol, atol=1e-6, err_msg=name)


def test_four_devices_equal_one(toy, straight, child, tmp_path):
    workdir, expected = straight
    single = tmp_path / "single"
    shutil.copytree(workdir, single)
    for step in (20, 16):  # go on from step 12, which one device saved
        shutil.rmtree(single / "checkpoints" / str(step))
    process = child("devices", tmp_path / "four", tmp_path / "four.npz", single, devices=4)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert_same_run(dict(np.load(tmp_path / "four.npz")), expected)
    assert_same_run(dict(np.load(tmp_path / "four.single.npz")), expected)
    for found, wanted in zip(toy.metrics(tmp_path / "four"), toy.metrics(workdir), strict=True):
        assert found.keys() == wanted.keys()
        assert found["loss"] == pytest.approx(wanted["loss"], rel=1e-4)
    assert output == "UserError: found a batch of 22 a process on 4 devices; expected a multiple of 4\n"


def test_two_processes_equal_one(straight, child, tmp_path):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    workdir, out = tmp_path / "two", tmp_path / "two.npz"
    processes = [child("process", workdir, out, port, index) for index in (0, 1)]
    errors = [process.communicate(timeout=150)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], "\n".join(errors)
    assert_same_run(dict(np.load(out)), straight[1])
    # Both processes pass over the damaged step together, and go on from the one before.
    assert_same_run(dict(np.load(out.with_suffix(".again.npz"))), straight[1])
    assert "checkpoint of step 20 passed over: 20/" in errors[0]
    assert "passed over" not in errors[1]
    assert "step 20/20" in errors[0] and "step 20/20" not in errors[1]  # process 0 alone tells of progress


COUNT = """
import sys
from partrep.train import sharding
sharding.share_cpu_cores(map(int, sys.argv[1:]))
print(sharding.local_device_count())
sharding.share_cpu_cores([2])
"""


def devices_of(script: str, batch_sizes, variables) -> int:
    """How many devices a new process has that shares its cores for these batches."""
    environment = {k: v for k, v in os.environ.items() if k not in ("JAX_NUM_CPU_DEVICES", "XLA_FLAGS")}
    command = [sys.executable, "-c", script, *map(str, batch_sizes)]
    return int(subprocess.check_output(command, env=environment | {"JAX_PLATFORMS": "cpu"} | variables, text=True))


@pytest.mark.skipif(sharding.cpu_cores() < 2, reason="needs two cores")
@pytest.mark.parametrize(
    ("batch_sizes", "variables", "devices"),
    [
        ([64, 2], {}, 2),
        ([64, 3], {}, 1),
        ([64], {"JAX_NUM_CPU_DEVICES": "1"}, 1),
        ([64], {"JAX_NUM_CPU_DEVICES": "3"}, 3),
        ([64], {"XLA_FLAGS": "--xla_force_host_platform_device_count=4"}, 4),
    ],
)
def test_even_batches_share_the_cores_unless_the_user_says_how_many_devices(batch_sizes, variables, devices):
    assert devices_of(COUNT, batch_sizes, variables) == devices


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs a system that binds processes to cores")
def test_one_core_is_one_device():
    bind = "import os; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])\n"
    assert devices_of(bind + COUNT, [64], {}) == 1


def test_distributed_without_a_cluster_is_a_user_error():
    with pytest.raises(UserError, match="could not join the other processes with coordinator=None"):
        sharding.initialize_distributed()


def test_batches_keep_their_order_and_scalars_are_replicated():
    batch = {"x": np.arange(6, dtype=np.float32).reshape(6, 1), "temperature": np.float32(0.5)}
    placed = sharding.put_batch(batch)
    assert placed["temperature"].sharding.is_equivalent_to(sharding.replicated(), 0)
    np.testing.assert_array_equal(sharding.gather(placed)["x"], batch["x"])


def test_replicate_passes_placed_arrays_through():
    placed = sharding.replicate({"a": np.ones(3)})
    assert sharding.replicate(placed)["a"] is placed["a"]


def test_a_step_donates_its_state():
    state = sharding.init_replicated(lambda: jnp.ones(3))
    new = sharding.jit_step(lambda state, batch: state + batch.sum())(state, sharding.put_batch(np.ones(2)))
    assert state.is_deleted()
    np.testing.assert_array_equal(new, np.full(3, 3.0))


def test_one_process_speaks_for_all():
    assert sharding.is_writer() and sharding.process_count() == 1 and sharding.process_index() == 0
    assert sharding.everywhere(True) and not sharding.everywhere(False)
    assert sharding.broadcast(7) == 7
    assert sharding.mesh().devices.tolist() == jax.devices()
