"""Mistakes in a command: exit code 2, one line that names what was found and what was expected, nothing written."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pathlib
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from PIL import Image

ROOT = pathlib.Path(__file__).resolve().parents[2]
DRIVER = pathlib.Path(__file__).with_name("driver.py")
FEWSHOT = "--config=configs/fewshot.py"
ENVIRONMENT = {**os.environ, "JAX_PLATFORMS": "cpu"}


def png(value: int = 0) -> bytes:
    """A small image."""
    pixels = np.random.default_rng(value).integers(0, 255, (12, 12, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def class_folders(path: pathlib.Path, classes: int, images: int) -> pathlib.Path:
    """Class folders of small images."""
    for c in range(classes):
        (path / f"class{c:02}").mkdir(parents=True)
        for i in range(images):
            (path / f"class{c:02}" / f"{i}.png").write_bytes(png(c * 100 + i))
    return path


def class_zip(path: pathlib.Path, names: list[str]) -> pathlib.Path:
    """A zip of small images under the given names."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, name in enumerate(names):
            archive.writestr(name, png(number))
    return path


def damaged_zip(path: pathlib.Path) -> pathlib.Path:
    """A zip with a flipped byte in the first, packed image."""
    class_zip(path, [f"class{c:02}/0.png" for c in range(20)])
    data = bytearray(path.read_bytes())
    data[60] ^= 0xFF
    path.write_bytes(data)
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> dict[str, pathlib.Path]:
    """Data and workdirs that a user may name by mistake."""
    root = tmp_path_factory.mktemp("bad")
    (root / "empty").mkdir()
    (root / "file").write_text("mine")
    text = class_folders(root / "text", 2, 1)
    (text / "class01" / "notes.txt").write_text("no image")
    cut = class_folders(root / "cut", 20, 1)
    (cut / "class07" / "0.png").write_bytes(png()[:-60])
    other = root / "other"
    other.mkdir()
    (other / "config.json").write_text(json.dumps({"task": "fewshot", "seed": 7}))
    return {
        "root": root,
        "empty": root / "empty",
        "file": root / "file",
        "text": text,
        "cut": cut,
        "other": other,
        "few": class_folders(root / "few", 3, 2),
        "scarce": class_folders(root / "scarce", 30, 2),
        "escape": class_zip(root / "escape.zip", ["a/0.png", "../outside.png"]),
        "damaged": damaged_zip(root / "damaged.zip"),
        "nosuch": root / "nosuch",
        "work": root / "work",
    }


# What is typed (with {names} of the fixture) -> words that the line must hold: what was found, what was expected.
MAIN = {
    "no config": ([], ["no --config given", "expected --config=configs/TASK.py"]),
    "config file": (["--config=configs/nosuch.py"], ["no config file 'configs/nosuch.py'", "configs/fewshot.py"]),
    "preset": ([f"{FEWSHOT}:nosuch"], ["unknown preset 'nosuch'", "expected one of parts, landmarks, gap"]),
    "key": ([f"{FEWSHOT}:parts,colour=red"], ["unknown key 'colour'", "expected one of level"]),
    "value": ([f"{FEWSHOT}:level=huge"], ["unknown value level='huge'", "expected one of standard"]),
    "other preset's key": ([f"{FEWSHOT}:gap,background=full"], ["'gap' has no key 'background'", "omniglot"]),
    "flag": ([FEWSHOT, "--nosuch=1"], ["unknown flag --nosuch", "expected one of --config, --workdir"]),
    "flag's type": ([FEWSHOT, "--processes=two"], ["--processes=two"]),
    "stray word": ([FEWSHOT, "parts"], ["unexpected argument 'parts'", "expected --flags"]),
    "config key": ([FEWSHOT, "--config.model.nosuch=1"], ["unknown key 'nosuch'", "config.model has: backbone"]),
    "config type": ([FEWSHOT, "--config.seed=one"], ["'--config.seed=one' does not fit", "a whole number such as 0"]),
    "process flags": ([FEWSHOT, "--processes=2"], ["--processes without --distributed"]),
    "workdir is a file": ([FEWSHOT, "--workdir={file}"], ["{file} is a file", "expected a folder"]),
    "workdir in a file": ([FEWSHOT, "--workdir={file}/run"], ["{file} is a file", "expected a folder"]),
    "another config": ([FEWSHOT, "--workdir={other}"], ["another config", "missing there", "another --workdir"]),
    "method": ([FEWSHOT, "--config.model.method.name=nosuch"], ["unknown part method 'nosuch'", "known: assigned, ca_stream, exclusive, gap"]),
    "few-shot head": ([FEWSHOT, "--config.head.name=nosuch"], ["unknown few-shot head 'nosuch'", "known: aligned"]),
    "optimizer": ([FEWSHOT, "--config.stages.classify.optimizer.name=nosuch"], ["unknown optimizer 'nosuch'"]),
    "no parameter": ([FEWSHOT, "--config.stages.classify.trainable=nosuch"], ["'nosuch' matches no parameter"]),
    "number": ([FEWSHOT, "--config.evaluation.batch_size=0"], ["batch_size is 0", "expected at least 1"]),
    "seed": ([FEWSHOT, "--config.seed=-1"], ["config.seed is -1", "expected at least 0"]),
    "dtype": ([FEWSHOT, "--config.dtype=float31"], ["'float31'", "expected one of auto, float32"]),
    "size": ([FEWSHOT, "--config.data.size=62"], ["62x62", "multiples of the patch, 4"]),
    "ways": ([FEWSHOT, "--config.evaluation.ways=400"], ["980 examples of 49 classes", "expected 400 classes"]),
    "no data": ([f"{FEWSHOT}:folder"], ["config.data.dir is empty", "expected --config.data.dir=PATH"]),
    "no TFDS set": ([f"{FEWSHOT}:tfds"], ["config.data.dataset is empty", "expected --config.data.dataset=NAME"]),
    "unprepared": (
        [f"{FEWSHOT}:tfds", "--config.data.dataset=mnist", "--config.data.dir={empty}"],
        ["no prepared data set 'mnist' in {empty}", "tfds build mnist --file_format=array_record"],
    ),
    "task": ([FEWSHOT, "--config.task=classify"], ["config.task is 'classify'", "expected 'fewshot'"]),
    "data of another": ([FEWSHOT, "--config.data.name=folder"], ["needs config.data.dir"]),
    "missing data": (
        [f"{FEWSHOT}:folder", "--config.data.dir={nosuch}"],
        ["{nosuch} does not exist", "expected a folder"],
    ),
    "empty data": ([f"{FEWSHOT}:folder", "--config.data.dir={empty}"], ["{empty} holds no image", "CLASS/IMAGE"]),
    "no image": ([f"{FEWSHOT}:folder", "--config.data.dir={text}"], ["class01/notes.txt", "expected PNG, JPEG"]),
    "cut image": ([f"{FEWSHOT}:folder", "--config.data.dir={cut}"], ["class07/0.png", "not a readable image"]),
    "damaged zip": ([f"{FEWSHOT}:folder", "--config.data.dir={damaged}"], ["class00/0.png", "cannot be read"]),
    "no archive": ([f"{FEWSHOT}:folder", "--config.data.dir={file}"], ["{file} is not readable", "expected a folder"]),
    "path outside": ([f"{FEWSHOT}:folder", "--config.data.dir={escape}"], ["'../outside.png' points outside"]),
    "few classes": ([f"{FEWSHOT}:folder", "--config.data.dir={few}"], ["found 3 classes", "expected at least 15"]),
    "few examples": (
        [f"{FEWSHOT}:folder", "--config.data.dir={scarce}"],
        ["at most 2 examples a class", "expected 5 classes with 1 + 15 examples"],
    ),
    "no Omniglot": (
        [f"{FEWSHOT}:omniglot", "--config.data.dir={empty}"],
        ["no images_background_small1.zip in {empty}"],
    ),
}
COMPARE = {
    "no presets": ([FEWSHOT, "--workdir={work}"], ["--presets=", "expected different names"]),
    "presets twice": ([FEWSHOT, "--presets=gap,gap", "--workdir={work}"], ["--presets=gap,gap", "different names"]),
    "no preset": ([FEWSHOT, "--presets=parts,nosuch", "--workdir={work}"], ["unknown preset 'nosuch'"]),
    "other data": (
        [FEWSHOT, "--presets=parts,folder", "--workdir={work}"],
        ["parts and folder differ in config.data.name, 'birds' and 'folder'"],
    ),
    "smoke as preset": ([FEWSHOT, "--presets=smoke", "--workdir={work}"], ["'smoke', which is no preset of configs/"]),
    "seeds": ([FEWSHOT, "--presets=gap", "--seeds=0,x", "--workdir={work}"], ["--seeds=0,x", "whole numbers from 0"]),
    "seeds twice": ([FEWSHOT, "--presets=gap", "--seeds=0,00", "--workdir={work}"], ["expected different seeds"]),
    "seed": ([FEWSHOT, "--presets=gap", "--config.seed=1", "--workdir={work}"], ["--config.seed is set by --seeds"]),
    "no workdir": ([FEWSHOT, "--presets=gap"], ["no --workdir given"]),
    "no config": (["--presets=gap", "--workdir={work}"], ["no --config given"]),
    "one preset's key": (
        [FEWSHOT, "--presets=parts,gap", "--workdir={work}", "--config.model.method.parts=4"],
        ["unknown key 'parts'", "config.model.method has: name"],
    ),
}
CASES = [("main", name) for name in MAIN] + [("compare", name) for name in COMPARE]


def typed(command: str, name: str, made) -> list[str]:
    argv, _ = {"main": MAIN, "compare": COMPARE}[command][name]
    argv = [argument.format_map(made) for argument in argv]
    return (
        argv
        if any(a.startswith("--workdir") for a in argv) or command != "main"
        else [*argv, f"--workdir={made['work']}"]
    )


def expected(command: str, name: str, made) -> list[str]:
    return [words.format_map(made) for words in {"main": MAIN, "compare": COMPARE}[command][name][1]]


def contents(made) -> dict[str, bytes]:
    return {str(p): p.read_bytes() if p.is_file() else b"" for p in sorted(made["root"].rglob("*"))}


def check(code: int, err: str, words: list[str]) -> None:
    assert code == 2, err
    lines = err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: "), err
    for word in words:
        assert word in lines[0]


@pytest.fixture(scope="module")
def outcomes(made):
    """Every command run once, by the driver: {(command, name): {code, out, err}}, and what the disk held before."""
    before = contents(made)
    cases = [{"command": command, "argv": typed(command, name, made)} for command, name in CASES]
    done = subprocess.run(
        [sys.executable, str(DRIVER)],
        input=json.dumps(cases),
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return dict(zip(CASES, json.loads(done.stdout))), before


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]}: {case[1]}")
def test_one_line_and_exit_2(case, outcomes, made):
    outcome = outcomes[0][case]
    check(outcome["code"], outcome["err"], expected(*case, made))
    assert outcome["out"] == ""


def test_nothing_was_written(outcomes, made):
    assert contents(made) == outcomes[1]
    assert not made["work"].exists()


@pytest.mark.parametrize("name", ["preset", "flag", "config key", "another config", "path outside", "few examples"])
def test_the_command_itself(name, made):
    before = contents(made)
    command = [sys.executable, "-m", "launch.main", *typed("main", name, made)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=ENVIRONMENT, check=False)
    check(done.returncode, done.stderr, expected("main", name, made))
    assert contents(made) == before


@contextlib.contextmanager
def tiny_disk(path: pathlib.Path, size: str):
    """A file system of `size` mounted at `path`; skips where that is not allowed."""
    path.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path)]
    try:
        done = subprocess.run(["mount", *options], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("needs mount")
    if done.returncode:
        pytest.skip(f"needs the right to mount a small disk: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", str(path)], check=True)


def test_a_full_disk(tmp_path):
    with tiny_disk(tmp_path / "disk", "200k"):
        workdir = tmp_path / "disk" / "run"
        command = [sys.executable, "-m", "launch.main", FEWSHOT, f"--workdir={workdir}"]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=ENVIRONMENT, check=False)
        check(done.returncode, done.stderr, [str(workdir), "MB free", "expected 16 MB"])
        assert list((tmp_path / "disk").iterdir()) == []
