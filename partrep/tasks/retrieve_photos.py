"""Photos found again by their parts: descriptors of photos by a finished classifier, and the page of what was found.

A photo's descriptor lists its parts, each as long as it is present:

    x_k = m_k l2(P^T (z_k - mean_k)),   x = (x_1, ..., x_K) / |m|

with the presence m_k and the code z_k of part k. A dot product of two descriptors is a cosine in [-1,1] and the sum of
what the parts make alike, `x . x' = sum_k m_k m'_k cos_k / (|m| |m'|)`: the rank of a photo is explained exactly. The
means and the projection P, the main directions of codes about their part's mean, come from the run's bank of training
patches; so they belong to the model, and what is indexed later is described like what was indexed before.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import pathlib
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict

from partrep import UserError
from partrep.data.decode import View
from partrep.models.part_model import outputs_of
from partrep.report.explained import jpeg
from partrep.report.pictures import reading_regions
from partrep.report.retrieved import Photo as Shown
from partrep.report.retrieved import Query, RetrievedPage
from partrep.search.engines import Searcher
from partrep.search.index import Index, writing
from partrep.tasks.explain_photos import BATCH, Photo, names_in, no_photo, open_photo, opened
from partrep.tasks.finished import Finished
from partrep.train.state import Tree

VERSION = 1
"""Goes up when the descriptor of a photo changes."""

WIDTH, LEAST, MOST = 512, 4, 64
"""Numbers of a descriptor, about; and of a part in it at least and at most."""

SHARD = 256
"""Photos written to the index at once; a run that is killed loses fewer."""

LISTED = 12
"""Parts listed of a query at most."""

SHOWN = 100
"""Queries on the page at most."""

CHANGED, GONE, UNREADABLE = "changed", "gone", "unreadable"
NOTES = {
    CHANGED: "The photo was changed since it was indexed.",
    GONE: "The photo is not there any more.",
    UNREADABLE: "The photo cannot be read.",
}
"""What the page says in place of a photo."""


@dataclasses.dataclass(frozen=True, eq=False)  # hashed by identity: programs are kept for each encoder
class Encoder:
    """Describes photos by their parts.

    Attributes:
        finished: the classifier.
        mean: f32 [K,M], the mean code of each part.
        basis: f32 [M,r], orthonormal: the directions that are kept of a code.
    """

    finished: Finished
    mean: np.ndarray
    basis: np.ndarray

    @classmethod
    def of(cls, finished: Finished) -> Encoder:
        """The encoder of a finished classifier."""
        codes = finished.bank.codes.astype(np.float64)  # [K,m,M]
        real = (finished.bank.labels >= 0)[..., None]
        mean = (codes * real).sum(1) / np.maximum(real.sum(1), 1)
        moved = ((codes - mean[:, None]) * real).reshape(-1, codes.shape[-1])
        rank = min(max(LEAST, min(WIDTH // len(codes), MOST)), codes.shape[-1])
        strength, directions = np.linalg.eigh(moved.T @ moved)
        rank = max(1, min(rank, int((strength > 1e-9 * strength[-1]).sum())))  # what has no strength has no direction
        directions = directions[:, ::-1][:, :rank]
        peaks = np.take_along_axis(directions, np.abs(directions).argmax(0)[None], axis=0)
        directions = directions * np.where(peaks < 0, -1, 1)  # LAPACK leaves the sign open
        return cls(finished, mean.astype(np.float32), directions.astype(np.float32))

    def described(self, photos: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Photos u8 [b,S,S,3], b <= `BATCH` -> descriptors f32 [b,K*r] and assignment [b,K,h,w]."""
        size = 1 if len(photos) == 1 else BATCH  # two shapes, so that two programs are compiled at most
        rows = np.minimum(np.arange(size), len(photos) - 1)
        made = _program(self)(self.finished.variables, photos[rows])
        return np.asarray(made[0])[: len(photos)], np.asarray(made[1])[: len(photos)]


@functools.cache
def _program(encoder: Encoder) -> Any:
    def apply(variables: Tree, photos: jax.Array) -> tuple[jax.Array, jax.Array]:
        outputs = outputs_of(encoder.finished.model, variables, photos.astype(jnp.float32) / 255.0)
        made = descriptors(outputs.codes, outputs.parts.presence, jnp.asarray(encoder.mean), jnp.asarray(encoder.basis))
        return made, outputs.parts.assignment

    return jax.jit(apply)


def descriptors(codes: jax.Array, presence: jax.Array, mean: jax.Array, basis: jax.Array) -> jax.Array:
    """Descriptors f32 [b,K*r] of length one, or zero where no part is present, as the head of this file has them.

    Args:
        codes: [b,K,M].
        presence: [b,K] >= 0.
        mean: f32 [K,M].
        basis: f32 [M,r], orthonormal.

    >>> basis, mean = jnp.eye(2), jnp.zeros((2, 2))
    >>> made = descriptors(jnp.array([[[2.0, 0.0], [0.0, 9.0]]]), jnp.array([[0.6, 0.8]]), mean, basis)
    >>> [[round(x, 3) for x in row] for row in made.tolist()]
    [[0.6, 0.0, 0.0, 0.8]]
    """
    kept = jnp.einsum("bkm,mr->bkr", codes.astype(jnp.float32) - mean, basis, precision=jax.lax.Precision.HIGHEST)
    parts = presence.astype(jnp.float32)[..., None] * _unit(kept)
    return _unit(parts.reshape(len(parts), -1))


def _unit(x: jax.Array) -> jax.Array:
    squared = jnp.sum(x * x, -1, keepdims=True)
    return jnp.where(squared > 0, x * jax.lax.rsqrt(jnp.where(squared > 0, squared, 1.0)), 0.0)


def made_by(encoder: Encoder) -> dict[str, Any]:
    """What descriptors are made by, for the index: a digest of all numbers that the encoder reads, and the view."""
    finished = encoder.finished
    digest = hashlib.sha256(json.dumps(finished.card.model, sort_keys=True, default=dict).encode())
    for names, value in sorted(flatten_dict(finished.variables).items()):
        digest.update("/".join(names).encode() + np.ascontiguousarray(value).tobytes())
    for value in (finished.bank.codes, finished.bank.labels):
        digest.update(np.ascontiguousarray(value).tobytes())
    digest.update(str(np.dtype(finished.model.backbone.dtype)).encode())
    return {
        "model": digest.hexdigest()[:16],
        "view": dict(finished.card.view),
        "width": encoder.mean.shape[0] * encoder.basis.shape[1],
        "version": VERSION,
    }


def index_photos(
    encoder: Encoder, images: pathlib.Path, folder: pathlib.Path, made: Mapping[str, Any]
) -> list[tuple[str, str]]:
    """Indexes the photos of a folder that are not in the index yet, or are no longer what was indexed.

    A photo is known by its name; where its size or time differs from then, it is described again. One that is gone
    stays in the index.

    Returns:
        (file, why) of those that are no photos.

    Raises:
        UserError: no such folder, or no photo in it; an index that is damaged, of another model or of another folder.
    """
    names: list[str] = []
    skipped: list[tuple[str, str]] = []
    for name in names_in(images):
        if name.isprintable():
            names.append(name)
        else:  # bytes that are no text, which no list of names could hold
            skipped.append((ascii(name), "its name is no printable text"))
    _need_photo(images, names, encoder.finished.view, skipped)
    stamps = {name: stamp(images / name) for name in names}
    with writing(folder, {**made, "images": str(images.resolve())}) as writer:
        changed = {name for name in names if name in writer.names and writer.stamps[name] != stamps[name]}
        if changed:
            writer.drop(changed)
        missing, start, done = [name for name in names if name not in writer.names], time.monotonic(), 0
        for first in range(0, len(missing), SHARD):
            read = list(_described(encoder, images, missing[first : first + SHARD], skipped))
            if read:
                found = [photo.name for photo, _, _ in read]
                writer.add(found, np.stack([row for _, row, _ in read]), [stamps[name] for name in found])
            done += len(read)
            pace = done / max(time.monotonic() - start, 1e-9)
            print(f"indexed: {done} of {len(missing)} photos, {pace:.0f} a second", file=sys.stderr)
        said = f"{len(writer.names)} photos, {done - len(changed & writer.names)} of them new"
        said += f", {len(changed)} changed" if changed else ""
        print(f"{folder}: {said}", flush=True)
    return skipped


def _need_photo(folder: pathlib.Path, names: Sequence[str], view: View, skipped: Sequence[tuple[str, str]]) -> None:
    """Raises a `UserError` where no file is a photo; reads up to the first one, so that no index is begun in vain."""
    none = list(skipped)
    for name in names:
        found = open_photo(folder, name, view)
        if isinstance(found, Photo):
            return
        none.append(found)
    raise no_photo(folder, none)


def stamp(path: pathlib.Path) -> list[int] | None:
    """Size and time of a file, which tell whether it was changed; None where it is gone."""
    try:
        found = path.stat()
    except OSError:
        return None
    return [found.st_size, found.st_mtime_ns]


def no_longer(index: Index, row: int, images: pathlib.Path) -> str:
    """`CHANGED` or `GONE` where the photo at a row of the index is not what was indexed, else nothing."""
    now = stamp(images / index.names[row])
    if now is None:
        return GONE
    return "" if now == index.stamps[row] else CHANGED


def no_longer_indexed(index: Index, ids: np.ndarray, images: pathlib.Path) -> dict[str, list[str]]:
    """The names of the photos at some rows of the index that were changed since, and of those that are gone."""
    made: dict[str, list[str]] = {CHANGED: [], GONE: []}
    for row in np.unique(ids[ids >= 0]).tolist():
        if state := no_longer(index, row, images):
            made[state].append(index.names[row])
    return made


def _described(
    encoder: Encoder, folder: pathlib.Path, names: Sequence[str], skipped: list[tuple[str, str]]
) -> Iterator[tuple[Photo, np.ndarray, np.ndarray]]:
    """Each photo among some files with its descriptor [K*r] and its assignment [K,h,w]."""
    for batch in opened(folder, names, encoder.finished.view, skipped):
        yield from zip(batch, *encoder.described(np.stack([photo.seen for photo in batch])))


@dataclasses.dataclass(frozen=True)
class Found:
    """What was found: the queries with what was made of them, and of each the nearest photos.

    Attributes:
        queries: (photo, descriptor [K*r], assignment [K,h,w]) of each.
        similarity: f32 [Q,k], the largest first.
        ids: i64 [Q,k], rows of the index.
        skipped: (file, why) of those that are no photos.
    """

    queries: Sequence[tuple[Photo, np.ndarray, np.ndarray]]
    similarity: np.ndarray
    ids: np.ndarray
    skipped: Sequence[tuple[str, str]]


def query_files(photos: pathlib.Path) -> tuple[pathlib.Path, list[str]]:
    """A folder and the names of files in it: those of a folder of queries, or one file.

    Raises:
        UserError: no such file or folder.
    """
    if not photos.exists():
        raise UserError(f"--queries is {photos}; expected a photo or a folder of photos")
    return (photos, names_in(photos)) if photos.is_dir() else (photos.parent, [photos.name])


def find(encoder: Encoder, searcher: Searcher, photos: pathlib.Path, top: int) -> Found:
    """Finds the photos nearest to a photo, or to each of a folder.

    Raises:
        UserError: no such file, or no photo.
    """
    skipped: list[tuple[str, str]] = []
    folder, names = query_files(photos)
    queries = list(_described(encoder, folder, names, skipped))
    if not queries:
        first = f" ({skipped[0][0]}: {skipped[0][1]})" if skipped else ""
        raise UserError(f"{photos} holds no photo{first}; expected photos such as JPEG or PNG")
    similarity, ids = searcher(np.stack([row for _, row, _ in queries]), top)
    return Found(queries, similarity, ids, tuple(skipped))


def page(encoder: Encoder, index: Index, found: Found, images: pathlib.Path) -> RetrievedPage:
    """What the page shows of the first queries: photos, parts, and what each part makes alike."""
    parts = len(encoder.mean)
    ids = found.ids[:SHOWN]
    rows = np.unique(ids[ids >= 0])
    place = {int(row): n for n, row in enumerate(rows)}
    stored = {int(row): index.descriptors[row : row + 1][0].reshape(parts, -1) for row in rows}
    queries = []
    for (photo, own, assignment), nearest in zip(found.queries, ids):
        alike = {int(row): (own.reshape(parts, -1) * stored[int(row)]).sum(-1) for row in nearest if row >= 0}
        strength = np.abs(np.stack(list(alike.values()))).max(0)
        listed = np.sort(np.argsort(-strength, kind="stable")[:LISTED])
        ranked = tuple((place[row], float(values.sum()), values[listed]) for row, values in alike.items())
        queries.append(Query(_shown(photo, assignment), tuple(map(int, listed)), ranked))
    return RetrievedPage(
        queries=tuple(queries),
        photos=tuple(_results(encoder, index, rows.tolist(), images)),
        skipped=tuple(found.skipped),
        indexed=len(index.names),
        left_out=max(len(found.queries) - SHOWN, 0),
        parts=parts,
    )


def _results(encoder: Encoder, index: Index, rows: Sequence[int], images: pathlib.Path) -> Iterator[Shown]:
    """The photos of the index that were found; one that was changed since or is gone has no picture."""
    names = [index.names[row] for row in rows]
    read = {photo.name: _shown(photo, assignment) for photo, _, assignment in _described(encoder, images, names, [])}
    for row, name in zip(rows, names):
        state = no_longer(index, row, images)  # asked after reading, so that no change before that is missed
        if state or name not in read:
            yield Shown(name, None, (3, 4), (0.0, 0.0, 1.0, 1.0), (), NOTES[state or UNREADABLE])
        else:
            yield read[name]


def _shown(photo: Photo, assignment: np.ndarray) -> Shown:
    regions = tuple(reading_regions(assignment, range(len(assignment))))
    return Shown(photo.name, jpeg(photo.whole), photo.whole.shape[:2], photo.view, regions)
