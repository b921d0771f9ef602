"""The benchmark command: its suites, its file, and what it refuses before it measures anything."""

import json

import pytest

import partrep
from launch import benchmark, runner
from partrep.benchmark import SUITES
from partrep.benchmark.levels import Amounts


@pytest.fixture
def suites(monkeypatch):
    """Suites that measure nothing and remember their settings."""
    seen = {}

    def fake(name):
        def suite(settings):
            seen[name] = settings
            return {f"{name}/speed": 1234.5}

        return suite

    for name in list(SUITES):
        monkeypatch.setitem(SUITES, name, fake(name))
    return seen


def call(*argv):
    benchmark.main(runner.parse_flags(benchmark.FLAGS, ["benchmark", *argv]))


def test_numbers_provenance_and_table(tmp_path, suites, capsys):
    out = tmp_path / "new" / "speed.json"
    call("--suite=data,parts", f"--out={out}", "--pairs=3")
    saved = json.loads(out.read_text())
    provenance = saved.pop("provenance")
    assert saved == {"data/speed": 1234.5, "parts/speed": 1234.5}
    assert provenance["device"] and provenance["versions"]["jax"] and provenance["smoke"] is False
    assert provenance["command"].startswith("python -m launch.benchmark")
    assert (suites["parts"].pairs, suites["parts"].batch, suites["parts"].image) == (3, 32, 224)
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].split() == ["data/speed", "1,234"] and printed[-1] == f"benchmark: {out}"


def test_smoke_says_so(tmp_path, suites, capsys):
    call("--smoke", f"--out={tmp_path / 'x.json'}")
    assert list(suites) == ["train", "data", "parts"]
    assert suites["train"].configs["gap"].preset == "gap-smoke" and suites["parts"].image == 32
    assert json.loads((tmp_path / "x.json").read_text())["provenance"]["smoke"] is True
    assert "the numbers mean nothing" in capsys.readouterr().out


def test_levels_run_where_they_are_named(tmp_path, suites):
    call("--suite=levels", f"--out={tmp_path / 'x.json'}")
    assert list(suites) == ["levels"] and Amounts(**suites["levels"].levels) == Amounts(10, 600, 20, 600)
    call("--smoke", "--suite=levels", f"--out={tmp_path / 'x.json'}")
    assert Amounts(**suites["levels"].levels) == Amounts(2, 2, 1, 2)


def test_explanations_are_measured_where_they_are_named(tmp_path, suites):
    call("--suite=explain", f"--out={tmp_path / 'x.json'}", "--pairs=3")
    settings = suites["explain"]
    assert list(suites) == ["explain"] and (settings.pairs, settings.explained_images) == (3, 64)
    assert settings.explained["preset"] == "landmarks" and settings.explained["data"]["size"] == 64
    call("--smoke", "--suite=explain", f"--out={tmp_path / 'x.json'}")
    assert suites["explain"].explained["preset"] == "landmarks-smoke" and suites["explain"].explained_images == 2


@pytest.mark.parametrize(
    "argv, message",
    [
        ([], "no --out given; expected --out=FILE.json"),
        (["--out={tmp}"], "--out is the folder {tmp}; expected a file, such as {tmp}/speed.json"),
        (["--out={tmp}/file/x.json"], "cannot make the folder {tmp}/file: "),
        (["--out={tmp}/x.json", "--suite=speed"], "unknown suite 'speed'; known: data, explain, levels, losses, parts, search, train"),
        (["--out={tmp}/x.json", "--pairs=0"], "pairs is 0; expected at least 1"),
    ],
)
def test_mistakes_write_nothing(tmp_path, suites, argv, message):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(partrep.UserError) as raised:
        call(*(argument.format(tmp=tmp_path) for argument in argv))
    assert message.format(tmp=tmp_path) in str(raised.value)
    assert not suites and [p.name for p in tmp_path.iterdir()] == ["file"]
