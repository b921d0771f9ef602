"""Every preset's smoke from the command line to the page; resuming; a kill; a disk that fills up."""

from __future__ import annotations

import functools
import io
import json
import math
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator

import jax
import numpy as np
import pytest
from PIL import Image, ImageDraw

from launch import main, runner
from partrep.data import classify
from partrep.data.tfds import import_tfds
from partrep.evaluate import discovery

ROOT = pathlib.Path(__file__).resolve().parents[1]
FEWSHOT = "--config=configs/fewshot.py"
CLASSIFY = "--config=configs/classify.py"
OPENSET = "--config=configs/openset.py"


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """A folder of compiled programs, so that what one run compiled the next ones load."""
    folder = tmp_path_factory.mktemp("compiled")
    settings = {"jax_compilation_cache_dir": str(folder), "jax_persistent_cache_min_compile_time_secs": 0.2}
    before = {name: getattr(jax.config, name) for name in settings}
    for name, value in settings.items():
        jax.config.update(name, value)
    yield folder
    for name, value in before.items():
        jax.config.update(name, value)


@pytest.fixture(autouse=True)
def in_checkout(monkeypatch, compiled, few_programs_a_test):
    monkeypatch.chdir(ROOT)


def launch(monkeypatch, capsys, *argv: str) -> list[str]:
    """Runs `launch.main` in this process and returns its lines on stdout."""
    monkeypatch.setattr(sys, "argv", ["main", *argv])
    runner.run(main.main, main.FLAGS, main.__doc__)
    return capsys.readouterr().out.splitlines()


def start(compiled, *argv: str, **fields) -> subprocess.Popen:
    """Starts `launch.main` in a process of its own."""
    environment = {
        **os.environ,
        "JAX_COMPILATION_CACHE_DIR": str(compiled),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.2",
    }
    command = [sys.executable, "-m", "launch.main", *argv]
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, **fields)


def numbers(workdir: pathlib.Path) -> tuple[dict[str, float], dict]:
    """The results of a run, and their provenance."""
    saved = json.loads((workdir / "results.json").read_text())
    return {name: value for name, value in saved.items() if name != "provenance"}, saved["provenance"]


def check_run(workdir: pathlib.Path, printed: list[str]) -> None:
    """A finished run is as `check_report` says and has taken all steps of its stages."""
    check_report(workdir, printed)
    config = json.loads((workdir / "config.json").read_text())
    steps = [json.loads(line)["step"] for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert steps[-1] == sum(stage["steps"] for stage in config["stages"].values())


def check_report(workdir: pathlib.Path, printed: list[str]) -> None:
    """A finished run has finite numbers, provenance, a page that needs nothing else, and names it last."""
    results, provenance = numbers(workdir)
    assert results and all(isinstance(v, int | float) and math.isfinite(v) for v in results.values())
    assert provenance["seed"] == 0 and provenance["test_evaluations"] >= 1 and provenance["data"]["train"]
    assert printed[-1] == f"report: {workdir / 'report' / 'index.html'}"
    assert any(re.match(r"method +\S+, % \(95 %\)", line) for line in printed)
    page = (workdir / "report" / "index.html").read_text()
    assert page.rstrip().endswith("</html>") and len(page) > 20_000
    assert not re.search(r'(?:src|href)="(?!data:|#)|url\((?!["\']?data:)|@import', page)
    assert "python -m launch.main" in page
    config = json.loads((workdir / "config.json").read_text())
    assert config["preset"].endswith("-smoke")


@pytest.mark.parametrize("preset", ["parts", "landmarks", "gap"])
def test_birds(preset, tmp_path, monkeypatch, capsys):
    argv = [f"{FEWSHOT}:{preset},smoke", f"--workdir={tmp_path}"]
    if preset == "landmarks":
        argv += ["--config.train.validate_every=2", "--config.train.best=validation/accuracy"]
    printed = launch(monkeypatch, capsys, *argv)
    check_run(tmp_path, printed)
    results, _ = numbers(tmp_path)
    main_row = "global_pooling" if preset == "gap" else "parts"
    assert 0 <= results[f"novel/{main_row}/accuracy"] <= 1
    assert (f"novel/{main_row}_minus_dense_locations_low" in results) and (
        ("discovery/model/iou_mean" in results) == (preset != "gap")
    )
    if preset == "gap":
        trained = (tmp_path / "metrics.jsonl").read_text()
        check_run(tmp_path, launch(monkeypatch, capsys, f"{FEWSHOT}:{preset},smoke", f"--workdir={tmp_path}"))
        again, provenance = numbers(tmp_path)
        assert again == results and (tmp_path / "metrics.jsonl").read_text() == trained
        assert provenance["test_evaluations"] == 2 * 5  # by both starts: four readers, one of them on a further kind


@pytest.fixture
def hasty(monkeypatch):
    """Programs are compiled quickly, whatever they then take, and intervals of discovery rest on few draws."""
    few = functools.partial(discovery.resampled_scores, resamples=4)
    monkeypatch.setattr(discovery, "resampled_scores", few)
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


@pytest.mark.parametrize("preset", ["parts", "joined", "global", "dense"])
def test_metric(preset, tmp_path, monkeypatch, capsys, hasty):
    printed = launch(monkeypatch, capsys, f"--config=configs/metric.py:{preset},smoke", f"--workdir={tmp_path}")
    check_run(tmp_path, printed)
    results, _ = numbers(tmp_path)
    trained = {"parts": "joined", "global": "embedding", "dense": "best_match"}.get(preset, preset)
    assert 0 <= results[f"novel/{trained}/map@r"] <= results[f"novel/{trained}/recall@8"] <= 1
    drawn = "Point at a part" in (tmp_path / "report" / "index.html").read_text()
    assert drawn == (preset in ("parts", "joined"))


def test_retrieval(tmp_path, monkeypatch, capsys, hasty):
    printed = launch(monkeypatch, capsys, "--config=configs/retrieval.py:regions,smoke", f"--workdir={tmp_path}")
    check_run(tmp_path, printed)
    results, _ = numbers(tmp_path)
    assert 0 <= results["novel/descriptor/map@r"] <= results["novel/descriptor/recall@8"] <= 1
    assert results["novel/class_alone/map@r"] == pytest.approx(1 / 3)  # one other image of the bird, two of its like
    page = (tmp_path / "report" / "index.html").read_text()
    assert "retrieval report" in page and "other pairs of different parts" in page


CLASSIFIERS = [  # argument, level of explanation, what is shown beside the scores
    ("landmarks,bottleneck=binary", 1, ("audit", "predictions")),
    ("landmarks_tv,bottleneck=generative", 2, ()),
    ("slots,bottleneck=disentangled,objective=groupdro,border=on", 2, ("conflicting",)),
    ("prototypes", 1, ("predictions",)),
    ("exclusive", 1, ()),
    ("regions", 0, ()),
    ("assigned,labels=class", 2, ()),
    ("ca_stream", 2, ()),
    ("gap", 2, ()),
    ("slots,readout=isolated", 3, ()),
]


@pytest.mark.parametrize("argument, level, shown", CLASSIFIERS)
def test_classify(argument, level, shown, tmp_path, monkeypatch, capsys, hasty):
    preset, _, keys = argument.partition(",")
    argv = [f"{CLASSIFY}:{preset},smoke,{keys}", f"--workdir={tmp_path}"]
    argv += [f"--config.evaluation.{n}={int(s in shown)}" for n, s in (("audit_images", "audit"), ("pictures", "predictions"))]
    if "conflicting" in shown:
        argv += ["--config.data.shortcut=0.9", "--config.model.method.background=False"]
        monkeypatch.setattr(classify, "HABITATS", ("conflicting",))  # each has a program of its own
    if preset == "prototypes":  # the other stage has the losses and the end of this
        argv += ["--config.stages.warm.steps=0"]
    check_run(tmp_path, launch(monkeypatch, capsys, *argv))
    results, provenance = numbers(tmp_path)
    assert results["test/accuracy_low"] <= results["test/accuracy"] <= results["test/accuracy_high"]
    sets = 1 + ("audit" in shown) + ("conflicting" in shown)
    assert results["model/level"] == level and provenance["test_evaluations"] == sets
    pooled = preset in ("gap", "ca_stream")  # one part, which is not compared with the true ones
    shared = not pooled and "labels=class" not in keys  # the parts of birds, and not of one class of them
    assert ("discovery/model/iou_mean" in results) == shared
    assert ("audit/contributions/correctness" in results) == ("audit" in shown)
    page = (tmp_path / "report" / "index.html").read_text().replace('id="failures"', 'id="predictions"')
    found = {name for name in ("audit", "discovery", "parts", "predictions", "reliance") if f'id="{name}"' in page}
    ranked = shared and level > 0
    always = {"discovery": shared, "parts": not pooled, "reliance": ranked}
    assert found == {*shown} - {"conflicting"} | {name for name, there in always.items() if there}
    assert ("parts/first" in results) == ("parts/0/off/test/accuracy" in results) == ranked
    if "conflicting" in shown:
        first = int(results["parts/first"])
        shares = [results[f"parts/{k}/reliance"] for k in range(9)]
        assert shares[first] == max(shares) and "parts/9/reliance" not in results
        for name in ("validation", "test", "conflicting"):
            accuracy = results[f"parts/first_off/{name}/accuracy"]
            assert results[f"parts/{first}/off/{name}/accuracy"] == pytest.approx(accuracy)
        assert "first part off" in page and "outside the bird" in page
        assert re.search(r">\s*border\s*<", page)  # the part of this name
    config = json.loads((tmp_path / "config.json").read_text())
    last = json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[-1])
    weighed = {name for name, weight in config["losses"].items() if weight} | {"classification"}
    assert {name.removeprefix("loss/") for name in last if name.startswith("loss/")} == weighed


# Small steps, so that rounding does not grow: then maps and accuracies of several processes are those of one.
# 97 is a batch that two processes do not divide.
EPISODIC = [f"{FEWSHOT}:episodic,smoke", "--config.evaluation.batch_size=97", "--config.train.log_every=1"]
EPISODIC += [f"--config.stages.{stage}.optimizer.learning_rate=1e-5" for stage in ("classify", "episodes")]


def test_killed_in_its_second_stage_or_by_two_processes_a_run_reports_the_same(tmp_path, monkeypatch, capsys, compiled):
    whole = tmp_path / "whole"
    check_run(whole, launch(monkeypatch, capsys, *EPISODIC, f"--workdir={whole}"))
    check_killed(tmp_path / "cut", whole, compiled)
    check_two_processes(tmp_path / "two", whole, compiled)


def check_killed(cut: pathlib.Path, whole: pathlib.Path, compiled: pathlib.Path) -> None:
    """A run that is killed when its first stage has ended goes on, and ends with the numbers of the whole one."""
    first = start(compiled, *EPISODIC, f"--workdir={cut}", stderr=subprocess.DEVNULL)
    wait_for(cut / "checkpoints" / "4.json", first)
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert not (cut / "results.json").exists()
    printed, _ = start(compiled, *EPISODIC, f"--workdir={cut}", stderr=subprocess.DEVNULL).communicate()
    check_run(cut, printed.splitlines())
    assert numbers(cut)[0] == numbers(whole)[0]


def check_two_processes(two: pathlib.Path, one: pathlib.Path, compiled: pathlib.Path) -> None:
    """Batches, episodes, maps and evaluation are cut over the processes."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    joined = [*EPISODIC, f"--workdir={two}", "--distributed", f"--coordinator=localhost:{port}"]
    pair = [start(compiled, *joined, "--processes=2", f"--process={i}", stderr=subprocess.PIPE) for i in (0, 1)]
    errors = [process.communicate(timeout=900)[1] for process in pair]
    assert [process.returncode for process in pair] == [0, 0], "\n".join(errors)
    found, wanted = numbers(two)[0], numbers(one)[0]
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        if not name.startswith(("discovery/kmeans", "discovery/nmf")):  # whose clusters may turn on rounding
            # Ten episodes of five queries: one query may turn on rounding.
            assert found[name] == pytest.approx(value, rel=1e-2, abs=0.05), name
    rows = [list(map(json.loads, (run / "metrics.jsonl").read_text().splitlines())) for run in (one, two)]
    assert [row["stage"] for row in rows[0]] == ["classify"] * 4 + ["episodes"] * 4
    for alone, shared in zip(*rows, strict=True):
        for name in ("step", "loss", "gradient_norm"):
            assert shared[name] == pytest.approx(alone[name], rel=1e-3), (name, alone["step"])


def wait_for(path: pathlib.Path, process: subprocess.Popen, seconds: float = 300) -> None:
    """Waits until a file is there."""
    until = time.monotonic() + seconds
    while not path.exists():
        assert process.poll() is None and time.monotonic() < until, f"{path} did not come"
        time.sleep(0.02)


def encoded(image: Image.Image) -> bytes:
    """A PNG file."""
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def photos() -> Iterator[tuple[int, int, bytes]]:
    """(class, number, PNG file) of four noisy images of each of 25 colours."""
    random = np.random.default_rng(0)
    for c in range(25):
        colour = random.integers(0, 255, 3)
        for i in range(4):
            pixels = np.clip(colour + random.integers(-40, 40, (32, 32, 3)), 0, 255).astype(np.uint8)
            yield c, i, encoded(Image.fromarray(pixels))


def test_tfds(tmp_path, monkeypatch, capsys):
    tfds = import_tfds()

    class Colours(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            features = {"image": tfds.features.Image(), "label": tfds.features.ClassLabel(num_classes=25)}
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

        def _split_generators(self, manager):
            return {"train": ((f"{c}-{i}", {"image": io.BytesIO(data), "label": c}) for c, i, data in photos())}

        def _generate_examples(self):
            raise NotImplementedError

    Colours(data_dir=tmp_path / "sets", file_format="array_record").download_and_prepare()
    argv = [f"{FEWSHOT}:tfds,smoke", "--config.data.dataset=colours", f"--config.data.dir={tmp_path / 'sets'}"]
    argv += ["--config.data.size=32", f"--workdir={tmp_path / 'run'}"]
    check_run(tmp_path / "run", launch(monkeypatch, capsys, *argv))


def test_folder(tmp_path, monkeypatch, capsys):
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        for c, i, data in photos():
            archive.writestr(f"photos/class{c:02}/{i}.png", data)
    argv = [f"{FEWSHOT}:folder,smoke", f"--config.data.dir={tmp_path / 'photos.zip'}", "--config.data.size=32"]
    check_run(tmp_path / "run", launch(monkeypatch, capsys, *argv, f"--workdir={tmp_path / 'run'}"))
    assert not any(name.startswith("discovery") for name in numbers(tmp_path / "run")[0])


def drawing(random: np.random.Generator, strokes: list[np.ndarray]) -> tuple[bytes, str]:
    """One person's drawing of a character, and its stroke file."""
    image = Image.new("1", (105, 105), 1)
    pen, lines = ImageDraw.Draw(image), ["START"]
    for stroke in strokes:
        points = np.clip(stroke + random.normal(0, 2, stroke.shape), 5, 99).round()
        pen.line([tuple(map(float, p)) for p in points], fill=0, width=3)
        lines += [f"{x:.0f},{-y:.0f},0" for x, y in points] + ["BREAK"]
    return encoded(image), "\n".join(lines) + "\n"


def write_omniglot(folder: pathlib.Path) -> pathlib.Path:
    """Files named and laid out as the official ones: two alphabets to train on, one more to validate, two runs."""
    random = np.random.default_rng(0)
    folder.mkdir()
    files = ("images_background_small1", "images_background", "strokes_background_small1", "all_runs")
    small, full, strokes, runs = (zipfile.ZipFile(folder / f"{name}.zip", "w") for name in files)
    for alphabet in ("Braille", "Greek", "Latin"):
        for c in range(20):
            character = [random.uniform(10, 95, (4, 2)) for _ in range(2)]
            for drawer in range(1, 4):
                picture, lines = drawing(random, character)
                name = f"{alphabet}/character{c + 1:02}/{c:04}_{drawer:02}"
                full.writestr(f"images_background/{name}.png", picture)
                if alphabet != "Latin":
                    small.writestr(f"images_background_small1/{name}.png", picture)
                    strokes.writestr(f"strokes_background_small1/{name}.txt", lines)
    for run in ("run01", "run03"):
        pairs = []
        for i in range(20):
            character = [random.uniform(10, 95, (4, 2)) for _ in range(2)]
            for kind in ("training/class", "test/item"):
                runs.writestr(f"{run}/{kind}{i + 1:02}.png", drawing(random, character)[0])
            pairs.append(f"{run}/test/item{i + 1:02}.png {run}/training/class{i + 1:02}.png\n")
        runs.writestr(f"{run}/class_labels.txt", "".join(pairs))
    for archive in (small, full, strokes, runs):
        archive.close()
    return folder


@pytest.mark.parametrize("keys", ["", ",augmentation=none,method=landmarks"])
def test_omniglot(keys, tmp_path, monkeypatch, capsys):
    folder = write_omniglot(tmp_path / "omniglot")
    argv = [f"{FEWSHOT}:omniglot,smoke,background=small1{keys}", f"--config.data.dir={folder}"]
    check_run(tmp_path / "run", launch(monkeypatch, capsys, *argv, f"--workdir={tmp_path / 'run'}"))
    results, _ = numbers(tmp_path / "run")
    assert 0 <= results["oneshot_error_low"] <= results["oneshot_error"] <= results["oneshot_error_high"] <= 100
    assert any(name.startswith("strokes/model/") for name in results)
    page = (tmp_path / "run" / "report" / "index.html").read_text()
    assert re.search(r"<h3>Run 0[13], (Atlantean|Ge ez), drawing \d+</h3>", page)


def test_vinyals(tmp_path, monkeypatch, capsys):
    folder = write_omniglot(tmp_path / "omniglot")
    random = np.random.default_rng(1)
    with zipfile.ZipFile(folder / "images_evaluation.zip", "w") as archive:
        for drawer in range(1, 4):
            stroke = [random.uniform(10, 95, (4, 2))]
            archive.writestr(f"images_evaluation/Tibetan/character01/0900_{drawer:02}.png", drawing(random, stroke)[0])
    argv = [f"{FEWSHOT}:vinyals,smoke", f"--config.data.dir={folder}", f"--workdir={tmp_path / 'run'}"]
    check_run(tmp_path / "run", launch(monkeypatch, capsys, *argv))
    results, _ = numbers(tmp_path / "run")
    assert 0 <= results["novel/parts/accuracy"] <= 1 and not any(name.startswith("strokes") for name in results)
    assert "at 90 degrees" in (tmp_path / "run/report/index.html").read_text()


def write_mnist(folder: pathlib.Path) -> pathlib.Path:
    """A file like that of Keras with twelve images of each digit: a bar that moves with it."""
    labels = np.arange(120) % 10
    images = np.random.default_rng(0).integers(0, 60, (120, 28, 28))
    for image, digit in zip(images, labels):
        image[4:24, 2 * digit + 2 : 2 * digit + 6] = 255
    images, labels = images.astype(np.uint8), labels.astype(np.uint8)
    folder.mkdir()
    file = dict(x_train=images[:80], y_train=labels[:80], x_test=images[80:], y_test=labels[80:])
    np.savez(folder / "mnist.npz", **file)
    return folder


def write_cifar10(folder: pathlib.Path) -> pathlib.Path:
    """Three training images and two test images of each of ten classes, in zips of class folders."""
    random = np.random.default_rng(0)
    folder.mkdir()
    for part, count in (("train", 3), ("test", 2)):
        with zipfile.ZipFile(folder / f"{part}.zip", "w") as archive:
            for name in (f"{c}/{i}.png" for c in range(10) for i in range(count)):
                picture = io.BytesIO()
                Image.fromarray(random.integers(0, 255, (32, 32, 3), np.uint8)).save(picture, "png")
                archive.writestr(name, picture.getvalue())
    return folder


OPENSETS = [  # argument, the rows of the results
    ("mnist", ("softmax", "openmax", "maximum_logit", "energy", "arpl", "generative_discriminative", "parts_probability", "parts")),
    ("cifar10,method=maximum_logit", ("maximum_logit", "energy")),
    ("birds,method=parts", ("parts_probability", "parts")),
    ("birds,method=aspects", ("aspects_probability", "aspects")),
]


@pytest.mark.parametrize("argument, rows", OPENSETS)
def test_openset(argument, rows, tmp_path, monkeypatch, capsys, hasty):
    preset, _, keys = argument.partition(",")
    argv = [f"{OPENSET}:{preset},smoke,{keys}", f"--workdir={tmp_path / 'run'}"]
    if preset == "mnist":
        argv += [f"--config.data.dir={write_mnist(tmp_path / 'mnist')}"]
    if preset == "cifar10":
        argv += [f"--config.data.dir={write_cifar10(tmp_path / 'cifar10')}", "--config.trials=(1,3)"]
    printed = launch(monkeypatch, capsys, *argv)
    check_report(tmp_path / "run", printed)
    results, provenance = numbers(tmp_path / "run")
    found = json.loads((tmp_path / "run" / "rows.json").read_text())
    assert tuple(row["name"] for row in found["rows"]) == rows and found["measure"] == "AUROC"
    assert found["rows"][-1]["reference"] and found["chance"] == 0.5
    methods = {name.split("/")[1] for name in results if name.count("/") == 3 and name.startswith("test/")}
    trials = 2 if preset == "cifar10" else 1
    kinds = 3 if preset == "birds" else 1
    assert provenance["test_evaluations"] == len(methods) * trials * (1 + kinds)
    folders = {path.name for path in (tmp_path / "run").iterdir() if (path / "checkpoints").is_dir()}
    assert folders == {f"{method}-{trial}" for method in methods for trial in ((1, 3) if trials == 2 else (0,))}
    page = (tmp_path / "run" / "report" / "index.html").read_text()
    assert page.count("first</h3>") == kinds + 1 and ("Most unknown: " in page) == (rows[-1] in ("parts", "aspects"))
    if rows[-1] == "aspects":  # its parts have names
        assert "beak" in page and "part 1" not in page
    assert ('id="kinds"' in page) == (f"test/{rows[-1]}/unknown_part_named" in results) == (preset == "birds")
    if preset == "cifar10":  # finished runs are not trained again
        trained = (tmp_path / "run" / "maximum_logit-3" / "metrics.jsonl").read_text()
        check_report(tmp_path / "run", launch(monkeypatch, capsys, *argv))
        assert numbers(tmp_path / "run")[0] == results
        assert (tmp_path / "run" / "maximum_logit-3" / "metrics.jsonl").read_text() == trained


def test_a_disk_that_fills_up_takes_nothing_half_written(tmp_path, compiled):
    """The checkpoint of a network of 40 million parameters does not fit on what is left."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", str(disk)]
    try:
        mounted = subprocess.run(mount, capture_output=True, text=True, check=False).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("needs the right to mount a small disk")
    try:
        argv = [f"{FEWSHOT}:gap,smoke", "--config.model.backbone.widths=(512,)", "--config.data.size=16"]
        run = start(compiled, *argv, f"--workdir={disk / 'run'}", stderr=subprocess.PIPE)
        _, err = run.communicate()
        last = err.splitlines()[-1]
        assert run.returncode == 2, err
        assert last.startswith(f"error: {disk / 'run' / 'checkpoints'}") and "no space left on the disk" in last
        assert list(disk.iterdir()) == []
    finally:
        subprocess.run(["umount", str(disk)], check=True)
