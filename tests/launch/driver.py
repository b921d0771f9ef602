"""Runs many command lines for a test: `python driver.py < cases.json > outcomes.json`.

A case is {"command": "main", "argv": [...]}. Everything is imported once, and each command runs in a fork of its own
with the real runner, real file descriptors and a real exit code: what a shell would see, without its two seconds of
imports.
"""

from __future__ import annotations

import importlib
import json
import os
import pathlib
import sys
import tempfile
import traceback

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from launch import record, runner  # noqa: E402, F401
from partrep.report import page  # noqa: E402, F401
from partrep.tasks import fewshot_run  # noqa: E402, F401


def in_child(case: dict) -> int:
    """The exit code of a command."""
    module = importlib.import_module(f"launch.{case['command']}")
    sys.argv = [case["command"], *case["argv"]]
    try:
        runner.run(module.main, module.FLAGS, module.__doc__)
    except SystemExit as stopped:
        return int(stopped.code or 0)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def run(case: dict) -> dict:
    """{"code", "out", "err"} of a command."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        child = os.fork()
        if child == 0:
            os.dup2(out.fileno(), 1)
            os.dup2(err.fileno(), 2)
            code = in_child(case)
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read())
    return {"code": code, "out": texts[0], "err": texts[1]}


if __name__ == "__main__":
    os.chdir(ROOT)
    print(json.dumps([run(case) for case in json.load(sys.stdin)]))
