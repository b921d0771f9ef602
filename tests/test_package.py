"""What is installed, and what a training step needs of the machine."""

import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
STEP = """
import sys
sys.modules["tensorflow"] = None  # an import of it raises
from configs import fewshot as presets
from partrep.tasks import fewshot
from partrep.train.loop import Settings, fit
task = fewshot.make(presets.get_config("gap,smoke"))
print(int(fit(fewshot.stages(task), task.init, Settings()).step))
"""


def test_the_wheel_holds_partrep_alone_with_its_types_and_templates(tmp_path):
    pytest.importorskip("setuptools")
    command = [sys.executable, "setup.py", "-q", "egg_info", f"--egg-base={tmp_path}"]
    command += ["build", f"--build-base={tmp_path / 'base'}", f"--build-lib={tmp_path / 'lib'}"]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    assert [path.name for path in (tmp_path / "lib").iterdir()] == ["partrep"]
    built = {str(path.relative_to(tmp_path / "lib")) for path in (tmp_path / "lib").rglob("*") if path.is_file()}
    source = {str(path.relative_to(ROOT)) for path in (ROOT / "partrep").rglob("*") if path.is_file()}
    assert built == {name for name in source if not name.endswith(".pyc")}


def test_a_step_is_trained_without_tensorflow():
    run = subprocess.run([sys.executable, "-c", STEP], cwd=ROOT, check=True, capture_output=True, text=True)
    assert run.stdout.split()[-1] == "4"
