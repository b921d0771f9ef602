"""Checkpoints: what is saved comes back; every kind of damage is said aloud and walked past."""

from __future__ import annotations

import errno
import logging
import os
import pathlib
import shutil
import subprocess

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from partrep import UserError
from partrep.train import checkpoint, digest, disk
from partrep.train.checkpoint import Checkpoints, NoCheckpoints, best_step, load_variables, saved_steps
from partrep.train.state import begin


def make_state(step: int, width: int = 4):
    """A state of every kind of leaf: matrices, scalars, half precision, empty arrays and random keys."""
    variables = {
        "params": {"head": {"kernel": jnp.full((3, width), step, jnp.float32), "half": jnp.ones(2, jnp.bfloat16)}},
        "batch_stats": {"norm": {"mean": jnp.arange(3.0)}},
    }
    state = begin(variables, ema=True)
    memory = {"queue": jnp.zeros((0, 4)), "key": jax.random.key(step), "mask": jnp.array([True, False])}
    return state.replace(step=jnp.int32(step), loss_state=memory, opt_state=(jnp.int32(step), ()))


def target(stage: int):
    return jax.eval_shape(lambda: make_state(0))


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder with sound steps 10, 20 and 30."""
    folder = tmp_path_factory.mktemp("saved")
    with Checkpoints(folder, keep=3) as checkpoints:
        for step in (10, 20, 30):
            checkpoints.save(make_state(step))
    return folder


@pytest.fixture
def folder(saved, tmp_path):
    """A copy of it to damage."""
    return pathlib.Path(shutil.copytree(saved, tmp_path / "checkpoints"))


@pytest.fixture
def said(caplog):
    """The lines said aloud."""
    caplog.set_level(logging.WARNING, "partrep")
    return lambda: [record.getMessage() for record in caplog.records if record.name == "partrep"]


def restored_step(folder) -> int | None:
    state = Checkpoints(folder).restore(target)
    return None if state is None else int(state.step)


def test_every_leaf_comes_back(saved, said):
    state, expected = Checkpoints(saved).restore(target), make_state(30)
    assert jax.tree.structure(state) == jax.tree.structure(expected)
    for found, wanted in zip(jax.tree.leaves(state), jax.tree.leaves(expected)):
        assert found.dtype == wanted.dtype
        if checkpoint.is_key(wanted):
            found, wanted = jax.random.key_data(found), jax.random.key_data(wanted)
        np.testing.assert_array_equal(found, wanted)
    assert said() == []


FILES = 9  # of one saved step, or more


@pytest.mark.parametrize("number", range(FILES))
def test_a_flipped_byte_in_any_file(folder, said, number):
    names = [f"30/{name}" for name in digest.files_of(folder / "30")]
    assert len(names) >= FILES
    for name in names[number::FILES]:
        data = bytearray((folder / name).read_bytes())
        if data:
            data[len(data) // 2] ^= 1
            (folder / name).write_bytes(data)
    assert restored_step(folder) == 20
    assert len(said()) == 1
    assert f"step 30 passed over: {names[number]} does not match its digest" in said()[0]


def truncate(folder):
    file = max((path for path in (folder / "30").rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    file.write_bytes(file.read_bytes()[:-3])
    return f"30/{file.relative_to(folder / '30')} does not match its digest"


def lose_file(folder):
    (folder / "30" / "manifest.ocdbt").unlink()
    return "30/manifest.ocdbt is missing"


def lose_item(folder):
    shutil.rmtree(folder / "30" / "ocdbt.process_0")
    return "30/ocdbt.process_0/"


def lose_step(folder):
    shutil.rmtree(folder / "30")
    return "is missing"


def lose_sidecar(folder):
    (folder / "30.json").unlink()
    return "30.json is missing (the save did not finish)"


def add_file(folder):
    (folder / "30" / "extra").write_text("x")
    return "30/extra does not belong to it"


def break_sidecar(folder):
    text = (folder / "30.json").read_text()
    (folder / "30.json").write_text(text[: len(text) // 2])
    return "30.json is malformed (JSONDecodeError)"


def other_sidecar(folder):
    (folder / "30.json").write_text("[1, 2]")
    return "30.json is malformed (TypeError)"


def edit_sidecar(folder):
    text = (folder / "30.json").read_text()
    (folder / "30.json").write_text(text.replace('"stage": 0', '"stage": 1'))
    return "30.json does not match its own digest"


def swap_sidecar(folder):
    shutil.copy(folder / "20.json", folder / "30.json")
    return "30.json does not match its own digest"


def sidecar_alone(folder):
    shutil.copy(folder / "20.json", folder / "40.json")
    return "40.json does not match its own digest"


DAMAGE = [
    truncate, lose_file, lose_item, lose_step, lose_sidecar, add_file, break_sidecar, other_sidecar,
    edit_sidecar, swap_sidecar, sidecar_alone,
]  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_said_in_one_line_and_walked_past(folder, said, damage):
    message = damage(folder)
    assert restored_step(folder) == (30 if damage is sidecar_alone else 20)
    assert len(said()) == 1 and message in said()[0]


def test_two_damaged_steps_in_a_row_and_then_all(folder, said):
    truncate(folder)
    shutil.rmtree(folder / "20" / "d")
    assert restored_step(folder) == 10
    assert [line.split("checkpoint of ")[1][:7] for line in said()] == ["step 30", "step 20"]
    (folder / "10.json").write_text("")
    assert restored_step(folder) is None
    assert said()[-1].endswith("found no sound checkpoint among steps 30, 20, 10")
    with pytest.raises(UserError, match="found no sound checkpoint; expected those of a trained run"):
        load_variables(folder)


def test_any_error_on_reading_walks_back(folder, said, monkeypatch):
    read = checkpoint.load_arrays

    def fail_at_30(folder, record, *rest):
        if record["step"] == 30:
            raise RuntimeError("no luck\nat all")
        return read(folder, record, *rest)

    monkeypatch.setattr(checkpoint, "load_arrays", fail_at_30)
    assert restored_step(folder) == 20
    assert said()[0].endswith("step 30 passed over: reading failed with RuntimeError: no luck")


def test_a_sound_checkpoint_of_another_configuration_is_refused(saved):
    with pytest.raises(UserError, match=r"found ema/params/head/kernel float32\[3,4\]; expected float32\[3,5\]"):
        Checkpoints(saved).restore(lambda stage: jax.eval_shape(lambda: make_state(0, width=5)))


def test_an_error_of_the_program_is_not_taken_for_damage(saved):
    with pytest.raises(ZeroDivisionError):
        Checkpoints(saved).restore(lambda stage: 1 // stage)


def test_newer_steps_are_cleared_and_damaged_ones_set_aside(folder):
    truncate(folder)
    lose_sidecar(folder)  # 30 is unfinished
    (folder / "20" / "manifest.ocdbt").unlink()  # 20 is damaged
    (folder / "40.orbax-checkpoint-tmp").mkdir()
    Checkpoints(folder).discard_after(10)
    assert sorted(path.name for path in folder.iterdir()) == [
        "10",
        "10.json",
        "damaged-20",
        "damaged-20.json",
    ]
    with Checkpoints(folder) as checkpoints:
        checkpoints.save(make_state(20))
    assert restored_step(folder) == 20


def test_the_newest_and_the_best_are_kept(tmp_path):
    with Checkpoints(tmp_path, keep=2) as checkpoints:
        for step, best in ((1, -1), (2, 2), (3, 2), (4, 2), (5, 5), (6, 5)):
            checkpoints.save(make_state(step).replace(best_step=jnp.int32(best)))
        checkpoints.wait()
        assert saved_steps(tmp_path) == [6, 5]
        checkpoints.save(make_state(7).replace(best_step=jnp.int32(5)))
        checkpoints.save(make_state(8).replace(best_step=jnp.int32(5)))
    assert saved_steps(tmp_path) == [8, 7, 5]
    assert best_step(tmp_path) == 5 and best_step(tmp_path / "none") is None
    with pytest.raises(UserError, match="found keep 0; expected at least 1"):
        Checkpoints(tmp_path, keep=0)


def test_variables_come_without_the_configuration(saved):
    variables, step = load_variables(saved)
    assert step == 30
    assert jax.tree.map(jnp.shape, variables) == {
        "params": {"head": {"kernel": (3, 4), "half": (2,)}},
        "batch_stats": {"norm": {"mean": (3,)}},
    }
    plain, step = load_variables(saved, 20, ema=False)
    assert step == 20 and plain["params"]["head"]["kernel"][0, 0] == 20


def no_space(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_disk_that_is_full_leaves_the_older_steps_alone(folder, monkeypatch):
    before = digest.files_of(folder)
    monkeypatch.setattr(digest, "write_atomically", no_space)
    with pytest.raises(UserError, match="40: no space left on the disk; older checkpoints are kept"):
        with Checkpoints(folder) as checkpoints:
            checkpoints.save(make_state(40))
    assert digest.files_of(folder) == before
    monkeypatch.undo()
    free = disk.shutil.disk_usage(folder)._replace(free=1000)
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda path: free)
    with pytest.raises(UserError, match="40: no space left on the disk; older checkpoints are kept"):
        Checkpoints(folder).save(make_state(40))
    assert digest.files_of(folder) == before


def test_a_disk_that_fills_up_while_orbax_writes(tmp_path, monkeypatch):
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", tmp_path], capture_output=True).returncode:
        pytest.skip("needs the right to mount a small file system")
    try:
        monkeypatch.setattr(checkpoint, "need_space", lambda folder, size: None)
        with pytest.raises(UserError, match="no space left on the disk; older checkpoints are kept"):
            with Checkpoints(tmp_path, keep=99) as checkpoints:
                for step in range(1, 99):
                    checkpoints.save(make_state(step))
        steps = saved_steps(tmp_path)
        assert steps == sorted(range(1, len(steps) + 1), reverse=True)
        assert all(digest.verify(tmp_path, step) for step in steps)
        assert len(list(tmp_path.iterdir())) == 2 * len(steps)
        assert restored_step(tmp_path) == steps[0]
    finally:
        subprocess.run(["umount", tmp_path], check=True)


def test_another_error_of_saving_comes_through(tmp_path, monkeypatch):
    def fail(*_):
        raise RuntimeError("broken")

    monkeypatch.setattr(checkpoint, "seal", fail)
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(make_state(1))
        with pytest.raises(RuntimeError, match="broken"):
            checkpoints.wait()
    assert saved_steps(tmp_path) == []
    with pytest.raises(KeyError), Checkpoints(tmp_path) as checkpoints:  # the first error wins
        checkpoints.save(make_state(1))
        raise KeyError


def test_without_a_folder_nothing_happens():
    with NoCheckpoints() as checkpoints:
        checkpoints.save(make_state(1))
        checkpoints.discard_after(0)
        assert checkpoints.restore(target) is None


def test_a_full_disk_told_twice_is_one_error(tmp_path):
    class Saver:
        def close(self):
            raise OSError(errno.ENOSPC, "No space left on device")

    def leave(error: Exception | None) -> None:
        with Checkpoints(tmp_path) as checkpoints:
            checkpoints._saver = Saver()
            if error is not None:
                raise error

    with pytest.raises(UserError, match="the first"):
        leave(UserError("the first"))
    with pytest.raises(UserError, match="no space left on the disk; older checkpoints are kept"):
        leave(None)
