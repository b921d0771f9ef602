"""The runner: what it accepts, and the one line with exit code 2 that every mistake ends in."""

from __future__ import annotations

import errno

import pytest
from absl import flags

import partrep
from launch import runner

FEWSHOT = "configs/fewshot.py"


@pytest.fixture(autouse=True)
def in_checkout(monkeypatch, request):
    monkeypatch.chdir(request.config.rootpath)


@pytest.fixture
def values():
    made = flags.FlagValues()
    flags.DEFINE_string("config", None, "the config", flag_values=made)
    flags.DEFINE_integer("count", 3, "how many", flag_values=made)
    return made


def call(main, values, *argv):
    runner.run(main, values, "What it does.", ["command", *argv])


def test_main_gets_the_overrides_and_the_flags_are_set(values):
    seen = []
    call(lambda overrides: seen.append((overrides, values.config, values.count)), values, "--config=a", "--config.b=1")
    assert seen == [(["--config.b=1"], "a", 3)]


def test_flags_of_an_earlier_call_are_forgotten(values):
    seen = []
    for argv in (["--count=5"], []):
        call(lambda _: seen.append(values.count), values, *argv)
    assert seen == [5, 3]


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_prints_every_flag_and_exits_0(values, capsys, flag):
    with pytest.raises(SystemExit) as stopped:
        call(pytest.fail, values, flag)
    out = capsys.readouterr().out
    assert stopped.value.code == 0
    assert "What it does." in out and "--count: how many (default: 3)" in out and "--config.KEY=VALUE" in out


@pytest.mark.parametrize(
    "argv, message",
    [
        (["--nosuch=1"], "unknown flag --nosuch; expected one of"),
        (["--count=many"], "many"),
        (["--count=1.5"], "--count=1.5 does not fit; expected a whole number: how many"),
        (["--count"], "count"),
        (["stray"], "unexpected argument 'stray'"),
        (["--config.a=1"], "no --config|changes a config"),
    ],
)
def test_wrong_flags_end_with_one_line_and_exit_2(values, capsys, argv, message):
    with pytest.raises(SystemExit) as stopped:
        call(lambda overrides: runner.parse_config(values.config, overrides), values, *argv)
    lines = capsys.readouterr().err.splitlines()
    assert stopped.value.code == 2
    assert len(lines) == 1 and lines[0].startswith("error: ")
    assert any(word in lines[0] for word in message.split("|"))


def fail_with(error):
    def main(_):
        raise error

    return main


@pytest.mark.parametrize(
    "error, code, words",
    [
        (partrep.UserError("found a\n  and b; expected c"), 2, "error: found a and b; expected c"),
        (OSError(errno.ENOSPC, "No space left on device", "/full/file"), 2, "error: /full/file: no space left"),
        (OSError(errno.EDQUOT, "Quota"), 2, "error: the workdir: no space left"),
        (OSError(errno.ENAMETOOLONG, "File name too long", "nnn"), 2, "error: nnn: File name too long; expected a place"),
        (KeyboardInterrupt(), 130, "interrupted; run the same command again to resume"),
    ],
)
def test_errors_of_the_user_and_of_the_disk_take_one_line(values, capsys, error, code, words):
    with pytest.raises(SystemExit) as stopped:
        call(fail_with(error), values)
    (line,) = capsys.readouterr().err.splitlines()
    assert stopped.value.code == code and line.startswith(words)


@pytest.mark.parametrize("error", [ValueError("a bug"), OSError(errno.EIO, "broken disk")])
def test_other_errors_keep_their_traceback(values, error):
    with pytest.raises(type(error)):
        call(fail_with(error), values)


def test_a_command_without_config_refuses_overrides(capsys):
    with pytest.raises(SystemExit) as stopped:
        call(pytest.fail, flags.FlagValues(), "--config.seed=3")
    assert stopped.value.code == 2 and "takes no config" in capsys.readouterr().err


def test_configs_are_read_with_preset_keys_and_overrides():
    config = runner.parse_config(
        f"{FEWSHOT}:gap,smoke,level=easy",
        ["--config.seed=7", "--config.model.backbone.widths=(32,)", "--config.label_smoothing=0"],
    )
    assert (config.preset, config.data.level, config.seed) == ("gap-smoke", "easy", 7)
    assert config.model.backbone.widths == (32,) and config.label_smoothing == 0.0
    assert config.is_locked
    assert runner.load_config(FEWSHOT).preset == "parts"


def test_a_text_may_be_empty():
    stages = runner.parse_config("configs/classify.py:prototypes", ["--config.stages.joint.at_end="]).stages
    assert (stages.warm.at_end, stages.joint.at_end) == ("push", "")


@pytest.mark.parametrize(
    "argument, overrides, message",
    [
        (None, [], "no --config given; expected --config=configs/TASK.py"),
        ("", [], "no --config given"),
        (None, ["--config.a=1"], "'--config.a=1' changes a config, and none was given"),
        ("configs/nosuch.py", [], "no config file 'configs/nosuch.py'; expected one of: configs/classify.py, configs/fewshot.py"),
        ("configs", [], "no config file 'configs'"),
        ("README.md", [], "'README.md' is not a Python file"),
        ("setup.py:x", [], None),
        (f"{FEWSHOT}:nosuch", [], "unknown preset 'nosuch'; expected one of parts, landmarks"),
        (f"{FEWSHOT}:parts,gap", [], "unknown preset 'gap'"),
        (f"{FEWSHOT}:color=red", [], "unknown key 'color' in the config argument; expected one of level"),
        (f"{FEWSHOT}:level=huge", [], "unknown value level='huge'; expected one of standard, easy, hard"),
        (FEWSHOT, ["--config.nosuch=1"], "unknown key 'nosuch' in '--config.nosuch=1'; config has: data, dtype"),
        (FEWSHOT, ["--config.data.colour=1"], "unknown key 'colour' in '--config.data.colour=1'; config.data has: "),
        (FEWSHOT, ["--config.seed.x=1"], "unknown key 'x' in '--config.seed.x=1'; config.seed is the value 0"),
        (FEWSHOT, ["--config.model=3"], "sets a whole group; expected one of its values: config.model.backbone"),
        (FEWSHOT, ["--config.seed"], "'--config.seed' gives no value; expected --config.seed=VALUE"),
        (FEWSHOT, ["--config.seed="], "gives no value"),
        (FEWSHOT, ["--config.seed=abc"], "'--config.seed=abc' does not fit; expected a whole number such as 0"),
        (FEWSHOT, ["--config.seed=1.5"], "'--config.seed=1.5' does not fit; expected a whole number"),
        (FEWSHOT, ["--config.head.scale=big"], "'--config.head.scale=big' does not fit; expected a number such as"),
        (FEWSHOT, ["--config.model.backbone.widths=a"], "does not fit; expected a tuple such as (64,)"),
        (FEWSHOT, ["--config.model.backbone.widths=(1.5,)"], "does not fit; expected a tuple such as (64,)"),
        (f"{FEWSHOT}:folder", ["--config.data.warp.scale=('a',)"], "does not fit; expected a tuple such as (0.9, 1.2)"),
    ],
)
def test_wrong_configs_name_what_was_found_and_expected(argument, overrides, message, tmp_path):
    if message is None:
        path = tmp_path / "empty.py"
        path.write_text("x = 1\n")
        argument, message = str(path), "has no get_config(argument)"
    with pytest.raises(partrep.UserError) as raised:
        runner.parse_config(argument, overrides)
    assert message in str(raised.value)


def test_a_config_file_with_an_error_of_its_own_keeps_the_traceback(tmp_path):
    path = tmp_path / "broken.py"
    path.write_text("def get_config(argument):\n    return 1 / 0\n")
    with pytest.raises(ZeroDivisionError):
        runner.parse_config(str(path))
