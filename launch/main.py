"""Trains, evaluates and reports one config; the same workdir resumes.

    python -m launch.main --config=configs/TASK.py[:preset[,smoke][,key=value...]] [--workdir=DIR] [--config.key=value]

Writes DIR/config.json, metrics.jsonl, results.json, rows.json, episodes.npz, test_evaluations.json, checkpoints/,
tensorboard/ and report/index.html.
The last line on stdout names the report.
"""

from __future__ import annotations

import dataclasses
import pathlib
import sys
import time

from absl import flags
from ml_collections import ConfigDict

from launch import runner
from partrep import UserError, lookup

FLAGS = flags.FlagValues()
flags.DEFINE_string("config", None, "configs/TASK.py[:preset[,smoke][,key=value...]]", flag_values=FLAGS)
flags.DEFINE_string("workdir", None, "folder of the run; none: runs/TASK-PRESET", flag_values=FLAGS)
flags.DEFINE_bool("distributed", False, "join the other processes of this run first", flag_values=FLAGS)
flags.DEFINE_string("coordinator", None, "HOST:PORT of process 0, where no scheduler tells", flag_values=FLAGS)
flags.DEFINE_integer("processes", None, "number of processes, where no scheduler tells", flag_values=FLAGS)
flags.DEFINE_integer("process", None, "number of this process, where no scheduler tells", flag_values=FLAGS)


def main(overrides: list[str]) -> None:
    """Runs the config of the command line."""
    config = runner.parse_config(FLAGS.config, overrides)
    use_devices(config)
    workdir = pathlib.Path(FLAGS.workdir or f"runs/{config.task}-{config.preset}")
    run_config(config, workdir, runner.command("main", *sys.argv[1:]))


def use_devices(config: ConfigDict) -> None:
    """Joins the other processes where `--distributed` says so; alone on a CPU, makes use of its cores."""
    given = [name for name in ("coordinator", "processes", "process") if FLAGS[name].value is not None]
    if given and not FLAGS.distributed:
        raise UserError(f"--{given[0]} without --distributed; expected both, or neither")
    from partrep.train import sharding

    if FLAGS.distributed:
        sharding.initialize_distributed(FLAGS.coordinator, FLAGS.processes, FLAGS.process)
        return
    sharding.share_cpu_cores([batch_size(stage) for stage in config.stages.values() if stage.steps])


def batch_size(stage: ConfigDict) -> int:
    """How many entries a stage's batches have: images, episodes, or some of each of several classes."""
    if "examples" in stage:
        return stage.classes * stage.examples
    return stage.get("batch_size", stage.get("episodes", 1))


def run_config(config: ConfigDict, workdir: pathlib.Path, command: str) -> None:
    """Trains, evaluates and reports `config` in `workdir`; `command` is what the report says to run again."""
    from launch import record
    from partrep.report.page import write_report
    from partrep.report.tables import format_table
    from partrep.tasks import TASKS
    from partrep.train import sharding
    from partrep.train.logging import read_metrics

    start = time.monotonic()
    record.check(workdir, config)
    job = lookup(TASKS, config.task, "task")(config)
    with record.claimed(workdir, config):
        outcome = job(workdir)
        if not sharding.is_writer():
            return
        provenance = record.provenance(config, outcome, time.monotonic() - start)
        page = dataclasses.replace(
            outcome.page,
            history=read_metrics(workdir / "metrics.jsonl"),
            provenance=provenance,
            config=config.to_dict(),
            command=command,
        )
        path = write_report(workdir / "report" / "index.html", page)
        record.save_results(workdir, outcome, provenance)
    print("\n" + format_table(outcome.rows, outcome.measure))
    print(f"\n{outcome.page.conclusion}")
    print(f"report: {path}", flush=True)


if __name__ == "__main__":
    runner.run(main, FLAGS, __doc__)
