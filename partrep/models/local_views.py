"""Which local vectors of an image the few-shot heads read: locations, fixed cells, parts, or one vector."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from partrep.models.local import Local
from partrep.models.outputs import PartOutputs


def grid_centres(h: int, w: int) -> jax.Array:
    """Centres (y, x) of the cells of an h x w grid over the image, f32 [h*w,2], row by row.

    >>> grid_centres(1, 2).tolist()
    [[0.5, 0.25], [0.5, 0.75]]
    """
    y, x = (jnp.arange(h) + 0.5) / h, (jnp.arange(w) + 0.5) / w
    return jnp.stack(jnp.meshgrid(y, x, indexing="ij"), -1).reshape(h * w, 2)


def _fixed(vectors: jax.Array, h: int, w: int) -> Local:
    """A `Local` of [B,h*w,D] vectors on a grid, all of weight one."""
    b, r = vectors.shape[:2]
    positions = jnp.broadcast_to(grid_centres(h, w), (b, r, 2))
    return Local(vectors, jnp.ones((b, r)), positions)


def dense(outputs: PartOutputs) -> Local:
    """Every location of the map: vectors [B,h*w,D], weights one, positions at the centres of the cells."""
    b, h, w, d = outputs.features.shape
    return _fixed(outputs.features.reshape(b, h * w, d), h, w)


def _area_pooling(size: int, cells: int) -> jax.Array:
    """[cells,size]: the share that each of `size` equal intervals has in each of `cells` equal intervals."""
    low, edge = jnp.arange(size) / size, jnp.arange(cells)[:, None] / cells
    overlap = jnp.minimum(low + 1 / size, edge + 1 / cells) - jnp.maximum(low, edge)
    return jnp.maximum(overlap, 0.0) * cells


def grid(outputs: PartOutputs, cells: int = 3) -> Local:
    """Means over `cells` x `cells` fixed cells: vectors [B,cells*cells,D], weights one.

    Cells that cut through locations take their share of them, so any map size works.
    """
    b, h, w, d = outputs.features.shape
    rows, columns = _area_pooling(h, cells), _area_pooling(w, cells)
    pooled = jnp.einsum("ih,jw,bhwd->bijd", rows, columns, outputs.features.astype(jnp.float32))
    return _fixed(pooled.reshape(b, cells * cells, d), cells, cells)


def pooled(outputs: PartOutputs) -> Local:
    """The mean over all locations, one vector an image: vectors [B,1,D], weight one, the image's centre."""
    return _fixed(outputs.features.astype(jnp.float32).mean((1, 2))[:, None], 1, 1)


def embedding(outputs: PartOutputs) -> Local:
    """The model's embedding, one vector an image: vectors [B,1,E], weight one, the image's centre."""
    return _fixed(outputs.embedding[:, None], 1, 1)


def parts(outputs: PartOutputs) -> Local:
    """The part codes: vectors [B,K,M], weighted by presence, placed at the centroids of the parts."""
    return Local(outputs.codes, outputs.parts.presence, outputs.parts.centroid)


def nearest_centroid(outputs: PartOutputs, centroids: jax.Array) -> Local:
    """K-means parts: each location goes to its nearest centroid; the means of each centroid's locations.

    Arguments:
        outputs: of the model.
        centroids: [K,D], in the space of the features.

    Returns:
        vectors f32 [B,K,D], weights one where the centroid has a location and zero elsewhere, positions at
        the mean of its locations (the image's centre where it has none).
    """
    b, h, w, d = outputs.features.shape
    x = outputs.features.reshape(b, h * w, d).astype(jnp.float32)
    centroids = centroids.astype(jnp.float32)
    distance = (centroids**2).sum(-1) - 2 * jnp.einsum("bnd,kd->bnk", x, centroids, precision="highest")
    share = jax.nn.one_hot(distance.argmin(-1), centroids.shape[0])
    count = share.sum(1)
    mean = share / jnp.maximum(count, 1.0)[:, None]
    there = (count > 0).astype(jnp.float32)
    places = jnp.einsum("bnk,nc->bkc", mean, grid_centres(h, w)) + 0.5 * (1 - there)[..., None]
    return Local(jnp.einsum("bnk,bnd->bkd", mean, x), there, places)


VIEWS = {"dense": dense, "grid": grid, "pooled": pooled, "embedding": embedding, "parts": parts}
