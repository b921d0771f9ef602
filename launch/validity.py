"""Which scores of explanations on photos can be trusted? Asked of a classifier of birds, where the truth is measured.

    python -m launch.validity --workdir=RUN --out=FILE.json [--images=2]

RUN is the workdir of a finished run of configs/classify.py. Every explanation that the model admits is scored as on
photos (deletion, insertion, ROAD, drop, gain, increase, energy, pointing) and by its correctness (rank correlation with
exact Shapley values); each photo score is then judged by how far it orders the explanations as the truth does. Takes
minutes. Writes FILE.json, flat numbers with provenance, and prints the table.
"""

from __future__ import annotations

import pathlib
import sys

from absl import flags

from launch import runner
from partrep import UserError

FLAGS = flags.FlagValues()
flags.DEFINE_string("workdir", None, "finished run of configs/classify.py", flag_values=FLAGS)
flags.DEFINE_string("out", None, "JSON file to write", flag_values=FLAGS)
flags.DEFINE_integer("images", 2, "test images of each class", flag_values=FLAGS)


def main(overrides: list[str]) -> None:
    """Measures, scores and compares."""
    if overrides or not FLAGS.workdir or not FLAGS.out:
        raise UserError("expected --workdir=RUN and --out=FILE.json, and no --config")
    from launch import record
    from partrep.explain import bound, validity
    from partrep.explain.effects import measure
    from partrep.tasks import classify
    from partrep.train.disk import need_place

    out = pathlib.Path(FLAGS.out)
    need_place(out, "--out", "validity.json")
    task, variables = classify.load(pathlib.Path(FLAGS.workdir))
    if task.data.world is None:
        raise UserError(f"{FLAGS.workdir} is a run on {task.config['data']['name']}; expected one on birds")
    record.make_folder(out.absolute().parent)
    predict = bound.predictor(task.model, variables)
    effects = measure(predict, task.data.world, task.data.group, FLAGS.images, task.config["data"]["size"])
    explain = bound.explanations(task.model, variables)
    maps = {name: function(effects.images, effects.predicted) for name, function in explain.items()}
    found = validity.study(predict, effects, maps)
    numbers = {
        f"validity/{score.replace('/', '_')}/{name}{end}": value
        for score, agreement in found.items()
        for name, interval in agreement._asdict().items()
        for end, value in zip(("", "_low", "_high"), interval)
    }
    correct = {f"correctness/{name}": float(validity.correctness(effects, each).mean()) for name, each in maps.items()}
    provenance = record.environment() | {"command": runner.command("validity", *sys.argv[1:])}
    record.write_json(out, numbers | correct | {"provenance": provenance})
    print(validity.table(found))
    print(f"validity: {out}", flush=True)


if __name__ == "__main__":
    runner.run(main, FLAGS, __doc__)
