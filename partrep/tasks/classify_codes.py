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
from partrep.losses.disentanglement import gaussian_kl
from partrep.metrics.bits import bits_per_part
from partrep.metrics.disentanglement import part_dci
from partrep.metrics.reconstruction import linear_reconstruction, psnr
from partrep.tasks.classify import Classify
from partrep.train import sharding
from partrep.train.state import Tree

MOST = 1960
"""Birds whose codes are read, half of them to learn which code says what."""


def code_scores(task: Classify, variables: Tree) -> dict[str, float]:
    """Part-level disentanglement, what a line reads of the pixels, how many bits a part says, what the model paints.

    Of codes that are -1 or 1 the bits are their entropy, of random codes the divergence from noise, which bounds what
    they say; other codes are real numbers and have no such bound.

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
    elif "nats" in found:
        made["codes/bits_a_part"] = float(found["nats"].mean() / np.log(2) / codes.shape[1])
    seen, images = np.split(found["image"], [half])
    painted = {
        "mean_psnr": np.broadcast_to(seen.mean(0), images.shape),
        "linear_psnr": linear_reconstruction(codes[:half], seen, codes[half:]),
    }
    if "painted" in found:
        painted["psnr"] = found["painted"][half:]
    return made | {f"codes/{name}": float(psnr(images, each).mean()) for name, each in painted.items()}


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
        made = {"codes": outputs.codes, "values": shown.attributes, "image": shown.image}
        if outputs.posterior is not None:
            made["nats"] = gaussian_kl(outputs.posterior.mean, outputs.posterior.log_variance)
        if outputs.reconstruction is not None:
            made["painted"] = outputs.reconstruction.image
        return made

    return apply
