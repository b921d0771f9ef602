"""Exports a finished classifier as one program for any number of photos, which runs without this library.

    python -m launch.export --workdir=RUN --out=FOLDER

Writes FOLDER/model.stablehlo, what `jax.export` reads on CPUs, GPUs and TPUs, with the weights in it, and
FOLDER/model.json: the classes, how photos are cut out, what goes in and comes out. Both or neither; an earlier export
in the folder is replaced. The last line on stdout names the folder.
"""

from __future__ import annotations

import pathlib

from absl import flags

from launch import runner

FLAGS = flags.FlagValues()
flags.DEFINE_string("workdir", None, "a finished run of a classifier", flag_values=FLAGS)
flags.DEFINE_string("out", None, "the folder to write", flag_values=FLAGS)


def main(overrides: list[str]) -> None:
    """Writes the folder and says what is in it."""
    runner.require(FLAGS, ("workdir", "out"), "--workdir=RUN --out=FOLDER")
    from launch.record import make_folder
    from partrep.tasks import export, finished

    out = pathlib.Path(FLAGS.out)
    export.check_folder(out)
    classifier = finished.load(pathlib.Path(FLAGS.workdir))
    make_folder(out.absolute().parent)
    made = export.export(classifier, out)
    print(f"photos: {made['input']['dtype']} {made['input']['shape']}")
    for name, output in made["outputs"].items():
        print(f"{name}: {output['dtype']} {output['shape']}, {output['content']}")
    print(f"export: {out}", flush=True)


if __name__ == "__main__":
    runner.run(main, FLAGS, __doc__)
