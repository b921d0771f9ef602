"""What the codes of the parts say: which true part each one speaks of, in how many bits, and how well they paint."""

from __future__ import annotations

import functools
from typing import Any

import jax.numpy as jnp
import numpy as np

from partrep.data import birds
from partrep.data.imageset import Batch
from partrep.data.pipeline import EvalBatches
from partrep.evaluate.predict import predict
from partrep.metrics.bits import bits_per_part
from partrep.metrics.disentanglement import part_dci
from partrep.metrics.reconstruction import psnr
from partrep.tasks.classify import Classify
from partrep.train import sharding
from partrep.train.state import Tree

MOST = 1960
"""Birds whose codes are read, half of them to learn which code says what."""


def code_scores(task: Classify, variables: Tree) -> dict[str, float]:
    """Part-level disentanglement, and where codes are bits their entropy, where the model paints its error.

    The birds are test images of the world whose six part values are drawn independently of each other, so that no
    code can say one value by way of another.
    """
    assert task.data.world is not None
    found = predict(_apply(task), variables, _independent(task))
    codes, factors = found["codes"], found["values"]
    half = len(codes) // 2
    made: dict[str, float] = {}
    if codes.shape[1] > 1:
        scores = part_dci(codes[:half], factors[:half], codes[half:], factors[half:], task.config["seed"])
        made |= {f"codes/{name}": float(getattr(scores, name)) for name in scores._fields[:3]}
    if np.isin(codes, (-1, 1)).all():
        made["codes/bits_a_part"] = float(bits_per_part(codes).mean())
    if "painted" in found:
        made["codes/psnr"] = float(psnr(found["image"], found["painted"]).mean())
    return made


def _independent(task: Classify):
    """Padded batches of keys of test images, in every one of which the parts have values of their own."""
    world, size = task.data.world, task.config["evaluation"]["batch_size"]
    assert world is not None
    keys = world.split(task.data.group, "test").keys
    keys = keys[np.linspace(0, len(keys) - 1, min(MOST, len(keys))).astype(int)]
    keys = keys[np.random.default_rng(0).permutation(len(keys))]  # both halves from all classes
    processes = sharding.process_count()
    order = EvalBatches(len(keys), -(-size // processes) * processes, sharding.process_index(), processes)
    for t in range(len(order)):
        yield {"keys": keys[order[t]["index"]], "valid": order[t]["valid"]}


@functools.cache
def _apply(task: Classify):
    """The function that `predict` compiles."""
    world, side = task.data.world, task.config["data"]["size"]
    assert world is not None

    def apply(variables: Tree, batch: Batch) -> dict[str, Any]:
        nothing = jnp.full((batch["keys"].shape[0], len(birds.PARTS)), -1)  # any value, drawn with the image
        shown = birds.render(world, birds.sample(world, batch["keys"], nothing), side)
        outputs = task.outputs(variables, shown.image)
        made = {"codes": outputs.codes, "values": shown.attributes}
        if outputs.reconstruction is not None:
            made |= {"image": shown.image, "painted": outputs.reconstruction.image}
        return made

    return apply
