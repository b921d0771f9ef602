"""One trained classifier of photos, small enough for the tests of every command that reads a finished run."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import NamedTuple

import jax
import numpy as np
import pytest
from PIL import Image

from launch import main, runner
from partrep.models.pretrained.families import FAMILIES

collect_ignore = ["serve.py"]  # a script that a test starts, and in which this library cannot be imported
ROOT = pathlib.Path(__file__).resolve().parents[2]
WEIGHTS = ROOT / "tests" / "models" / "pretrained" / "golden" / "mobilenetv2.safetensors"
TINY = {"widths": (4, 4, 6, 6, 6, 8, 8), "depths": (1, 2, 1, 1, 1, 1, 1), "stem": 4, "head": 12}
COLOURS = {"blue": (40, 60, 200), "green": (60, 200, 60), "red": (200, 60, 60)}


class Trained(NamedTuple):
    """A finished run, and the folders of class folders that it was trained and tested on."""

    workdir: pathlib.Path
    train: pathlib.Path
    test: pathlib.Path


def photos(folder: pathlib.Path, each: int, seed: int) -> pathlib.Path:
    """Class folders of noisy photos of one colour, not all of one shape."""
    random = np.random.default_rng(seed)
    for name, colour in COLOURS.items():
        (folder / name).mkdir(parents=True)
        for i in range(each):
            pixels = np.array(colour) + random.integers(-55, 56, (68 + 8 * (i % 2), 80, 3))
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{i}.png")
    return folder


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """Slots on features of a tiny network."""
    root = tmp_path_factory.mktemp("trained")
    run = Trained(root / "run", photos(root / "train", 8, 0), photos(root / "test", 4, 1))
    argv = ["main", "--config=configs/photos.py:slots,smoke,split=given", f"--workdir={run.workdir}"]
    argv += [f"--config.data.dir={run.train}", f"--config.data.test={run.test}", f"--config.data.cache={root / 'cache'}"]
    argv += [f"--config.pretrained.weights={WEIGHTS}", "--config.pretrained.family=tiny"]
    argv += ["--config.data.size=64", "--config.model.method.parts=3", "--config.stages.joint.steps=60"]
    argv += ["--config.model.bottleneck.name=standardised", "--config.stages.joint.optimizer.multipliers=()"]
    argv += ["--config.evaluation.pictures=0", "--config.evaluation.batch_size=16"]
    known = FAMILIES["mobilenetv2"]
    # A family of its own: this lasts as long as the tests do, and others need that of full size.
    FAMILIES["tiny"] = dataclasses.replace(known, backbone={**known.backbone, **TINY})
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        patch.setattr("sys.argv", argv)
        jax.config.update("jax_disable_most_optimizations", True)  # compiled quickly, whatever it then takes
        try:
            runner.run(main.main, main.FLAGS, main.__doc__)
        finally:
            jax.config.update("jax_disable_most_optimizations", False)
    yield run
    del FAMILIES["tiny"]
