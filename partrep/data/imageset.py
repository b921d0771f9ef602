"""Labelled images of any source in one form: what the host hands over for some indices, and how the step decodes it."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from partrep.data import birds, transforms
from partrep.data.source import ArraySource
from partrep.data.view_truth import ViewTruth

Batch = dict[str, Any]


@dataclasses.dataclass(frozen=True, eq=False)
class ImageSet:
    """`n` labelled images; `load` runs on the host and is cheap, `decode` runs on the device inside a jitted step.

    Attributes:
        labels: i32 [n].
        load: indices int [m] -> {name: array with leading axis m}, always with `label`.
        decode: (batch, key or None) -> images f32 [m,H,W,C] in [0,1], or of a set with a `grid` their features f32
            [m,h,w,D]; augmented where a key is given.
        fingerprint: sixteen hex digits that change with the images.
        groups: i32 [n], such as the alphabet; None where there are none.
        attribute: i32 [n], such as the drawer; None where there is none.
        names: of the classes.
        class_parts: i32 [C,6], the value of each part of each class of birds; None where classes are no code.
        truth: (batch) -> the true parts of the images (`birds.Rendered`); None where they are not known.
        warped: (batch, `Warp` of one warp) -> the images, all under that warp; None where they are rendered.
        target: (batch) -> f32 [m,C], the exact class posterior of what the images show; None where it is one class.
        matched: (batch) -> bool [m], whether the surroundings are those of the class; None where none has its own.
        grid: (h, w, D) of a set that holds features of a frozen backbone; None of a set of images.
        photos: indices int [m] -> u8 [m,H,W,3], the photos for people to look at; None where they are not photos.
        annotations: indices int [m] -> what annotators marked in those photos; None where they marked nothing.
    """

    labels: np.ndarray
    load: Callable[[np.ndarray], Batch]
    decode: Callable[[Batch, jax.Array | None], jax.Array]
    fingerprint: str
    groups: np.ndarray | None = None
    attribute: np.ndarray | None = None
    names: tuple[str, ...] = ()
    class_parts: np.ndarray | None = None
    truth: Callable[[Batch], birds.Rendered] | None = None
    warped: Callable[[Batch, transforms.Warp], jax.Array] | None = None
    target: Callable[[Batch], jax.Array] | None = None
    matched: Callable[[Batch], jax.Array] | None = None
    grid: tuple[int, int, int] | None = None
    photos: Callable[[np.ndarray], np.ndarray] | None = None
    annotations: Callable[[np.ndarray], ViewTruth | None] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def classes(self) -> int:
        """The number of classes, C."""
        return len(self.names) or int(self.labels.max()) + 1


def of_birds(world: birds.World, group: str, split: str, size: int, habitat: str = "world") -> ImageSet:
    """The birds of a group of classes, rendered inside the step at `size` x `size` pixels.

    `habitat` names the test sets of a shortcut, see `birds.sample`. Where training birds lack parts (`absence`), the
    target is the exact posterior.
    """
    part = world.split(group, split)

    def load(indices: np.ndarray) -> Batch:
        return {"keys": part.keys[indices], "values": part.values[indices], "label": part.labels[indices]}

    def scene(batch: Batch) -> birds.Scene:
        return birds.sample(world, batch["keys"], batch["values"], habitat)

    def target(batch: Batch) -> jax.Array:
        return birds.class_posterior(world, group, scene(batch))

    def matched(batch: Batch) -> jax.Array:
        return birds.habitat_matches(world, group, scene(batch), batch["label"])

    decode, truth = _renderers(world, size, habitat)
    other = () if habitat == "world" else (habitat,)
    print_ = fingerprint(birds.VERSION, world.settings, repr(world), group, split, size, *other)
    lacking = world.absence and split == "train"
    return ImageSet(
        part.labels,
        load,
        decode,
        print_,
        names=tuple(world.names(group)),
        class_parts=part.classes,
        truth=truth,
        target=target if lacking else None,
        matched=matched if world.shortcut else None,
    )


@functools.cache
def _renderers(world: birds.World, size: int, habitat: str):
    """`decode` and `truth` of `ImageSet`: the same ones for all sets of a world, so that they share programs."""

    def scene(batch: Batch) -> birds.Scene:
        return birds.sample(world, batch["keys"], batch["values"], habitat)

    def decode(batch: Batch, key: jax.Array | None) -> jax.Array:
        # Every image has a nuisance of its own already, so training adds no augmentation to it.
        return birds.render(world, scene(batch), size).image

    def truth(batch: Batch) -> birds.Rendered:
        return birds.render(world, scene(batch), size, masks=True)

    return decode, truth


def of_arrays(
    source: ArraySource,
    size: int,
    warp: transforms.WarpSettings | None = None,
    rotated: bool = False,
    attribute: str | None = None,
) -> ImageSet:
    """Images in memory, brought to `size` x `size` pixels inside the step.

    Args:
        source: u8 images [n,H,W,C]; a single channel is read as ink on paper (0 is ink) and turned over.
        warp: the random warp of training images; None for none.
        rotated: whether each class turned by 90, 180 and 270 degrees makes a class of its own.
        attribute: name of the attribute that the episode sampler crosses, such as "drawer".
    """
    turns = 4 if rotated else 1
    images, labels = source.images, source.labels

    def load(indices: np.ndarray) -> Batch:
        chosen, turn = indices // turns, indices % turns
        picked = images[chosen]
        if rotated:
            picked = np.stack([np.rot90(image, k) for image, k in zip(picked, turn)]) if len(picked) else picked
        return {"image": picked, "label": (labels[chosen] * turns + turn).astype(np.int32)}

    decode, warped = _array_decoders(images.shape[-1] == 1, size, warp)

    def repeat(column: np.ndarray | None) -> np.ndarray | None:
        return None if column is None else np.repeat(column, turns)

    digest = fingerprint(images.tobytes(), labels.tobytes(), size, rotated)
    turned = (np.repeat(labels, turns) * turns + np.tile(np.arange(turns), len(labels))).astype(np.int32)
    crossed = source.attributes[attribute] if attribute else None
    degrees = [f" at {90 * turn} degrees" if turn else "" for turn in range(turns)]
    names = tuple(name + turn for name in source.classes for turn in degrees)
    return ImageSet(turned, load, decode, digest, repeat(source.groups), repeat(crossed), names, warped=warped)


@functools.cache
def _array_decoders(ink: bool, size: int, warp: transforms.WarpSettings | None):
    """`decode` and `warped` of images in memory: the same ones for all sets of a size, so that they share programs."""

    def stored(batch: Batch) -> jax.Array:
        picked = jnp.asarray(batch["image"], jnp.float32) / 255.0
        return 1.0 - picked if ink else picked

    def move(picked: jax.Array, moves: transforms.Warp) -> jax.Array:
        return transforms.apply_to_images(moves, picked, size, fill=0.0 if ink else None)

    def decode(batch: Batch, key: jax.Array | None) -> jax.Array:
        picked = stored(batch)
        if key is None or warp is None:
            return transforms.resize(picked, size) if picked.shape[1:3] != (size, size) else picked
        return move(picked, transforms.random_warp(key, picked.shape[0], warp))

    def warped(batch: Batch, one: transforms.Warp) -> jax.Array:
        picked = stored(batch)
        return move(picked, jax.tree.map(lambda x: jnp.broadcast_to(x, (picked.shape[0], *x.shape)), one))

    return decode, warped


def of_features(
    features: np.ndarray,
    labels: np.ndarray,
    names: Sequence[str],
    chosen: np.ndarray,
    photos: Callable[[np.ndarray], np.ndarray],
    digest: str,
    warp: transforms.WarpSettings | None = None,
) -> ImageSet:
    """Features of some photos of a set; in training, flipped and cropped as grids where a warp says so.

    Args:
        features: f16 [n,h,w,D] of all photos of the set, such as a memory-mapped file.
        labels: i32 [n] in 0..C-1, of the same.
        names: of the C classes.
        chosen: int [m], which photos these are.
        photos: numbers in the whole set int [k] -> u8 [k,H,W,3].
        digest: changes with the photos and with how their features are computed.
        warp: the random warp of training grids; None for none.
    """
    labels = labels[chosen].astype(np.int32)

    def load(indices: np.ndarray) -> Batch:
        return {"grid": features[chosen[indices]], "label": labels[indices]}

    return ImageSet(
        labels,
        load,
        _decoder("grid", 1.0, warp),
        fingerprint(digest, chosen.tobytes()),
        names=tuple(names),
        grid=tuple(features.shape[1:]),
        photos=lambda indices: photos(chosen[indices]),
    )


def of_photos(
    labels: np.ndarray,
    names: Sequence[str],
    chosen: np.ndarray,
    photos: Callable[[np.ndarray], np.ndarray],
    digest: str,
    warp: transforms.WarpSettings | None = None,
) -> ImageSet:
    """Some photos of a set as images, decoded on the host batch by batch; in training, flipped and cropped.

    The arguments are those of `of_features`, which has the features of the same photos.
    """
    labels = labels[chosen].astype(np.int32)

    def load(indices: np.ndarray) -> Batch:
        return {"image": photos(chosen[indices]), "label": labels[indices]}

    digest = fingerprint(digest, chosen.tobytes(), "images")
    show = lambda indices: photos(chosen[indices])  # noqa: E731
    return ImageSet(labels, load, _decoder("image", 255.0, warp), digest, names=tuple(names), photos=show)


@functools.cache
def _decoder(column: str, largest: float, warp: transforms.WarpSettings | None):
    """`decode` of a column, divided by its largest value: the same for all sets of a warp, which share programs."""

    def decode(batch: Batch, key: jax.Array | None) -> jax.Array:
        stored = jnp.asarray(batch[column], jnp.float32) / largest
        if key is None or warp is None:
            return stored
        return transforms.apply_to_images(transforms.random_warp(key, stored.shape[0], warp), stored, fill=None)

    return decode


def fingerprint(*parts: Any) -> str:
    """Sixteen hex digits of `parts`: bytes as they are, anything else as it prints (arrays as bytes, then)."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part if isinstance(part, bytes) else repr(part).encode())
    return digest.hexdigest()[:16]
