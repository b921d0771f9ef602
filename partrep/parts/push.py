"""The push: each prototype becomes the nearest patch of its own class, found in one pass over the training images.

`start`, `update` for each batch, `finish`. `start_neighbours`, `update_neighbours` and `own_class_share` find the
prototypes to remove. Results depend neither on the order of the images nor on how they are cut into batches:
distances are added up entry by entry, so that no sum is regrouped with the shape of a batch (as that of a matrix
product may be), and exact ties go to the smallest image id, then to the first place in reading order. The bits of the
features themselves may depend on the shape of the batch that made them: make them in batches of one size, the last
padded with `valid` false.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import struct

from partrep import UserError
from partrep.parts.queries import own_class
from partrep.shapes import check_shapes

LAST = jnp.iinfo(jnp.int32).max


@struct.dataclass
class Nearest:
    """The nearest patch of its own class that each prototype has met.

    Attributes:
        distance: f32 [P], squared; infinite where no image of the class was seen.
        image: i32 [P], id of the image; -1 where none.
        place: i32 [P,2], its cell (y, x); -1 where none.
        vector: f32 [P,d], the patch's feature after the add-on; 0 where none.
    """

    distance: jax.Array
    image: jax.Array
    place: jax.Array
    vector: jax.Array


@struct.dataclass
class Neighbours:
    """The nearest images of each prototype, of any class, by falling nearness.

    Attributes:
        distance: f32 [P,k], squared, of the nearest patch of each image; infinite where none.
        image: i32 [P,k], id; -1 where none.
        label: i32 [P,k], class of the image; -1 where none.
    """

    distance: jax.Array
    image: jax.Array
    label: jax.Array


def squared_distances(features: jax.Array, prototypes: jax.Array) -> jax.Array:
    """Squared distances that depend on the two vectors alone, `d_pn = sum_i (z_ni - p_pi)^2`, added up in order.

    Args:
        features: [B,h,w,d], `z`.
        prototypes: [P,d], `p`.

    Returns:
        f32 [B,P,h,w] >= 0, exactly 0 for equal vectors; equal pairs of vectors give equal bits wherever they are
        in whatever batch.

    Raises:
        ValueError: shapes that do not agree.

    Example:
        >>> squared_distances(jnp.array([[[[3.0, 4.0]]]]), jnp.zeros((1, 2))).tolist()
        [[[[25.0]]]]

    Source: standard. `partrep.parts.similarity.negative_squared_distance` is faster and does for training.
    """
    axes = {"features": (features, "B h w d"), "prototypes": (prototypes, "P d")}
    sizes = check_shapes("squared_distances", **axes)
    z = jnp.moveaxis(features.astype(jnp.float32), -1, 0)
    p = prototypes.astype(jnp.float32).T

    def add(total: jax.Array, entry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        places, centres = entry
        return total + (places[:, None] - centres[:, None, None]) ** 2, None

    total = jnp.zeros([sizes[a] for a in "BPhw"], jnp.float32)
    return jax.lax.scan(add, total, (z, p), unroll=8)[0]


def start(prototypes: int, width: int) -> Nearest:
    """No patch met yet.

    >>> start(2, 3).image.tolist()
    [-1, -1]
    """
    nothing = jnp.full((prototypes,), -1, jnp.int32)
    return Nearest(
        distance=jnp.full((prototypes,), jnp.inf, jnp.float32),
        image=nothing,
        place=jnp.stack([nothing, nothing], axis=1),
        vector=jnp.zeros((prototypes, width), jnp.float32),
    )


def nearer(one: Nearest, other: Nearest) -> Nearest:
    """The nearer patch of two for each prototype; of equals the smaller image id, then the first place.

    >>> one, other = (start(1, 2).replace(distance=jnp.ones(1), image=jnp.array([i])) for i in (7, 4))
    >>> nearer(one, other).image.tolist()
    [4]
    """
    first = jnp.zeros(one.distance.shape, bool)  # whether `other` comes first; decided from the last key up
    keys = [(x.distance, x.image, x.place[:, 0], x.place[:, 1]) for x in (one, other)]
    for mine, its in reversed(list(zip(*keys))):
        first = (its < mine) | ((its == mine) & first)
    return jax.tree.map(lambda a, b: jnp.where(first.reshape(-1, *[1] * (a.ndim - 1)), b, a), one, other)


def _nearest_of_batch(distance: jax.Array, cell: jax.Array, ids: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The least distance [P] over a batch's [B,P], and the image [P] that has it: by id, then by cell."""
    least = jnp.min(distance, axis=0)
    tied = distance == least
    tied &= ids[:, None] == jnp.min(jnp.where(tied, ids[:, None], LAST), axis=0)
    return least, jnp.argmin(jnp.where(tied, cell, LAST), axis=0)


def update(
    nearest: Nearest,
    features: jax.Array,
    prototypes: jax.Array,
    prototype_classes: jax.Array,
    labels: jax.Array,
    ids: jax.Array,
    valid: jax.Array,
) -> Nearest:
    """The nearest patches after one more batch, `argmin_{b,n} {|z_bn - p_p|^2 : y_b = c_p}`.

    Args:
        nearest: of the batches so far, from `start`.
        features: [B,h,w,d], `z`, finite, after the add-on (`Prototypes.project`), of images that are not
            augmented.
        prototypes: [P,d], `p`.
        prototype_classes: int [P], `c`.
        labels: int [B], `y`.
        ids: i32 [B] >= 0, the images' numbers in the training set.
        valid: bool [B]; false images are ignored.

    Returns:
        `Nearest`, the same for any order of the images and any cut into batches.

    Raises:
        ValueError: shapes that do not agree.

    Example:
        >>> z, p = jnp.array([[[[0.0], [3.0]]]]), jnp.array([[1.0], [1.0]])
        >>> images = {"labels": jnp.array([0]), "ids": jnp.array([5]), "valid": jnp.ones(1, bool)}
        >>> found = jax.jit(update)(start(2, 1), z, p, jnp.array([0, 1]), **images)
        >>> found.image.tolist(), found.place.tolist(), found.distance.tolist()
        ([5, -1], [[0, 0], [-1, -1]], [1.0, inf])

    Source: ProtoPNet (Chen et al. 2019), section 2.2, projection of prototypes.
    Departures: exact ties go to the smallest id and then the first place; in the released code to whichever the
    loader gives first.
    """
    axes = {"labels": (labels, "B"), "ids": (ids, "B"), "valid": (valid, "B")}
    prototype_axes = {"prototypes": (prototypes, "P d"), "prototype_classes": (prototype_classes, "P")}
    sizes = check_shapes("update", features=(features, "B h w d"), **axes, **prototype_axes)
    distance = squared_distances(features, prototypes).reshape(sizes["B"], sizes["P"], -1)
    cell = jnp.argmin(distance, axis=-1)
    counts = own_class(prototype_classes, labels) & valid[:, None]
    least, row = _nearest_of_batch(jnp.where(counts, jnp.min(distance, axis=-1), jnp.inf), cell, ids)
    cell = jnp.take_along_axis(cell, row[None], axis=0)[0]
    flat = features.astype(jnp.float32).reshape(sizes["B"], -1, sizes["d"])
    place = jnp.stack(jnp.divmod(cell, sizes["w"]), axis=1).astype(jnp.int32)
    found = Nearest(least, ids[row].astype(jnp.int32), place, flat[row, cell])
    return nearer(nearest, found)  # where the class is not in the batch, infinity is not nearer


def finish(nearest: Nearest, prototypes: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The pushed prototypes, `p_p <- z_n*` with `n*` the nearest patch of the class, and where they come from.

    Args:
        nearest: of all training images.
        prototypes: [P,d], as they were.

    Returns:
        prototypes: f32 [P,d]; one whose class had no image stays where it is.
        provenance: the variables `image` i32 [P], `place` i32 [P,2] and `distance` f32 [P] of `Prototypes`, all
            -1 for a prototype that stays.

    Raises:
        ValueError: shapes that do not agree.

    Example:
        >>> moved, provenance = finish(start(1, 2), jnp.full((1, 2), 0.5))
        >>> moved.tolist(), provenance["image"].tolist(), provenance["distance"].tolist()
        ([[0.5, 0.5]], [-1], [-1.0])

    Source: ProtoPNet (Chen et al. 2019), section 2.2, projection of prototypes.
    Departures: a prototype that is not pushed says so; the provenance of an earlier push does not outlive it.
    """
    check_shapes("finish", vector=(nearest.vector, "P d"), prototypes=(prototypes, "P d"))
    hit = nearest.image >= 0
    distance = jnp.where(hit, nearest.distance, -1.0)
    moved = jnp.where(hit[:, None], nearest.vector, prototypes.astype(jnp.float32))
    return moved, {"image": nearest.image, "place": nearest.place, "distance": distance}


def start_neighbours(prototypes: int, count: int = 6) -> Neighbours:
    """No image met yet; `count` is k.

    >>> start_neighbours(2).label.shape
    (2, 6)
    """
    if count < 1:
        raise UserError(f"start_neighbours: count is {count}; expected at least 1")
    nothing = jnp.full((prototypes, count), -1, jnp.int32)
    return Neighbours(jnp.full((prototypes, count), jnp.inf, jnp.float32), nothing, nothing)


def update_neighbours(
    neighbours: Neighbours,
    features: jax.Array,
    prototypes: jax.Array,
    labels: jax.Array,
    ids: jax.Array,
    valid: jax.Array,
) -> Neighbours:
    """The k nearest images of each prototype after one more batch; an image is as near as its nearest patch.

    Args:
        neighbours: of the batches so far, from `start_neighbours`; every image is to be seen once.
        features: [B,h,w,d], finite, after the add-on, of images that are not augmented.
        prototypes: [P,d], pushed.
        labels: int [B].
        ids: i32 [B] >= 0, the images' numbers in the training set.
        valid: bool [B]; false images are ignored.

    Returns:
        `Neighbours`, the same for any order of the images and any cut into batches; of equals the smaller id is
        nearer.

    Raises:
        ValueError: shapes that do not agree.

    Example:
        >>> z = jnp.array([3.0, 1.0]).reshape(2, 1, 1, 1)
        >>> images = {"labels": jnp.array([0, 1]), "ids": jnp.array([7, 8]), "valid": jnp.ones(2, bool)}
        >>> found = jax.jit(update_neighbours)(start_neighbours(1, 3), z, jnp.zeros((1, 1)), **images)
        >>> found.image.tolist(), found.label.tolist()
        ([[8, 7, -1]], [[1, 0, -1]])

    Source: ProtoPNet (Chen et al. 2019), supplement, pruning, k = 6.
    """
    axes = {"labels": (labels, "B"), "ids": (ids, "B"), "valid": (valid, "B")}
    check_shapes("update_neighbours", features=(features, "B h w d"), prototypes=(prototypes, "P d"), **axes)
    distance = jnp.min(squared_distances(features, prototypes), axis=(2, 3)).T
    seen = [jnp.broadcast_to(jnp.where(valid, x, -1).astype(jnp.int32), distance.shape) for x in (ids, labels)]
    batch = (jnp.where(valid, distance, jnp.inf), *seen)
    old = (neighbours.distance, neighbours.image, neighbours.label)
    together = tuple(jnp.concatenate(pair, axis=1) for pair in zip(old, batch))
    count = neighbours.distance.shape[1]
    return Neighbours(*(x[:, :count] for x in jax.lax.sort(together, dimension=1, num_keys=2)))


def own_class_share(neighbours: Neighbours, prototype_classes: jax.Array) -> jax.Array:
    """How many of a prototype's nearest images are of its class, `q_p = (1/k) sum_j [y_pj = c_p]`.

    Args:
        neighbours: of all training images, `y` their labels [P,k].
        prototype_classes: int [P], `c`.

    Returns:
        f32 [P] in [0,1]; with k = 6 the source keeps a prototype from 1/2 on (3 of 6), `prune/kept`.

    Raises:
        ValueError: shapes that do not agree.

    Example:
        >>> labels = jnp.array([[0, 0, 1, 1], [1, 0, 0, 0]])
        >>> own_class_share(start_neighbours(2, 4).replace(label=labels), jnp.array([0, 1])).tolist()
        [0.5, 0.25]

    Source: ProtoPNet (Chen et al. 2019), supplement, pruning: removed where fewer than 3 of 6 are of the class.
    """
    check_shapes("own_class_share", label=(neighbours.label, "P k"), prototype_classes=(prototype_classes, "P"))
    return jnp.mean((neighbours.label == prototype_classes[:, None]).astype(jnp.float32), axis=1)
