"""Instance retrieval: descriptors of regions trained by a ranking loss, so that a thing is found again elsewhere.

In: a config. Out: the sets of images, and the network whose regions are described. Training is that of metric learning.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from partrep.data import transforms
from partrep.data.imageset import Batch, ImageSet
from partrep.directions import unit
from partrep.evaluate.predict import predict
from partrep.models.bottlenecks import whitened
from partrep.models.comparisons import COMPARISONS, Kept
from partrep.tasks import metric
from partrep.tasks.batches import eval_batches, spaced
from partrep.tasks.metric import Metric
from partrep.train import sharding
from partrep.train.stages import init_key
from partrep.train.state import Tree

STARTING_IMAGES = 256
"""Training images whose regions the whitening starts from."""


@dataclasses.dataclass(frozen=True, eq=False)  # hashed by identity: programs are kept for each task
class Retrieval(Metric):
    """A task of metric learning whose whitening starts from the principal components of its regions."""

    def start(self) -> Any:
        """The variables at step 0."""
        made = super().start()
        seed = self.config["seed"]
        if callable(made):
            made = jax.device_get(sharding.init_replicated(made, init_key(seed)))
        inner = made["params"]["model"]
        if self.config["model"]["bottleneck"]["name"] != "whitened":
            return made
        bottleneck = whitened.started(inner["bottleneck"], self._starting_vectors(made))
        return {**made, "params": {**made["params"], "model": {**inner, "bottleneck": bottleneck}}}

    def _starting_vectors(self, variables: Mapping[str, Any]) -> np.ndarray:
        """Vectors of the regions of some training images as a training step sees them, f32 [n,D]."""
        params, state = variables["params"], {k: v for k, v in variables.items() if k != "params"}
        images = self.data.train
        key = init_key(self.config["seed"])

        def vectors(given: tuple[Any, Any], batch: Batch) -> jax.Array:
            found = self.forward(*given, images.decode(batch, None), key)[0].parts.vectors
            assert found is not None
            return found

        found = sharding.jit_local(vectors, (params, state))(images.load(spaced(images, STARTING_IMAGES)))
        return np.asarray(found, np.float32).reshape(-1, found.shape[-1])


def make(config: Mapping[str, Any]) -> Retrieval:
    """Reads the data and builds the model that a config names."""
    made = metric.make(config)
    return Retrieval(made.config, made.data, made.model)


def described(
    task: Retrieval, variables: Tree, images: ImageSet, scale: float = 1.0, indices: np.ndarray | None = None
) -> np.ndarray:
    """Descriptors of the images of a set, or of those at `indices`, at a scale of their size, f32 [n,E], length one."""
    return descriptor(regions_of(task, variables, images, scale, indices))


def regions_of(
    task: Retrieval, variables: Tree, images: ImageSet, scale: float = 1.0, indices: np.ndarray | None = None
) -> Kept:
    """Codes f32 [n,K,E] of the regions of images, and how present each is, f32 [n,K]; arguments as of `described`."""
    batches = eval_batches(images, task.config["evaluation"]["batch_size"], indices)
    return predict(_describer(task, images.decode, side_at(task.config, scale)), variables, batches)


def descriptor(kept: Kept) -> np.ndarray:
    """The sum of the regions of an image, `unit(sum_k m_k c_k)`, f32 [n,E], of codes [n,K,E] and presences [n,K].

    >>> descriptor((np.array([[[1.0, 0.0], [0.0, 1.0]]]), np.array([[3.0, 4.0]]))).round(3).tolist()
    [[0.6..., 0.8...]]
    """
    return np.asarray(summed(kept))


def summed(kept: Kept) -> jax.Array:
    """As `descriptor`, on the device."""
    codes, presence = jax.tree.map(lambda x: x.astype(jnp.float32), kept)
    return unit(jnp.einsum("nk,nke->ne", presence, codes, precision=jax.lax.Precision.HIGHEST))


def side_at(config: Mapping[str, Any], scale: float) -> int:
    """Pixels of the side of an image at a scale: the nearest multiple of `evaluation.side_of`; 0 for the set's own.

    >>> side_at({"data": {"size": 64}, "evaluation": {"side_of": 4}}, 0.7071)
    44
    """
    step = config["evaluation"]["side_of"]
    return 0 if scale == 1 else max(1, round(scale * config["data"]["size"] / step)) * step


@functools.cache
def _describer(task: Retrieval, decode: Callable[..., jax.Array], side: int):
    """The function that `predict` compiles; kept, so that sets of one renderer share a program."""

    def apply(variables: Tree, batch: Batch) -> Kept:
        images = decode(batch, None)
        return COMPARISONS["joined"].keep(task.outputs(variables, transforms.resize(images, side) if side else images))

    return apply
