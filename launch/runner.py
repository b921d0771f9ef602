"""Runs a command: parses its flags, and turns a mistake of the user's into one line and exit code 2."""

from __future__ import annotations

import errno
import importlib.util
import pathlib
import sys
from collections.abc import Callable

from absl import flags
from ml_collections import ConfigDict, config_flags

import partrep

FLAGS = flags.FLAGS


def define_config() -> None:
    """Declares `--config=configs/TASK.py[:preset[,smoke][,key=value...]]` and its `--config.key=` overrides."""
    config_flags.DEFINE_config_file("config", None, "configs/TASK.py[:preset[,smoke][,key=value...]]")


def config_from_flags() -> ConfigDict:
    """The parsed configuration; without `--config` a `UserError`."""
    if FLAGS.config is None:
        raise partrep.UserError("no --config given; expected --config=configs/TASK.py[:preset[,smoke][,key=value]]")
    return FLAGS.config


def load_config(argument: str) -> ConfigDict:
    """The configuration of `configs/TASK.py[:preset...]`, read without flags."""
    path, _, preset = argument.partition(":")
    if not pathlib.Path(path).is_file():
        raise partrep.UserError(f"no config file {path!r}; expected configs/TASK.py, one of: {_known_configs()}")
    spec = importlib.util.spec_from_file_location("partrep_config", path)
    if spec is None or spec.loader is None:
        raise partrep.UserError(f"{path!r} is not a Python file; expected configs/TASK.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not hasattr(module, "get_config"):
        raise partrep.UserError(f"{path!r} has no get_config(argument); expected a config file such as configs/fewshot.py")
    return module.get_config(preset or None)


def run(main: Callable[[], None], argv: list[str] | None = None) -> None:
    """Parses the flags and calls `main()`; exits 2 with one line on stderr for a `UserError` or a wrong flag.

    Any other error keeps its traceback and exit code 1.
    """
    argv = sys.argv if argv is None else argv
    _print_help(argv)
    try:
        _parse(argv)
        main()
    except (partrep.UserError, flags.Error) as error:
        _fail(str(error))
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        _fail(f"disk full: {error}; expected room for the workdir (checkpoints, metrics, report)")
    except KeyboardInterrupt:
        print("interrupted; run the same command again to resume", file=sys.stderr)
        sys.exit(130)


def _fail(message: str) -> None:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(2)


def _print_help(argv: list[str]) -> None:
    if not {"-h", "--help", "-help"} & set(argv[1:]):
        return
    main = sys.modules["__main__"]
    print((main.__doc__ or "").strip() + "\n")
    for module_flags in [FLAGS.flags_by_module_dict().get(argv[0], []), FLAGS.flags_by_module_dict().get("__main__", [])]:
        for flag in module_flags:
            print(f"  --{flag.name}: {flag.help} (default: {flag.default})")
    sys.exit(0)


def _parse(argv: list[str]) -> None:
    config = _flag_value(argv, "config")
    overrides = [a for a in argv[1:] if a.startswith(("--config.", "-config."))]
    if config is not None and "config" in FLAGS:
        _check_overrides(load_config(config), overrides)
    elif overrides and "config" in FLAGS:
        raise partrep.UserError(f"{overrides[0]!r} changes a config, and no --config was given; expected --config=configs/TASK.py")
    extra = FLAGS(argv)[1:]
    if extra:
        raise partrep.UserError(f"unexpected argument {extra[0]!r}; expected only --flags")


def _flag_value(argv: list[str], name: str) -> str | None:
    for index, argument in enumerate(argv[1:], start=1):
        flag, equals, value = argument.lstrip("-").partition("=")
        if argument.startswith("-") and flag == name:
            return value if equals else (argv[index + 1] if index + 1 < len(argv) else "")
    return None


def _check_overrides(config: ConfigDict, overrides: list[str]) -> None:
    for override in overrides:
        path = override.lstrip("-").partition("=")[0].split(".")[1:]
        node = config
        for depth, key in enumerate(path):
            if not isinstance(node, ConfigDict) or key not in node:
                where = ".".join(["config", *path[:depth]])
                known = ", ".join(sorted(node.keys())) if isinstance(node, ConfigDict) else "no further keys"
                raise partrep.UserError(f"unknown key {key!r} in {override!r}; {where} has: {known}")
            node = node[key]


def _known_configs() -> str:
    return ", ".join(sorted(str(p) for p in pathlib.Path("configs").glob("*.py") if p.stem not in ("__init__", "common")))
