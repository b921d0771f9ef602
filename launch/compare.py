"""Runs presets under several seeds and compares them on the same episodes, with paired intervals.

    python -m launch.compare --config=configs/TASK.py[:smoke][,key=value...] --presets=a,b --seeds=0,1,2 --workdir=DIR
                             [--worlds=100,101,102] [--backbone=PRESET] [--config.key=value]

With --worlds each preset runs under each seed in each of these worlds of birds, and a seed's worlds count as one run.
With --backbone that preset is trained once a seed and world, in DIR/backbone-SEED, and presets with the same backbone
take that of this run as it is, with the settings of features=given; the others train their own.
Each run lives in DIR/PRESET-SEED (with --worlds -worldWORLD after it) as `launch.main` leaves it: finished ones are
kept, others go on. The table has the readers of the first preset and the main reader of each other one; the first's
main reader is what all are compared with. Writes DIR/compare.json and DIR/report/index.html. The last line on stdout
names the report.
"""

from __future__ import annotations

import datetime
import itertools
import os
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from absl import flags
from ml_collections import ConfigDict

from launch import runner
from partrep import UserError

FLAGS = flags.FlagValues()
flags.DEFINE_string("config", None, "configs/TASK.py[:smoke][,key=value...], without a preset", flag_values=FLAGS)
flags.DEFINE_list("presets", None, "presets to compare, the one the page is about first", flag_values=FLAGS)
flags.DEFINE_list("seeds", ["0", "1", "2"], "seeds of each preset", flag_values=FLAGS)
flags.DEFINE_list("worlds", [], "worlds of birds; none: the config's own", flag_values=FLAGS)
flags.DEFINE_string("backbone", None, "preset that trains the backbone of those with the same", flag_values=FLAGS)
flags.DEFINE_string("workdir", None, "folder of the comparison", flag_values=FLAGS)


COMPARED = (
    ("data", "name"),
    *(("evaluation", name) for name in ("ways", "shots", "queries", "episodes")),
)  # what must be the same in all runs; the data of the official runs and the episodes are compared again at the end
BACKBONE = "backbone"
ON_BACKBONE = "features=given"  # the key of a preset's settings on such a backbone
UNSEEN = ("--config.evaluation.audit_images=0", "--config.evaluation.pictures=0")  # of a run that serves the others
NOTE = (
    "Intervals over seeds and episodes (of classifiers: classes); differences are paired, seed by seed and one by one."
)
RESPLITS = (
    "Mean accuracy of the classes. Each seed draws a split of its own of the same photos; intervals are over these "
    "splits (Student's t), and as the splits share photos they are too narrow for other photos of these classes."
)


class Planned(NamedTuple):
    """One run of the comparison: what `launch.main` is told, and the config that makes."""

    preset: str
    seed: int
    arguments: tuple[str, ...]
    folder: pathlib.Path
    config: ConfigDict


def main(overrides: list[str]) -> None:
    """Runs what is missing, then makes the table."""
    from launch import record

    if not FLAGS.workdir:
        raise UserError("no --workdir given; expected the folder of the comparison")
    workdir = pathlib.Path(FLAGS.workdir)
    worlds = numbers("worlds") if FLAGS.worlds else [None]
    planned = plan(FLAGS.config, names("presets"), numbers("seeds"), workdir, overrides, worlds, FLAGS.backbone)
    for run in planned:
        record.check(run.folder, run.config)
    missing = [run for run in planned if not record.finished(run.folder, run.config)]
    train(missing)
    write(workdir, compared(planned), runner.command("compare", *sys.argv[1:]))


def names(flag: str) -> list[str]:
    """The entries of a list flag: at least one, all different."""
    found = [name.strip() for name in FLAGS[flag].value or ()]
    if not found or not all(found) or len(set(found)) < len(found):
        raise UserError(f"--{flag}={','.join(found)}; expected different names with commas between")
    return found


def numbers(flag: str) -> list[int]:
    """The entries of a list flag as whole numbers."""
    found = names(flag)
    if not all(number.isascii() and number.isdigit() for number in found):
        raise UserError(f"--{flag}={','.join(found)}; expected whole numbers from 0, such as 0,1,2")
    made = [int(number) for number in found]
    if len(set(made)) < len(made):
        raise UserError(f"--{flag}={','.join(found)}; expected different {flag}")
    return made


def plan(
    argument: str | None,
    presets: Sequence[str],
    seeds: Sequence[int],
    workdir: pathlib.Path,
    overrides: Sequence[str],
    worlds: Sequence[int | None] = (None,),
    backbone: str | None = None,
) -> list[Planned]:
    """Every run, the first seed of all presets before the second; all configs are parsed before any run starts.

    A run that trains a backbone comes before those that take it.
    """
    if not argument:
        raise UserError("no --config given; expected --config=configs/TASK.py and --presets=a,b")
    if any(override.lstrip("-").startswith("config.seed=") for override in overrides):
        raise UserError("--config.seed is set by --seeds; expected one of the two")
    if worlds != [None] and any(override.lstrip("-").startswith("config.data.world=") for override in overrides):
        raise UserError("--config.data.world is set by --worlds; expected one of the two")
    made: list[Planned] = []
    for seed, world in itertools.product(seeds, worlds):
        given = [*overrides, f"--config.seed={seed}"]
        given += [] if world is None else [f"--config.data.world={world}"]
        place = f"{seed}" if world is None else f"{seed}-world{world}"
        trunk = None
        if backbone is not None:
            trunk = planned_run(argument, backbone, seed, workdir / f"{BACKBONE}-{place}", [*given, *UNSEEN])
            made.append(trunk)
        for preset in presets:
            run = planned_run(argument, preset, seed, workdir / f"{preset}-{place}", given)
            if trunk is not None and takes_backbone(run, trunk):
                taken = [*given, f"--config.backbone_from={trunk.folder}"]
                run = planned_run(argument, f"{preset},{ON_BACKBONE}", seed, run.folder, taken)
            made.append(run)
    for world in worlds:
        check_comparable([run for run in compared(made) if world is None or run.config.data.world == world])
    return made


def planned_run(
    argument: str, preset: str, seed: int, folder: pathlib.Path, overrides: Sequence[str]
) -> Planned:
    """One preset, with keys or without, in one folder; `argument` is the command's, without a preset."""
    whole = runner.with_preset(argument, preset)
    config = runner.parse_config(whole, overrides)
    preset = preset.partition(",")[0]
    if config.preset.removesuffix("-smoke") != preset:
        found = f"--presets has {preset!r}, which is no preset of {argument.partition(':')[0]}"
        raise UserError(f"{found}; expected one, such as {config.preset}")
    return Planned(preset, seed, (f"--config={whole}", *overrides, f"--workdir={folder}"), folder, config)


def takes_backbone(run: Planned, trunk: Planned) -> bool:
    """Whether a run can read the features of a trained backbone: the same network, and no loss that needs pixels."""
    model, others = run.config.model, trunk.config.model
    reads_pixels = run.config.view.name == "recombined" or "readout" in model or "decoder" in model
    return model.backbone == others.backbone and not reads_pixels


def compared(planned: Sequence[Planned]) -> list[Planned]:
    """The runs that are compared: all but those that train a backbone for them."""
    return [run for run in planned if not run.folder.name.startswith(f"{BACKBONE}-")]


def check_comparable(planned: Sequence[Planned]) -> None:
    """Refuses presets that would be scored on different data or episodes."""
    first = planned[0]
    for run in planned[1:]:
        for path in COMPARED:
            one, other = (each.config.to_dict()[path[0]].get(path[1]) for each in (first, run))
            if one != other:
                raise UserError(
                    f"{first.preset} and {run.preset} differ in config.{'.'.join(path)}, {one!r} and {other!r}; "
                    "expected presets with the same data and evaluation"
                )


def train(missing: Sequence[Planned]) -> None:
    """Each run in a process of its own, so that no memory stays; what one compiled the next ones load."""
    with tempfile.TemporaryDirectory(prefix="partrep-compiled-") as compiled:
        environment = {"JAX_COMPILATION_CACHE_DIR": compiled, **os.environ}
        for number, run in enumerate(missing, start=1):
            print(f"run {number} of {len(missing)}: {run.preset}, seed {run.seed}, in {run.folder}", flush=True)
            command = [sys.executable, "-m", "launch.main", *run.arguments]
            code = subprocess.run(command, env=environment, check=False).returncode
            if code < 0:
                print(f"the run in {run.folder} was ended by signal {-code}", file=sys.stderr)
            if code:  # otherwise the run has said why
                sys.exit(code if code in (2, 130) else 1)


def write(workdir: pathlib.Path, planned: Sequence[Planned], command: str) -> None:
    """Reads the finished runs, and writes and prints the comparison."""
    from launch import record
    from partrep.report import comparison
    from partrep.report.content import ComparePage
    from partrep.report.page import write_compare
    from partrep.report.tables import format_scores, format_table
    from partrep.tasks import SECTIONS, SPLITS
    from partrep.train.logging import read_metrics

    presets = names("presets")
    by_preset = {name: [run for run in planned if run.preset == name] for name in presets}
    runs = {name: by_seed(members) for name, members in by_preset.items()}
    shown = record.read_rows(by_preset[presets[0]][0].folder)
    rows = comparison.compare(runs)
    task = planned[0].config.task
    further = SECTIONS.get(task, lambda runs: ())(runs)
    provenance = origin(planned)
    others = [comparison.label(name, runs[name][0].main) for name in presets[1:]]
    seeds = ", ".join(dict.fromkeys(str(run.seed) for run in by_preset[presets[0]]))
    page = ComparePage(
        title=f"{enumerated(presets)} under the same seeds",
        conclusion=comparison.conclusion(rows, others, shown["measure"], shown["lower_is_better"]),
        results=rows,
        facts={"presets": ", ".join(presets), "seeds": seeds, **facts(runs[presets[0]][0])},
        measure=shown["measure"],
        lower_is_better=shown["lower_is_better"],
        chance=shown["chance"],
        results_note=f"{note(planned)} {shown.get('further_note', '')}".strip(),
        histories={name: [read_metrics(run.folder / "metrics.jsonl") for run in by_preset[name]] for name in presets},
        discovery=discovery(runs),
        sections=further,
        provenance=provenance,
        command=command,
    )
    path = write_compare(workdir / "report" / "index.html", page)
    numbers = comparison.numbers(rows, SPLITS[task], shown["measure"]) | comparison.seed_means(runs)
    record.write_json(workdir / "compare.json", numbers | {"provenance": provenance | {"command": command}})
    print("\n" + format_table(rows, shown["measure"], width=120))
    for title, table in further:
        print(f"\n{title}\n{format_scores(table)}")
    print(f"\n{page.conclusion}")
    print(f"report: {path}", flush=True)


def note(planned: Sequence[Planned]) -> str:
    """What the intervals are over."""
    return RESPLITS if draws_split(planned[0]) else NOTE


def draws_split(run: Planned) -> bool:
    """Whether the seed of a run draws which photos are trained on and tested."""
    return run.config.data.get("resplit", 0) < 0


def enumerated(words: Sequence[str]) -> str:
    """Words as a sentence lists them.

    >>> enumerated(["gap"]), enumerated(["slots", "gap"]), enumerated(["additive", "slots", "gap"])
    ('gap', 'slots and gap', 'additive, slots and gap')
    """
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last


def by_seed(members: Sequence[Planned]) -> list[Any]:
    """One finished run for each seed: that of its worlds together."""
    from partrep.report.comparison import merge

    seeds = dict.fromkeys(run.seed for run in members)
    return [merge([load(run) for run in members if run.seed == seed]) for seed in seeds]


def load(run: Planned) -> Any:
    """A finished run as the comparison reads it.

    Where each seed draws a split of the same photos, the classes are no sample: a seed's score is their mean.
    """
    from launch import record
    from partrep.report.comparison import Run

    folder = run.folder
    results = record.read_json(folder / record.RESULTS)
    provenance = results.pop("provenance")
    rows, episodes = record.read_rows(folder)["rows"], record.read_episodes(folder)
    if draws_split(run):
        episodes = {name: values.mean(keepdims=True) for name, values in episodes.items()}
    return Run(str(folder), results, rows, episodes, provenance["data"], provenance["wall_seconds"])


def facts(run: Any) -> dict[str, Any]:
    """How many episodes a run has, and which."""
    if "episodes" not in run.data:
        return {}
    return {"episodes": len(next(iter(run.episodes.values()))), "episodes' fingerprint": run.data.get("episodes", "")}


def origin(planned: Sequence[Planned]) -> dict[str, Any]:
    """Where the numbers come from: what all runs share, and the time and evaluations of each."""
    from launch import record

    found = {run.folder.name: record.read_json(run.folder / record.RESULTS)["provenance"] for run in planned}
    first = next(iter(found.values()))
    same = {key: first[key] for key in first if all(each.get(key) == first[key] for each in found.values())}
    return same | {
        "date": datetime.date.today().isoformat(),
        "runs": list(found),
        "wall_seconds": {name: each["wall_seconds"] for name, each in found.items()},
        "test_evaluations": sum(each["test_evaluations"] for each in found.values()),
    }


def discovery(runs: Mapping[str, Sequence[Any]]) -> Any:
    """Part discovery scores, means over the seeds: every method of the first preset, the model of the others."""
    from partrep.report.comparison import seed_means
    from partrep.tasks.maps import discovery_page

    tables: dict[str, dict[str, float]] = {}
    for number, (preset, members) in enumerate(runs.items()):
        start = f"mean/{preset}/discovery/"
        for name, value in seed_means({preset: members}).items():
            method, _, score = name.removeprefix(start).partition("/")
            if score.endswith(("_low", "_high")):
                continue  # of one run's images; the mean of several ends is no end of their mean
            if name.startswith(start) and (number == 0 or method == "model"):
                tables.setdefault(f"{preset}: {method}" if number else method, {})[score] = value
    return discovery_page(tables)


if __name__ == "__main__":
    runner.run(main, FLAGS, __doc__)
