"""Scores a finished classifier on labelled images: accuracy with intervals, calibration, confusions, reliance.

    python -m launch.evaluate --workdir=RUN --out=FILE.json [--images=FOLDER_OR_ZIP] [--metrics=accuracy,brier]

The images are photos in folders named as classes of the model, some or all of them, in a folder, zip or tar; without
--images the test images of the run itself, whose evaluations RUN counts. Writes FILE.json, flat numbers with
provenance, and prints them; the last line on stdout names the file. A photo that cannot be read ends it.
"""

from __future__ import annotations

import pathlib
import sys
from typing import Any

from absl import flags

from launch import runner
from partrep import UserError

FLAGS = flags.FlagValues()
flags.DEFINE_string("workdir", None, "a finished run of a classifier", flag_values=FLAGS)
flags.DEFINE_string("out", None, "JSON file to write", flag_values=FLAGS)
flags.DEFINE_string("images", None, "class folders of photos; none: the test images of the run", flag_values=FLAGS)
flags.DEFINE_list("metrics", [], "metrics by name; none: all that the model admits", flag_values=FLAGS)


def main(overrides: list[str]) -> None:
    """Reads, predicts, scores and writes."""
    runner.require(FLAGS, ("workdir", "out"), "--workdir=RUN --out=FILE.json")
    from launch import record
    from partrep.evaluate.classification import chosen, scores
    from partrep.explain.contributions import level
    from partrep.tasks import finished
    from partrep.train.disk import need_place

    out, workdir = pathlib.Path(FLAGS.out), pathlib.Path(FLAGS.workdir)
    need_place(out, "--out", "scores.json")
    classifier = finished.load(workdir)
    additive = level(classifier.model) > 0
    names = chosen(FLAGS.metrics, len(classifier.card.classes), classifier.parts, additive)
    record.make_folder(out.absolute().parent)
    answers, data = answer(classifier, workdir)
    numbers = scores(answers, names)
    about = {"command": runner.command("evaluate", *sys.argv[1:]), "data": data}
    record.write_json(out, numbers | {"provenance": record.environment() | about})
    print("\n".join(lines(numbers)))
    print(f"evaluation: {out}", flush=True)


def answer(classifier: Any, workdir: pathlib.Path) -> tuple[Any, dict[str, Any]]:
    """What the model answers to the images of the command line, and what these are."""
    from launch import record
    from partrep.tasks import classify, evaluate_photos
    from partrep.tasks.outcome import count_test_evaluations

    if FLAGS.images:
        photos = evaluate_photos.open_photos(pathlib.Path(FLAGS.images), classifier.card.classes)
        answers = evaluate_photos.on_photos(classifier, photos)
        about = {"images": FLAGS.images, "fingerprint": photos.fingerprint}
    else:
        task, _ = classify.load(workdir)
        known = record.read_json(workdir / record.RESULTS).get("provenance", {}).get("data", {}).get("test")
        if known is not None and task.data.test.fingerprint != known:
            raise UserError(f"the test images of {workdir} have changed since its run; expected the same, or --images")
        evaluations = count_test_evaluations(workdir, 1)
        answers = evaluate_photos.on_test_set(classifier, task)
        about = {"images": "test", "fingerprint": task.data.test.fingerprint, "test_evaluations": evaluations}
    return answers, about | {"count": len(answers.labels), "classes": len(answers.by_class)}


def lines(numbers: dict[str, float]) -> list[str]:
    """One line a number, its interval behind it.

    >>> lines({"accuracy": 0.5, "accuracy_low": 0.25, "accuracy_high": 0.75, "confusion/a/b": 3.0})
    ['accuracy       0.5000 [0.2500, 0.7500]', 'confusion/a/b       3']
    """
    shown = [name for name in numbers if not (name.endswith(("_low", "_high")) and name.rpartition("_")[0] in numbers)]
    width = max(map(len, shown), default=0)
    made = []
    for name in shown:
        whole = name.startswith("confusion/")
        text = f"{numbers[name]:6.0f}" if whole else f"{numbers[name]:.4f}"
        if f"{name}_low" in numbers:
            text += f" [{numbers[f'{name}_low']:.4f}, {numbers[f'{name}_high']:.4f}]"
        made.append(f"{name.ljust(width)}  {text}")
    return made


if __name__ == "__main__":
    runner.run(main, FLAGS, __doc__)
