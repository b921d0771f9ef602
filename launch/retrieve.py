"""Finds photos again by their parts: indexes a folder with a finished classifier, then answers queries.

    python -m launch.retrieve --workdir=RUN --images=FOLDER --index=INDEX
    python -m launch.retrieve --workdir=RUN --index=INDEX --queries=FOLDER_OR_FILE --out=PAGE.html [--top=10]

The first line indexes; again, it adds what is new and describes again what was changed, and after a kill it continues.
A photo is known by its name in the folder; one that is gone stays in the index. The second line prints the ranked files
of each query and writes one page, which loads nothing from elsewhere: the photos found, their similarity and which
parts make it. A photo that was changed since it was indexed is named, and not shown. Both may be asked for in one line.
"""

from __future__ import annotations

import pathlib
import sys
import time

from absl import flags

from launch import runner
from partrep import UserError, lookup

FLAGS = flags.FlagValues()
flags.DEFINE_string("workdir", None, "a finished run of a classifier", flag_values=FLAGS)
flags.DEFINE_string("index", None, "the folder of the index; made where it is missing", flag_values=FLAGS)
flags.DEFINE_string("images", None, "a folder of photos to index", flag_values=FLAGS)
flags.DEFINE_string("queries", None, "a photo, or a folder of photos, to search for", flag_values=FLAGS)
flags.DEFINE_string("out", None, "the page; none: only the names are printed", flag_values=FLAGS)
MOST = 100
"""Photos listed of a query at most: the page holds them all."""
NAMED = 10
"""Photos named at most that are no longer what was indexed."""
flags.DEFINE_integer("top", 10, f"photos listed of a query, 1 to {MOST}", flag_values=FLAGS)
flags.DEFINE_string("engine", "exact", "exact, or faiss where it is installed", flag_values=FLAGS)
USAGE = "--workdir=RUN --index=INDEX with --images=FOLDER, --queries=FOLDER_OR_FILE or both"


def main(overrides: list[str]) -> None:
    """Indexes, searches, or both."""
    runner.require(FLAGS, ("workdir", "index"), USAGE)
    if not (FLAGS.images or FLAGS.queries):
        raise UserError(f"neither --images nor --queries is given; expected {USAGE}")
    if not 1 <= FLAGS.top <= MOST:
        raise UserError(f"--top={FLAGS.top}; expected 1 to {MOST}")
    if FLAGS.out and not FLAGS.queries:
        raise UserError("--out is given and --queries is not; expected --queries=FOLDER_OR_FILE for the page to show")
    from partrep.search.engines import ENGINES
    from partrep.tasks import finished, retrieve_photos
    from partrep.train.disk import need_place

    lookup(ENGINES, FLAGS.engine, "engine")
    workdir, out = pathlib.Path(FLAGS.workdir), pathlib.Path(FLAGS.out) if FLAGS.out else None
    if out is not None:
        need_place(out, "--out", "page.html")
    if FLAGS.queries:
        retrieve_photos.query_files(pathlib.Path(FLAGS.queries))
    encoder = retrieve_photos.Encoder.of(finished.load(workdir))
    made = retrieve_photos.made_by(encoder)
    if FLAGS.images:
        skipped = retrieve_photos.index_photos(encoder, pathlib.Path(FLAGS.images), pathlib.Path(FLAGS.index), made)
        for name, reason in skipped:
            print(f"not indexed: {name}: {reason}", file=sys.stderr)
    if FLAGS.queries:
        _search(encoder, made, out)


def _search(encoder, made, out: pathlib.Path | None) -> None:
    from partrep.report.retrieved import write_retrieved
    from partrep.search.engines import ENGINES
    from partrep.search.index import open_index
    from partrep.tasks import retrieve_photos
    from partrep.train.disk import full_disk_is_user_error, make_folder

    index = open_index(pathlib.Path(FLAGS.index), made)
    if not index.names:
        raise UserError(f"{index.folder} holds no photo yet; expected --images=FOLDER first")
    start = time.perf_counter()
    searcher = ENGINES[FLAGS.engine](index.descriptors)
    found = retrieve_photos.find(encoder, searcher, pathlib.Path(FLAGS.queries), FLAGS.top)
    seconds = time.perf_counter() - start
    for (photo, _, _), similarity, ids in zip(found.queries, found.similarity, found.ids):
        print(photo.name)
        for rank, (value, row) in enumerate(zip(similarity, ids), 1):
            if row >= 0:
                print(f"{rank:4d}  {value:6.3f}  {index.names[row]}")
    for name, reason in found.skipped:
        print(f"not searched for: {name}: {reason}", file=sys.stderr)
    asked = "1 query" if len(found.queries) == 1 else f"{len(found.queries)} queries"
    print(f"{asked} among {len(index.names)} photos: {seconds:.1f} s", file=sys.stderr)
    images = pathlib.Path(index.made_by["images"])
    for state, names in retrieve_photos.no_longer_indexed(index, found.ids, images).items():
        if names:
            said = ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")
            advice = _advice(state == retrieve_photos.CHANGED, images)
            print(f"{state} since indexed: {said}; expected {advice}", file=sys.stderr)
    if out is not None:
        make_folder(out.parent)
        with full_disk_is_user_error(out):
            write_retrieved(out, retrieve_photos.page(encoder, index, found, images))
        print(f"page: {out}", flush=True)


def _advice(changed: bool, images: pathlib.Path) -> str:
    """What makes the index and the photos one again; what is gone stays in an index."""
    if changed:
        return f"--images={images} again, which describes anew what was changed"
    return f"in {images} again, or another --index of what is there"


if __name__ == "__main__":
    runner.run(main, FLAGS, __doc__)
