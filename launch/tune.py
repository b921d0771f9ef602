"""Tries the same number of settings of each preset, and says which does best on validation images.

    python -m launch.tune --config=configs/classify.py[:smoke][,key=value...] --presets=a,b --worlds=0,1 --out=FILE.json
                          [--backbone=DIR/backbone-0-world{world}] [--config.key=value]
    python -m launch.tune --config=configs/photos.py[:key=value...] --presets=a,b --out=FILE.json --config.data.dir=...
    python -m launch.tune --config=configs/metric.py[:source=NAME...] --presets=parts,global,dense --out=FILE.json ...

The settings are the products of `SEARCH[preset]` of the config file, or of `SEARCH[name of the data]` where all presets
share one. Each is trained in each world of birds under seed 0, or on other data under each of --seeds, and never sees a
test image; worlds to report on are refused, and photos to validate on are not trained on. `{world}` in --backbone
stands for the world's number. The score is accuracy on validation images; of configs/metric.py, MAP@R on the validation
classes.
Writes FILE.json, `{preset: {setting: {world or seed: score}}}` with provenance, after every run; a run that is in it
is kept, and a file of another config is refused.
"""

from __future__ import annotations

import itertools
import pathlib
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any

from absl import flags
from ml_collections import ConfigDict

from launch import runner
from partrep import UserError, lookup

FLAGS = flags.FlagValues()
flags.DEFINE_string("config", None, "configs/TASK.py[:smoke][,key=value...], without a preset", flag_values=FLAGS)
flags.DEFINE_list("presets", None, "presets to tune", flag_values=FLAGS)
flags.DEFINE_list("worlds", ["0", "1"], "worlds of birds to tune on", flag_values=FLAGS)
flags.DEFINE_list("seeds", ["0"], "seeds to tune on photos with, each a split of its own", flag_values=FLAGS)
flags.DEFINE_string("backbone", "", "workdir of a finished run whose backbone is taken", flag_values=FLAGS)
flags.DEFINE_string("out", None, "JSON file to write", flag_values=FLAGS)

REPORTED = 100  # worlds from here on are reported on: nothing is chosen there


def main(overrides: list[str]) -> None:
    """Trains what is missing and writes the table."""
    if not FLAGS.config or not FLAGS.presets or not FLAGS.out:
        raise UserError("expected --config=configs/TASK.py, --presets=a,b and --out=FILE.json")
    from partrep.train.disk import need_place

    path = FLAGS.config.partition(":")[0]
    search = getattr(runner.load_module(path), "SEARCH", None)
    if search is None:
        raise UserError(f"{path} has no SEARCH; expected a config with one, such as configs/classify.py")
    tried_of = {preset: tuple(settings(axes_of(search, preset))) for preset in FLAGS.presets}
    for preset in FLAGS.presets:  # a mistake in the last setting is found before the first is trained
        for setting in tried_of[preset]:
            runner.parse_config(runner.with_preset(FLAGS.config, preset), [*overrides, *named(setting).split()])
    out = pathlib.Path(FLAGS.out)
    need_place(out, "--out", "settings.json")
    found = read(out, overrides)
    axis, repeats = repeated(runner.load_config(runner.with_preset(FLAGS.config, FLAGS.presets[0])))
    for preset, repeat in itertools.product(FLAGS.presets, repeats):
        for setting in tried_of[preset]:
            tried = found.setdefault(preset, {}).setdefault(named(setting), {})
            if str(repeat) not in tried:
                start = time.monotonic()
                argument = runner.with_preset(FLAGS.config, preset)
                tried[str(repeat)] = validation_score(argument, axis, repeat, setting, overrides)
                write(out, found)
                seconds = time.monotonic() - start
                value = f"{tried[str(repeat)]:.3f} ({seconds:.0f} s)"
                print(f"{preset}, {axis.rpartition('.')[2]} {repeat}, {named(setting)}: {value}", flush=True)
    for preset in FLAGS.presets:
        each = [named(setting) for setting in tried_of[preset]]
        score = {name: mean({repeat: found[preset][name][str(repeat)] for repeat in repeats}) for name in each}
        best = max(score, key=score.__getitem__)
        print(f"{preset}: {best}, {score[best]:.3f}")
    print(f"tuning: {out}", flush=True)


def read(out: pathlib.Path, overrides: list[str]) -> dict[str, Any]:
    """What was found so far; refused where it was found of another config."""
    from launch import record

    of = {"config": FLAGS.config, "backbone": FLAGS.backbone, "overrides": sorted(overrides)}
    found = record.read_json(out) if out.exists() else {"of": of}
    if found.get("of") != of:
        held = f"a search of {found['of']}" if "of" in found else "no search"
        raise UserError(f"{out} holds {held}; expected one of {of}, or another --out")
    return found


def repeated(config: ConfigDict) -> tuple[str, list[int]]:
    """What a setting is tried on: the worlds of birds, or the seeds of photos, with the path of its number."""
    birds = "world" in config.data
    given, wanted = ("seeds", "worlds") if birds else ("worlds", "seeds")
    if FLAGS[given].present:
        raise UserError(f"--{given} with {config.data.name}; expected --{wanted}, which these are tuned on")
    return ("data.world", worlds()) if birds else ("seed", seeds())


def seeds() -> list[int]:
    """The seeds to tune with."""
    made = [int(seed) for seed in FLAGS.seeds if seed.isascii() and seed.isdigit()]
    if len(made) < len(FLAGS.seeds) or not made:
        raise UserError(f"--seeds={','.join(FLAGS.seeds)}; expected whole numbers from 0, such as 0,1")
    return made


def worlds() -> list[int]:
    """The worlds to tune on."""
    made = [int(world) for world in FLAGS.worlds if world.isascii() and world.isdigit()]
    if len(made) < len(FLAGS.worlds) or not made or max(made) >= REPORTED:
        found = f"--worlds={','.join(FLAGS.worlds)}"
        raise UserError(f"{found}; expected numbers under {REPORTED}, worlds that are not reported on")
    return made


def axes_of(search: Mapping[str, Any], preset: str) -> tuple[tuple[str, tuple], ...]:
    """What is tried of a preset: its own search or, where all presets share one, that for the data."""
    data = runner.load_config(runner.with_preset(FLAGS.config, preset)).data.name
    return search[data] if data in search else lookup(search, preset, "preset with a search")


def settings(axes: tuple[tuple[str, tuple], ...]) -> Iterator[dict[str, Any]]:
    """Every combination of the values of a search.

    >>> list(settings((("a", (1, 2)), ("b", (3,)))))
    [{'a': 1, 'b': 3}, {'a': 2, 'b': 3}]
    """
    paths = [path for path, _ in axes]
    for values in itertools.product(*(values for _, values in axes)):
        yield dict(zip(paths, values))


def named(setting: Mapping[str, Any]) -> str:
    """A setting as the command line gives it.

    >>> named({"losses.spread": 0.5, "seed": 1})
    '--config.losses.spread=0.5 --config.seed=1'
    """
    return " ".join(f"--config.{path}={value}" for path, value in setting.items())


def validation_score(
    argument: str, axis: str, repeat: int, setting: Mapping[str, Any], overrides: list[str]
) -> float:
    """The score on validation images after training with a setting in a world, or under a seed."""
    given = [*overrides, f"--config.{axis}={repeat}", *named(setting).split()]
    if FLAGS.backbone:
        given.append(f"--config.backbone_from={FLAGS.backbone.replace('{world}', str(repeat))}")
    config = runner.parse_config(argument, given)
    if "fit" in config.data:
        config.data.fit = "part"  # what is validated on is not trained on
    return lookup(SCORES, config.task, "task that can be tuned")(config)


def classifier_accuracy(config: ConfigDict) -> float:
    """Accuracy of a trained classifier on validation images."""
    from partrep.tasks import classify
    from partrep.tasks.classify_check import check_settings, check_task

    check_settings(config)
    task = classify.make(config)
    check_task(task)
    return classify.validate(task, classify.train(task, None))["validation/accuracy"]


def metric_precision(config: ConfigDict) -> float:
    """MAP@R of a trained metric among images of the validation classes."""
    from partrep.tasks import metric
    from partrep.tasks.metric_check import check_settings, check_task

    check_settings(config)
    task = metric.make(config)
    check_task(task)
    return metric.validate(task, metric.train(task, None))["validation/map@r"]


SCORES = {"classify": classifier_accuracy, "metric": metric_precision}
"""By the task of the config."""


def mean(tried: Mapping[Any, float]) -> float:
    """Of the scores."""
    return sum(tried.values()) / len(tried)


def write(out: pathlib.Path, found: Mapping[str, Any]) -> None:
    """Writes what was found so far, with where it comes from."""
    from launch import record

    record.make_folder(out.absolute().parent)
    provenance = record.environment() | {"command": runner.command("tune", *sys.argv[1:])}
    record.write_json(out, {**found, "provenance": provenance})


if __name__ == "__main__":
    runner.run(main, FLAGS, __doc__)
