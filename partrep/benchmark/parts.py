"""What a part method adds to a training step of ResNet-18, and what each competition costs."""

from __future__ import annotations

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from partrep.benchmark.timing import Numbers, Settings, Steps, interleaved, peak_bytes, prefixed, ratios
from partrep.losses.classification import softmax_cross_entropy
from partrep.models.backbones import BACKBONES
from partrep.models.bottlenecks import BOTTLENECKS
from partrep.models.heads import HEADS
from partrep.models.part_model import PartModel
from partrep.parts import METHODS, competition, readout
from partrep.parts.similarity import negative_standardised_distance
from partrep.parts.structure import Parts
from partrep.train.sharding import compute_dtype
from partrep.train.stages import Aux, Stage

PARTS, CLASSES = 16, 200
ALONE = "backbone alone"


class Balanced(nn.Module):
    """K prototypes that share each image out by Sinkhorn: `a = sinkhorn(-|u_n - p_k|^2)`, area means read out."""

    parts: int

    @nn.compact
    def __call__(self, features: jax.Array, train: bool) -> Parts:
        """Features [B,h,w,D] -> `Parts`."""
        prototypes = self.param("prototypes", nn.initializers.normal(0.1), (self.parts, features.shape[-1]))
        similarity = negative_standardised_distance(features, prototypes)
        assignment = competition.sinkhorn(similarity)
        return Parts(
            similarity=similarity,
            assignment=assignment,
            background=None,
            vectors=readout.area_mean(features, assignment),
            scores=None,
            presence=readout.presence(assignment),
            centroid=readout.centroid(assignment),
        )


def methods() -> dict[str, nn.Module]:
    """The backbone with global mean alone, and with each way to find 16 parts on its map."""
    return {
        ALONE: METHODS["gap"](),
        "landmarks": METHODS["landmarks"](parts=PARTS),
        "slots": METHODS["slots"](parts=PARTS, rounds=3),
        "sinkhorn": Balanced(parts=PARTS),
    }


def measure(settings: Settings) -> Numbers:
    """Step times of ResNet-18 with a map of one location for 16x16 pixels, with each method and alone.

    A step is forward, backward and update on a batch that lies ready. Softmax with background and area mean is
    `landmarks`; `slots` has three rounds, `sinkhorn` the iterations of its default.
    """
    steps = {}
    for name, method in methods().items():
        steps[name] = compiled(method, settings)
        settings.say(f"parts: {name} compiled in {steps[name].compile_seconds:.1f} s")
    times = interleaved(steps, settings.pairs, lambda line: settings.say(f"parts: {line}"))
    made: Numbers = {}
    for name, step in steps.items():
        numbers = {"step_seconds": float(np.median(times[name])), **step.numbers()}
        if name != ALONE:
            numbers |= ratios(times[name], times[ALONE])
        made |= prefixed(f"parts/{name.replace(' ', '_')}", numbers)
    return made | prefixed("parts", peak_bytes())


def compiled(method: nn.Module, settings: Settings) -> Steps:
    """The step of ResNet-18 with one part method."""
    network = model(method, settings)
    batches = Ready(settings.batch, settings.image)
    optimizer = {"name": "sgd", "learning_rate": 0.01}
    stage = Stage("measured", 2**30, functools.partial(loss, network), batches, optimizer)
    image = jnp.zeros((1, settings.image, settings.image, 3))
    return Steps(stage, lambda key: dict(network.init(key, image, False)))


def model(method: nn.Module, settings: Settings) -> PartModel:
    """ResNet-18 whose map keeps a location for 16x16 pixels, a part method and one linear classifier."""
    fields = {"strides": (1, 2, 2, 1), "dtype": compute_dtype("auto"), **settings.backbone}
    return PartModel(
        backbone=BACKBONES["resnet18"](**fields),
        method=method,
        bottleneck=BOTTLENECKS["identity"](),
        head=HEADS["linear"](classes=CLASSES),
    )


@dataclasses.dataclass(frozen=True)
class Ready:
    """The same batch of noise at every step."""

    batch: int
    image: int

    @functools.cached_property
    def _arrays(self) -> dict[str, np.ndarray]:
        random = np.random.default_rng(0)
        return {
            "image": random.random((self.batch, self.image, self.image, 3), np.float32),
            "label": random.integers(0, CLASSES, self.batch).astype(np.int32),
        }

    def __getitem__(self, t: int) -> dict[str, np.ndarray]:
        return self._arrays


def loss(model: PartModel, params, model_state, loss_state, batch, key):
    """Cross entropy of the classifier."""
    variables = {"params": params, **model_state}
    outputs, state = model.apply(variables, batch["image"], True, mutable=list(model_state), rngs={"gumbel": key})
    entropy = softmax_cross_entropy(outputs.logits, batch["label"]).mean()
    return {"classification": (entropy, 1.0)}, Aux(state, loss_state, {})
