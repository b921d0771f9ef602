"""Measures speed and memory on this machine, and what the birds of each level leave to see.

    python -m launch.benchmark --out=FILE.json [--suite=train,data,parts] [--pairs=20 --batch=32 --image=224]
    python -m launch.benchmark --out=FILE.json --suite=levels
    python -m launch.benchmark --out=FILE.json --suite=explain [--pairs=20]
    python -m launch.benchmark --out=FILE.json --suite=losses,search [--pairs=20]

train: steps a second of the birds' presets, with and without part method; compile time; memory.
data: birds rendered, drawings warped, index batches and JPEG files a second.
parts: the step of ResNet-18 (batch 32, 224 pixels, a map of 14x14, 16 parts) with each competition, against the
backbone with a global mean alone, in interleaved rounds.
levels (only when named): five-way one-shot accuracy on validation birds of world 0, at each level, of an oracle that
learns to name true parts from their crops, and of cues that are no parts: histogram, background, silhouette, pixels.
explain (only when named): seconds to explain 64 birds by each method, in forward passes of the same images, with the
network of configs/classify.py before training, as its weights do not matter here.
losses (only when named): seconds and bytes of each loss of metric learning, forward and with its gradient, at batch 256
and 4,096, plain and in blocks, as multiples of supervised contrastive.
search (only when named): milliseconds of exact search among 10^4, 10^5 and 10^6 vectors, for one query and for 100,
beside a flat index of FAISS, where it is installed, and the brute force of scikit-learn.
A CPU counts as one device here; with JAX_NUM_CPU_DEVICES=2 the steps are shared by two, as launch.main has them.
Writes FILE.json, flat numbers with provenance, and prints them.
"""

from __future__ import annotations

import pathlib
import sys
from typing import Any

from absl import flags

from launch import runner
from partrep import UserError, lookup

FLAGS = flags.FlagValues()
flags.DEFINE_list("suite", ["train", "data", "parts"], "suites to run", flag_values=FLAGS)
flags.DEFINE_string("out", None, "JSON file to write", flag_values=FLAGS)
flags.DEFINE_integer("pairs", 20, "rounds of the interleaved measurements", flag_values=FLAGS)
flags.DEFINE_integer("batch", 32, "batch size of the suite parts", flag_values=FLAGS)
flags.DEFINE_integer("image", 224, "side of the images of the suite parts", flag_values=FLAGS)
flags.DEFINE_float("seconds", 2.0, "time for each number of data; explain 1/4 of it, losses 1/40", flag_values=FLAGS)
flags.DEFINE_bool("smoke", False, "tiny shapes, to see that it runs; the numbers mean nothing", flag_values=FLAGS)

CONFIGS = pathlib.Path(__file__).parents[1] / "configs"
PRESETS = ("parts", "landmarks", "gap")
TINY = dict(
    pairs=2,
    batch=2,
    image=32,
    seconds=0.0,
    backbone=dict(stages=(1, 1, 1, 1), widths=(8, 8, 8, 8)),
    levels=dict(images=2, episodes=2, train=1, steps=2),
    explained_images=2,
    search_rows=(200,),
    loss_batches=(16,),
)


def main(overrides: list[str]) -> None:
    """Runs the suites and writes their numbers."""
    out = out_file()
    from launch import record
    from partrep.benchmark import SUITES
    from partrep.benchmark.timing import Settings

    suites = {name: lookup(SUITES, name, "suite") for name in FLAGS.suite}
    smoke = ",smoke" if FLAGS.smoke else ""
    settings = Settings(
        **(TINY if FLAGS.smoke else given()),
        configs={name: runner.parse_config(f"{CONFIGS / 'fewshot.py'}:{name}{smoke}") for name in PRESETS},
        explained=runner.parse_config(f"{CONFIGS / 'classify.py'}:landmarks{smoke}"),
        say=lambda line: print(line, file=sys.stderr, flush=True),
    )
    numbers: dict[str, float] = {}
    for suite in suites.values():
        numbers |= suite(settings)
    provenance = record.environment() | {"command": runner.command("benchmark", *sys.argv[1:]), "smoke": FLAGS.smoke}
    record.make_folder(out.parent)
    record.write_json(out, numbers | {"provenance": provenance})
    print(table(numbers))
    if FLAGS.smoke:
        print("smoke: tiny shapes, the numbers mean nothing")
    print(f"benchmark: {out}", flush=True)


def given() -> dict[str, Any]:
    """The shapes of the flags."""
    return {name: FLAGS[name].value for name in ("pairs", "batch", "image", "seconds")}


def out_file() -> pathlib.Path:
    """The file of --out; what cannot be one is refused before anything is measured."""
    from partrep.train.disk import need_place

    if not FLAGS.out:
        raise UserError("no --out given; expected --out=FILE.json")
    out = pathlib.Path(FLAGS.out)
    need_place(out, "--out", "speed.json")
    return out


def table(numbers: dict[str, float]) -> str:
    """The numbers under each other, three figures or more.

    >>> print(table({"a": 1234.5, "longer": 0.01234}))
    a         1,234
    longer  0.01234
    """
    shown = {name: f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}" for name, value in numbers.items()}
    wide, far = max(map(len, shown)), max(map(len, shown.values()))
    return "\n".join(f"{name.ljust(wide)}  {value.rjust(far)}" for name, value in shown.items())


if __name__ == "__main__":
    runner.run(main, FLAGS, __doc__)
