"""Trains, evaluates and reports one config; the same workdir resumes.

    python -m launch.main --config=configs/TASK.py[:preset[,smoke][,key=value...]] [--workdir=DIR] [--config.key=value]

Writes DIR/config.json, metrics.jsonl, results.json, episodes.npz, checkpoints/ and report/index.html.
"""

from __future__ import annotations

import dataclasses
import pathlib
import time

from absl import flags

from launch import runner

flags.DEFINE_string("workdir", None, "folder of the run (default: runs/TASK-PRESET)")
flags.DEFINE_bool("distributed", False, "join the other processes of this run before anything else")
flags.DEFINE_string("coordinator", None, "HOST:PORT of process 0, where no scheduler tells")
flags.DEFINE_integer("processes", None, "number of processes, where no scheduler tells")
flags.DEFINE_integer("process", None, "number of this process, where no scheduler tells")


def main() -> None:
    """Runs the config."""
    config = runner.config_from_flags()
    if flags.FLAGS.distributed:
        from partrep.train import sharding

        sharding.initialize_distributed(flags.FLAGS.coordinator, flags.FLAGS.processes, flags.FLAGS.process)
    workdir = pathlib.Path(flags.FLAGS.workdir or f"runs/{config.task}-{config.preset}")
    run_config(config, workdir)


def run_config(config, workdir: pathlib.Path) -> None:
    """Trains and reports `config` in `workdir`."""
    from launch import record
    from partrep.report.page import write_fewshot
    from partrep.report.tables import format_table
    from partrep.tasks import TASKS
    from partrep.train import sharding
    from partrep.train.logging import read_metrics

    start = time.monotonic()
    record.claim(workdir, config)
    outcome = TASKS[config.task](config, workdir)
    if not sharding.is_writer():
        return
    provenance = record.provenance(config, outcome, time.monotonic() - start)
    record.save_results(workdir, outcome, provenance)
    page = dataclasses.replace(
        outcome.page,
        history=read_metrics(workdir / "metrics.jsonl"),
        provenance=provenance,
        config=config.to_dict(),
        command=record.command(),
    )
    path = write_fewshot(workdir / "report" / "index.html", page)
    print("\n" + format_table(outcome.rows, outcome.measure))
    print(f"\n{outcome.page.conclusion}")
    print(f"report: {path}")


if __name__ == "__main__":
    runner.define_config()
    runner.run(main)
