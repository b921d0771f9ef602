"""Runs presets under several seeds and compares them on the same episodes, with paired intervals.

    python -m launch.compare --config=configs/fewshot.py --presets=parts,gap --seeds=0,1,2 --workdir=DIR

Each run lives in DIR/PRESET-SEED as `launch.main` leaves it; finished ones are kept. Writes DIR/compare.json and
DIR/report/index.html. The first preset's main reader is what all others are compared with. The last line on stdout
names the report.
"""

from __future__ import annotations

import pathlib
import subprocess
import sys
from collections.abc import Sequence

import numpy as np
from absl import flags
from ml_collections import ConfigDict

from launch import record, runner
from partrep import UserError
from partrep.metrics.intervals import Interval, crossed_interval, mean_interval, paired_interval
from partrep.report.content import ComparePage, Result
from partrep.report.page import write_compare
from partrep.report.tables import format_table
from partrep.train.logging import read_metrics

FLAGS = flags.FlagValues()
flags.DEFINE_string("config", None, "configs/TASK.py, without a preset", flag_values=FLAGS)
flags.DEFINE_list("presets", None, "presets to compare, the one the page is about first", flag_values=FLAGS)
flags.DEFINE_list("seeds", ["0", "1", "2"], "seeds of each preset", flag_values=FLAGS)
flags.DEFINE_string("workdir", None, "folder of the comparison", flag_values=FLAGS)

Table = dict[str, np.ndarray]  # reader -> accuracy f64 [S,E] of each seed and episode


def main(overrides: list[str]) -> None:
    """Runs what is missing, then makes the table."""
    presets, seeds = _names("presets"), _names("seeds")
    if not all(seed.isdigit() for seed in seeds):
        raise UserError(f"--seeds={','.join(seeds)}; expected whole numbers such as 0,1,2")
    if not FLAGS.workdir:
        raise UserError("no --workdir given; expected the folder of the comparison")
    workdir = pathlib.Path(FLAGS.workdir)
    runs = {(p, s): workdir / f"{p.replace(',', '-')}-{s}" for p in presets for s in seeds}
    configs = {run: _config(*run, overrides) for run in runs}  # all of them parsed before the first is run
    for run, folder in runs.items():
        if not record.finished(folder, configs[run]):
            _train(*run, folder, overrides)
    tables = {p: _table([runs[p, s] for s in seeds]) for p in presets}
    mains = {p: _main_row(runs[p, seeds[0]]) for p in presets}
    rows = compare_rows(tables, mains, {p: _vectors(runs[p, seeds[0]]) for p in presets})
    page = ComparePage(
        title=f"{', '.join(presets)}: {len(seeds)} seeds on the same episodes",
        conclusion=_conclusion(rows),
        results=rows,
        facts={"seeds": ", ".join(seeds), "episodes": next(iter(tables[presets[0]].values())).shape[1]},
        results_note="Intervals over seeds and episodes; differences are paired by episode.",
        histories={p: [read_metrics(runs[p, s] / "metrics.jsonl") for s in seeds] for p in presets},
        command=runner.command("compare", *sys.argv[1:]),
    )
    path = write_compare(workdir / "report" / "index.html", page)
    record.write_json(workdir / "compare.json", _flat(rows))
    print("\n" + format_table(rows))
    print(f"\n{page.conclusion}")
    print(f"report: {path}", flush=True)


def _names(flag: str) -> list[str]:
    names = FLAGS[flag].value
    if not names or not all(names) or len(set(names)) < len(names):
        raise UserError(f"--{flag}={','.join(names or [])}; expected different names with commas between")
    return names


def _config(preset: str, seed: str, overrides: Sequence[str]) -> ConfigDict:
    return runner.parse_config(f"{FLAGS.config or ''}:{preset}", [*overrides, f"--config.seed={seed}"])


def _train(preset: str, seed: str, folder: pathlib.Path, overrides: Sequence[str]) -> None:
    """One run in a process of its own, so that no memory and no compiled program stays."""
    print(f"running {preset}, seed {seed}, in {folder}", flush=True)
    flags_ = [f"--config={FLAGS.config}:{preset}", f"--config.seed={seed}", f"--workdir={folder}", *overrides]
    done = subprocess.run([sys.executable, "-m", "launch.main", *flags_], check=False)
    if done.returncode:
        raise UserError(f"the run in {folder} ended with exit code {done.returncode}; see its lines above")


def _table(folders: Sequence[pathlib.Path]) -> Table:
    prints = {record.read_json(folder / record.RESULTS)["provenance"]["data"]["episodes"] for folder in folders}
    if len(prints) > 1:
        raise UserError(f"runs of {len(prints)} different sets of episodes; expected one (same data, same evaluation)")
    episodes = [record.read_episodes(folder) for folder in folders]
    return {name: np.stack([run[name] for run in episodes]) for name in episodes[0]}


def _main_row(folder: pathlib.Path) -> str:
    return next(row.name for row in record.read_rows(folder)["rows"] if row.reference)


def _vectors(folder: pathlib.Path) -> dict[str, int | None]:
    return {row.name: row.vectors for row in record.read_rows(folder)["rows"]}


def interval(values: np.ndarray) -> Interval:
    """Over episodes where all seeds agree or there is one (no seed: raw pixels), else over seeds and episodes."""
    same = len(values) == 1 or np.ptp(values, axis=0).max() == 0
    return mean_interval(values[0]) if same else crossed_interval(values)


def compare_rows(
    tables: dict[str, Table], mains: dict[str, str], vectors: dict[str, dict[str, int | None]]
) -> tuple[Result, ...]:
    """All readers of the first preset, and the main reader of each other one; differences from the first's main."""
    first = next(iter(tables))
    chosen = [(name, first, name) for name in tables[first]]
    chosen += [(f"{p}: {mains[p]}", p, mains[p]) for p in tables if p != first]
    reference = tables[first][mains[first]]
    rows = []
    for label, preset, name in chosen:
        values = tables[preset][name]
        is_main = (preset, name) == (first, mains[first])
        difference = None if is_main else _difference(reference, values)
        rows.append(
            Result.measured(
                label,
                interval(values),
                difference,
                vectors=vectors[preset][name],
                reference=is_main,
                seeds=tuple(float(seed.mean()) for seed in values),
                note="its own training" if preset != first else "",
            )
        )
    return tuple(rows)


def _difference(reference: np.ndarray, values: np.ndarray) -> Interval:
    if reference.shape != values.shape:
        raise UserError(f"{reference.shape} and {values.shape} seeds and episodes; expected as many of each")
    return paired_interval(reference[0], values[0]) if len(values) == 1 else paired_interval(reference, values)


def _conclusion(rows: Sequence[Result]) -> str:
    main = next(row for row in rows if row.reference)
    trained = [row for row in rows if row.note]
    best = max(trained or [row for row in rows if not row.reference], key=lambda row: row.value)
    assert best.difference is not None and best.difference_interval is not None
    low, high = (100 * bound for bound in best.difference_interval)
    verdict = "above zero" if low > 0 else "below zero" if high < 0 else "around zero: the difference may be chance"
    return (
        f"{main.name} recognise {100 * main.value:.1f} % of the queries, {100 * best.difference:+.1f} points from "
        f"{best.name} ({100 * best.value:.1f} %); the interval [{low:.1f}, {high:.1f}] lies {verdict}."
    )


def _flat(rows: Sequence[Result]) -> dict[str, float]:
    numbers: dict[str, float] = {}
    for row in rows:
        key = row.name.replace(" ", "_")
        numbers[key] = row.value
        if row.interval:
            numbers |= {f"{key}/low": row.interval[0], f"{key}/high": row.interval[1]}
        if row.difference is not None and row.difference_interval is not None:
            numbers |= {f"{key}/difference": row.difference, f"{key}/difference_low": row.difference_interval[0],
                        f"{key}/difference_high": row.difference_interval[1]}  # fmt: skip
    return numbers


if __name__ == "__main__":
    runner.run(main, FLAGS, __doc__)
