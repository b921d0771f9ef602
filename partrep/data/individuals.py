"""Individual birds: labels say which bird of its class it is, and no two images of one have like surroundings."""

from __future__ import annotations

import dataclasses
import functools

import jax
import numpy as np

from partrep import UserError
from partrep.data import birds
from partrep.data.birds.world import SPLITS
from partrep.data.imageset import Batch, ImageSet, fingerprint

INDIVIDUAL = np.uint32(0x5EED)
"""What the first word of a bird's key differs by from those of images, so that no image's numbers are a bird's."""


def of_individuals(world: birds.World, group: str, split: str, each: int, images: int, size: int) -> ImageSet:
    """Several birds of every class of a group, and of each bird some images, all in different habitats.

    Birds of one class have the same parts; the tint and the freckles of the body are the bird's own. Habitat, pose,
    light and what hides the bird are new in every image, so that the images of one bird have neither surroundings
    nor light in common, and share the former with images of others by chance.

    Args:
        world: whose classes; its own numbers of images are not read.
        group: "base", "validation" or "novel".
        split: "train", "validation" or "test"; birds and images of different splits have different keys.
        each: birds of a class, at least 1.
        images: of a bird, 1 to 7, as there are habitats.
        size: of the images, in pixels.

    Returns:
        A set whose labels are birds, bird by bird and class by class, and whose groups are their classes.

    Raises:
        UserError: no birds, more images of a bird than habitats, an unknown group or split.

    >>> some = of_individuals(birds.World(), "novel", "test", each=2, images=3, size=32)
    >>> len(some), some.classes, some.groups[:8].tolist(), some.labels[:8].tolist()
    (588, 196, [0, 0, 0, 0, 0, 0, 1, 1], [0, 0, 0, 1, 1, 1, 2, 2])
    """
    if each < 1 or not 1 <= images <= len(birds.HABITAT_NAMES):
        wanted = f"expected at least one bird, and 1 to {len(birds.HABITAT_NAMES)} images, each in another habitat"
        raise UserError(f"{each} birds of a class with {images} images each; {wanted}")
    world = dataclasses.replace(world, images=(each * images, each * images, each * images))
    table = world.split(group, split)
    count = len(table) // images
    own = np.repeat(table.keys[::images] ^ np.array([INDIVIDUAL, 0], np.uint32), images, axis=0)
    seed = [world.seed, SPLITS.index(split), len(world.names(group))]
    habitats = np.tile(np.arange(len(birds.HABITAT_NAMES), dtype=np.int32), (count, 1))
    habitats = np.random.default_rng(seed).permuted(habitats, axis=1)[:, :images].ravel()
    labels = np.repeat(np.arange(count, dtype=np.int32), images)

    def load(indices: np.ndarray) -> Batch:
        columns = {"keys": table.keys, "values": table.values, "bird": own, "habitat": habitats, "label": labels}
        return {name: column[indices] for name, column in columns.items()}

    decode, truth = _renderers(dataclasses.replace(world, images=(1, 1, 1)), size)
    names = tuple(f"{name}, bird {number + 1}" for name in world.names(group) for number in range(each))
    digest = fingerprint(birds.VERSION, world.settings, repr(world), group, split, each, images, size)
    return ImageSet(labels, load, decode, digest, groups=table.labels, names=names, truth=truth)


@functools.cache
def _renderers(world: birds.World, size: int):
    """`decode` and `truth` of `ImageSet`: the same ones for all sets of a world, so that they share programs."""

    def scene(batch: Batch) -> birds.Scene:
        made = birds.sample(world, batch["keys"], batch["values"], individuals=batch["bird"])
        return dataclasses.replace(made, habitat=batch["habitat"])

    def decode(batch: Batch, key: jax.Array | None) -> jax.Array:
        return birds.render(world, scene(batch), size).image

    def truth(batch: Batch) -> birds.Rendered:
        return birds.render(world, scene(batch), size, masks=True)

    return decode, truth
