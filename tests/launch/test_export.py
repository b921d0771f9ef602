"""A classifier that is exported: what it writes, that a copy of it serves the same numbers, and what is refused."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pathlib
import subprocess
import sys
import urllib.request

import numpy as np
import pytest
from jax import export as jax_export

from launch import export, runner
from partrep.data.decode import load_photo
from partrep.tasks import finished

SERVE = pathlib.Path(__file__).with_name("serve.py")
NAMES = ("model.json", "model.stablehlo")
EXAMPLE = """
import json, jax
from jax import export
about = json.load(open("exported/model.json"))
model = jax.jit(export.deserialize(bytearray(open("exported/model.stablehlo", "rb").read())).call)
found = jax.device_get(model(photos))  # u8 [b,S,S,3], cut out as about["view"] says
best = found["logits"].argmax(-1)
print([about["classes"][c] for c in best], found["contributions"][range(len(best)), :, best])  # [b], [b,K]
"""


def launch(monkeypatch, *argv: str) -> None:
    """Runs `launch.export` in this process."""
    monkeypatch.setattr(sys, "argv", ["export", *argv])
    runner.run(export.main, export.FLAGS, export.__doc__)


def refused(monkeypatch, capsys, *argv: str) -> str:
    """The one line that a command ends with."""
    with pytest.raises(SystemExit) as stopped:
        launch(monkeypatch, *argv)
    line = capsys.readouterr().err
    assert stopped.value.code == 2 and line.count("\n") == 1
    return line


@pytest.fixture(scope="module")
def exported(trained, tmp_path_factory):
    """The folder of the exported run."""
    folder = tmp_path_factory.mktemp("out") / "exported"
    with pytest.MonkeyPatch.context() as patch:
        launch(patch, f"--workdir={trained.workdir}", f"--out={folder}")
    return folder


@pytest.fixture(scope="module")
def seen(trained) -> np.ndarray:
    """u8 [8,S,S,3]: photos as the model is shown them."""
    view = finished.load(trained.workdir).view
    paths = sorted(trained.test.rglob("*.png"))[:8]
    return np.stack([load_photo(path.read_bytes(), path.name, view) for path in paths])


def test_the_folder_says_what_goes_in_and_out(exported, trained):
    assert sorted(path.name for path in exported.iterdir()) == list(NAMES)
    assert [path.name for path in exported.parent.iterdir()] == ["exported"]  # nothing is left beside it
    said, content = json.loads((exported / NAMES[0]).read_text()), (exported / NAMES[1]).read_bytes()
    assert said["sha256"] == hashlib.sha256(content).hexdigest()
    assert said["classes"] == ["blue", "green", "red"] and said["parts"] == 3 and said["level"] == 2
    assert said["platforms"] == ["cpu", "cuda", "tpu"] and said["input"]["shape"] == ["b", 64, 64, 3]
    assert said["view"] == {"resize": 73, "crop": 64, "interpolation": "bilinear"}
    shapes = {name: output["shape"] for name, output in said["outputs"].items()}
    assert shapes["logits"] == ["b", 3] and shapes["contributions"] == ["b", 3, 3] and shapes["bias"] == [3]
    assert shapes["maps"][:2] == ["b", 3] and all(o["dtype"] == "float32" for o in said["outputs"].values())
    program = jax_export.deserialize(bytearray(content))
    assert program.platforms == ("cpu", "cuda", "tpu") and program.nr_devices == 1
    assert program.calling_convention_version == said["calling_convention"]
    assert b"partrep/" not in content  # no path of the machine that wrote it


def test_a_served_copy_gives_the_same_numbers(exported, trained, seen, tmp_path):
    wanted = finished.load(trained.workdir).read(seen)
    environment = {**os.environ, "PYTHONPATH": "", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    command = [sys.executable, str(SERVE), str(exported)]
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True) as server:
        try:
            port = int(server.stdout.readline())
            for count in (1, 3, 8):
                body = io.BytesIO()
                np.save(body, seen[:count])
                with urllib.request.urlopen(f"http://127.0.0.1:{port}", body.getvalue(), timeout=60) as answer:
                    found = dict(np.load(io.BytesIO(answer.read())))
                for name, its in {"logits": "logits", "maps": "assignment", "contributions": "contributions"}.items():
                    np.testing.assert_allclose(found[name], wanted[its][:count], rtol=0, atol=1e-5)
                total = found["bias"] + found["contributions"].sum(1)
                np.testing.assert_allclose(total, found["logits"], rtol=0, atol=1e-5)
        finally:
            server.kill()


def test_the_example_of_the_readme_runs(exported, seen, monkeypatch, capsys):
    monkeypatch.chdir(exported.parent)
    exec(EXAMPLE, {"photos": seen})
    assert "['blue'" in capsys.readouterr().out.replace("red", "blue").replace("green", "blue")


def test_an_earlier_export_is_replaced_and_nothing_else(exported, trained, tmp_path, monkeypatch, capsys):
    before = (exported / NAMES[1]).read_bytes()
    (exported / NAMES[1]).write_bytes(b"old")
    launch(monkeypatch, f"--workdir={trained.workdir}", f"--out={exported}")
    assert (exported / NAMES[1]).read_bytes() == before
    assert capsys.readouterr().out.splitlines()[-1] == f"export: {exported}"
    (tmp_path / "mine.txt").write_text("mine")
    line = refused(monkeypatch, capsys, f"--workdir={trained.workdir}", f"--out={tmp_path}")
    assert "mine.txt" in line and "an earlier export" in line
    line = refused(monkeypatch, capsys, f"--workdir={trained.workdir}", f"--out={tmp_path / 'mine.txt'}")
    assert "is a file" in line
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_what_is_no_finished_classifier_is_refused(tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    assert "--out is missing" in refused(monkeypatch, capsys, f"--workdir={tmp_path}")
    assert "no finished run" in refused(monkeypatch, capsys, f"--workdir={tmp_path}", f"--out={out}")
    for name in ("config.json", "results.json"):
        (tmp_path / name).write_text("{}")
    assert "no readable model.json" in refused(monkeypatch, capsys, f"--workdir={tmp_path}", f"--out={out}")
    assert not out.exists()
