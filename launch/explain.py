"""Explains photos by a finished classifier, on one page: which part, where, how much, and what it looks like.

    python -m launch.explain --workdir=RUN --images=FOLDER --out=PAGE.html

The page is one file that loads nothing from elsewhere. Files that are no photos are listed at its end.
"""

from __future__ import annotations

import pathlib
import sys

from absl import flags

from launch import runner

FLAGS = flags.FlagValues()
flags.DEFINE_string("workdir", None, "a finished run of a classifier", flag_values=FLAGS)
flags.DEFINE_string("images", None, "a folder of photos", flag_values=FLAGS)
flags.DEFINE_string("out", None, "the page; none: explained.html in the workdir", flag_values=FLAGS)


def main(overrides: list[str]) -> None:
    """Writes the page and says where it is."""
    runner.require(FLAGS, ("workdir", "images"), "--workdir=RUN --images=FOLDER --out=PAGE.html")
    from partrep.report.explained import write_explained
    from partrep.tasks import explain_photos, finished
    from partrep.train.disk import full_disk_is_user_error, make_folder, need_place

    workdir = pathlib.Path(FLAGS.workdir)
    path = pathlib.Path(FLAGS.out or workdir / "explained.html")
    classifier = finished.load(workdir)
    need_place(path, "--out", "page.html")
    page = explain_photos.explain(classifier, pathlib.Path(FLAGS.images))
    make_folder(path.parent)
    with full_disk_is_user_error(path):
        write_explained(path, page)
    for name, reason in page.skipped:
        print(f"not shown: {name}: {reason}", file=sys.stderr)
    print(f"page: {path}", flush=True)


if __name__ == "__main__":
    runner.run(main, FLAGS, __doc__)
