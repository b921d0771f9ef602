"""Runs a command: parses its flags and its config, and turns a mistake of the user's into one line and exit code 2."""

from __future__ import annotations

import errno
import importlib.util
import pathlib
import re
import shlex
import sys
from collections.abc import Callable, Sequence
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags

import partrep

KINDS = {bool: "true or false", int: "a whole number", float: "a number", tuple: "a tuple", str: "a text"}
NUMBERS = {"int": KINDS[int], "float": KINDS[float]}
"""The types of flags whose error does not say what fits, as absl calls them."""
PLACES = (
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.EEXIST),
    *(errno.ENAMETOOLONG, errno.ELOOP),
)
"""Errors of the system that are about the path that was given."""
EXPECTED = "--config=configs/TASK.py[:preset[,smoke][,key=value...]]"


def run(
    main: Callable[[list[str]], None], values: flags.FlagValues, help_text: str, argv: Sequence[str] | None = None
) -> None:
    """Parses the flags and calls `main(overrides)`, the `--config.key=value` arguments as they were given.

    A `UserError`, a wrong flag and a full disk end with one line on stderr and exit code 2. Any other error keeps
    its traceback and exit code 1.
    """
    argv = list(sys.argv if argv is None else argv)
    try:
        if {"-h", "--help", "-help"} & set(argv[1:]):
            print(f"{help_text.strip()}\n\n{_flag_help(values)}")
            sys.exit(0)
        main(parse_flags(values, argv))
    except (partrep.UserError, flags.Error) as error:
        _fail(str(error))
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            _fail(f"{error.filename or 'the workdir'}: no space left on the disk; make room and start again")
        if error.errno not in PLACES:
            raise
        _fail(f"{error.filename}: {error.strerror}; expected a place that can be read and written")
    except KeyboardInterrupt:
        print("interrupted; run the same command again to resume", file=sys.stderr)
        sys.exit(130)


def parse_flags(values: flags.FlagValues, argv: Sequence[str]) -> list[str]:
    """Sets the flags from `argv` and returns its `--config.key=value` arguments."""
    for name in values:
        values[name].unparse()
    overrides = [argument for argument in argv[1:] if argument.startswith(("--config.", "-config."))]
    if overrides and "config" not in values:
        raise partrep.UserError(f"unexpected argument {overrides[0]!r}; this command takes no config")
    rest = [argument for argument in argv if argument not in overrides]
    try:
        extra = values(rest)[1:]
    except flags.UnrecognizedFlagError as error:
        known = ", ".join(f"--{name}" for name in values)
        raise partrep.UserError(f"unknown flag --{error.flagname}; expected one of {known}") from error
    except flags.IllegalFlagValueError as error:
        raise partrep.UserError(_misfit_flag(values, str(error))) from error
    if extra:
        raise partrep.UserError(f"unexpected argument {extra[0]!r}; expected --flags alone")
    flags.FLAGS.mark_as_parsed()  # Grain's worker processes ask for it
    return overrides


def require(values: flags.FlagValues, names: Sequence[str], usage: str) -> None:
    """Raises a `UserError` that names the first of some flags that is not given; `usage` says what is expected."""
    for name in names:
        if not values[name].value:
            raise partrep.UserError(f"--{name} is missing; expected {usage}")


def parse_config(argument: str | None, overrides: Sequence[str] = ()) -> ConfigDict:
    """The configuration that `configs/TASK.py[:preset...]` and `--config.key=value` arguments name."""
    if not argument:
        found = f"{overrides[0]!r} changes a config, and none was given" if overrides else "no --config given"
        raise partrep.UserError(f"{found}; expected {EXPECTED}")
    default = load_config(argument)
    _check_overrides(default, overrides)
    argv = ["", f"--config={argument}", *overrides]
    values = flags.FlagValues()
    config_flags.DEFINE_config_file("config", None, flag_values=values, sys_argv=argv)
    try:
        values(argv)
    except flags.IllegalFlagValueError as error:
        raise partrep.UserError(_misfit(str(error), default, overrides)) from error
    if values.config.get("task") != default.get("task"):
        raise partrep.UserError(f"config.task is {values.config.task!r}; expected {default.task!r}, that of {argument}")
    for override in overrides:
        if not _fits(_value(values.config, override), _value(default, override)):
            raise partrep.UserError(_misfit(override, default, overrides))
    return values.config


def load_config(argument: str) -> ConfigDict:
    """The configuration of `configs/TASK.py[:preset...]` without changes."""
    path, _, preset = argument.partition(":")
    return load_module(path).get_config(preset or None)


def with_preset(argument: str, preset: str) -> str:
    """A config argument without a preset, with one.

    >>> with_preset("configs/fewshot.py:smoke,level=easy", "gap"), with_preset("configs/fewshot.py", "gap")
    ('configs/fewshot.py:gap,smoke,level=easy', 'configs/fewshot.py:gap')
    """
    path, _, rest = argument.partition(":")
    return f"{path}:{preset}" + (f",{rest}" if rest else "")


def load_module(path: str) -> Any:
    """The config file at a path as a module."""
    if not pathlib.Path(path).is_file():
        raise partrep.UserError(f"no config file {path!r}; expected one of: {_known_configs()}")
    spec = importlib.util.spec_from_file_location("partrep_config", path)
    if spec is None or spec.loader is None:
        raise partrep.UserError(f"{path!r} is not a Python file; expected one of: {_known_configs()}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not hasattr(module, "get_config"):
        raise partrep.UserError(f"{path!r} has no get_config(argument); expected one of: {_known_configs()}")
    return module


def command(name: str, *arguments: str) -> str:
    """A command line that can be pasted into a shell.

    >>> command("main", "--config=configs/fewshot.py:gap", "--workdir=a b")
    "python -m launch.main --config=configs/fewshot.py:gap '--workdir=a b'"
    """
    return shlex.join(["python", "-m", f"launch.{name}", *arguments])


def _fail(message: str) -> None:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(2)


def _misfit_flag(values: flags.FlagValues, said: str) -> str:
    """What absl said of the value of a flag; of one that is no number, what is expected, which absl leaves out."""
    found = re.match(r"flag --(\w+)=(.*?): (?:invalid literal|could not convert)", said, re.DOTALL)
    kind = NUMBERS.get(values[found[1]].flag_type()) if found else None
    if not found or not kind:
        return said
    return f"--{found[1]}={found[2]} does not fit; expected {kind}: {values[found[1]].help}"


def _flag_help(values: flags.FlagValues) -> str:
    lines = [f"  --{name}: {values[name].help} (default: {values[name].default})" for name in values]
    if "config" in values:
        lines.append("  --config.KEY=VALUE: changes one value of the config")
    return "\n".join(["Flags:", *lines])


def _check_overrides(config: ConfigDict, overrides: Sequence[str]) -> None:
    """Raises a `UserError` unless each override names a value, not a group, and gives one; a text may be empty."""
    for override in overrides:
        name, equals, value = override.lstrip("-").partition("=")
        if not equals:
            raise partrep.UserError(f"{override!r} gives no value; expected --{name}=VALUE")
        node, path = config, name.split(".")[1:]
        for depth, key in enumerate(path):
            where = ".".join(["config", *path[:depth]])
            if not isinstance(node, ConfigDict):
                raise partrep.UserError(f"unknown key {key!r} in {override!r}; {where} is the value {node!r}")
            if key not in node:
                known = ", ".join(sorted(node.keys())) or "no keys"
                raise partrep.UserError(f"unknown key {key!r} in {override!r}; {where} has: {known}")
            node = node[key]
        if isinstance(node, ConfigDict):
            known = ", ".join(f"{name}.{key}" for key in sorted(node.keys())) or "no keys"
            raise partrep.UserError(f"{override!r} sets a whole group; expected one of its values: {known}")
        if not value and not isinstance(node, str):  # nothing is a text: it takes the end off a stage
            raise partrep.UserError(f"{override!r} gives no value; expected --{name}=VALUE")


def _value(config: ConfigDict, override: str) -> Any:
    node: Any = config
    for key in override.partition("=")[0].split(".")[1:]:
        node = node[key]
    return node


def _fits(value: Any, default: Any) -> bool:
    """Whether the entries of a tuple are of the kind of the default's; config_flags looks at other values only."""
    if not isinstance(default, tuple) or not default:
        return True
    number = isinstance(default[0], int | float) and not isinstance(default[0], bool)
    kind = (int, float) if number and isinstance(default[0], float) else type(default[0])
    return all(isinstance(entry, kind) for entry in value)


def _misfit(found: str, default: ConfigDict, overrides: Sequence[str]) -> str:
    """One line on the override that `found` mentions: what its default is and hence what fits."""
    override = next((o for o in overrides if o.lstrip("-") in found), found)
    value = _value(default, override)
    return f"{override!r} does not fit; expected {KINDS.get(type(value), 'a value')} such as {value!r}"


def _known_configs() -> str:
    files = pathlib.Path("configs").glob("*.py")
    known = sorted(path.as_posix() for path in files if path.stem not in ("__init__", "common"))
    return ", ".join(known) or "configs/TASK.py, run from a checkout"
