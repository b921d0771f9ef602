"""What each loss of metric learning costs beside supervised contrastive, plain and in blocks, in the same rounds."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from partrep.benchmark.timing import Numbers, Ready, Settings, interleaved, peak_bytes, prefixed, ratios
from partrep.losses.average_precision import histogram_ap, smooth_ap
from partrep.losses.circle import circle
from partrep.losses.contrastive import contrastive, nt_xent, supervised_contrastive
from partrep.losses.margin_softmax import arcface, cosface, normalised_softmax
from partrep.losses.multi_similarity import multi_similarity
from partrep.losses.proxies import proxy_anchor, proxy_nca, soft_triple
from partrep.losses.reciprocal_points import reciprocal_points
from partrep.losses.superfeatures import superfeature_contrastive
from partrep.losses.triplet import triplet

WIDTH, CLASSES, CENTRES = 128, 512, 10
IMAGES = 8  # of a class in a batch
BLOCKS = 16  # a batch is evaluated in as many
PARTS = 8  # that share the numbers of an embedding
BASE = "supervised_contrastive/plain"

Loss = Callable[..., jax.Array]
"""`(*learned, labels) -> loss`, a scalar or one for each example."""


def measure(settings: Settings) -> Numbers:
    """Seconds and bytes of each loss, forward, and with its gradient, as multiples of supervised contrastive.

    Of embeddings of 128 numbers drawn at random, eight of each class; proxies are of 512 classes, SoftTriple has
    ten centres of each. Losses of pairs are measured plain and in 16 blocks, that of super-features, whose images
    are eight parts of 16 numbers, in blocks alone: plain, 4,096 images have a billion pairs of parts. NT-Xent has
    half as many images as others have embeddings, and two views of each. In each round a fast loss runs again and
    again for a fortieth of `seconds`, a slow one once. The bytes are those of a program beside its arguments and
    results.
    """
    made: Numbers = {}
    for batch in settings.loss_batches:
        for kind, differentiate in (("forward", False), ("gradient", True)):
            prefix = f"losses/{batch}/{kind}"
            found = compared(programs(batch, settings.seconds / 40, differentiate), settings, prefix)
            made |= prefixed(prefix, found)
    return made | prefixed("losses", peak_bytes())


def programs(batch: int, seconds: float, differentiate: bool) -> Iterator[tuple[str, Ready]]:
    """The compiled losses of a batch by name, or their values with their gradients by everything that is learned."""
    embeddings, proxies, centres = drawn(batch), drawn(CLASSES), drawn(CLASSES, CENTRES)
    labels = jnp.arange(batch) // IMAGES % CLASSES

    def ready(loss: Loss, *learned: jax.Array) -> Ready:
        def mean(learned: tuple[jax.Array, ...], labels: jax.Array) -> jax.Array:
            return jnp.mean(loss(*learned, labels))

        return Ready(seconds, jax.value_and_grad(mean) if differentiate else mean, learned, labels)

    parts, block = embeddings.reshape(batch, PARTS, -1), -(-batch // BLOCKS)
    for name, loss in PAIRS.items():
        yield f"{name}/plain", ready(loss, embeddings)
        yield f"{name}/blocks", ready(functools.partial(loss, block=block), embeddings)
    yield "superfeature_contrastive/blocks", ready(functools.partial(superfeature_contrastive, block=block), parts)
    for name, loss in PROXIES.items():
        yield f"{name}/plain", ready(loss, embeddings, proxies)
    yield "soft_triple/plain", ready(soft_triple, embeddings, centres)
    yield "reciprocal_points/plain", ready(reciprocal_points, embeddings, proxies, jnp.float32(0.0))


def drawn(*shape: int) -> jax.Array:
    """f32 [*shape,128] from a normal distribution, by shape always the same."""
    return jnp.asarray(np.random.default_rng(shape).normal(size=(*shape, WIDTH)).astype(np.float32))


def compared(made: Iterator[tuple[str, Ready]], settings: Settings, prefix: str) -> Numbers:
    """Seconds and bytes of each, and ratios to supervised contrastive."""
    calls = {}
    for name, call in made:
        calls[name] = call
        settings.say(f"{prefix}/{name} compiled in {call.program.compile_seconds:.1f} s, {call.runs} runs a round")
    times = interleaved(calls, settings.pairs, lambda line: settings.say(f"{prefix}: {line}"))
    once = {name: times[name] / call.runs for name, call in calls.items()}
    numbers: Numbers = {}
    for name, call in calls.items():
        numbers |= prefixed(name, {"seconds": float(np.median(once[name])), **call.program.numbers()})
        if name != BASE:
            numbers |= prefixed(name, ratios(once[name], once[BASE]))
    return numbers


def two_views(embeddings: jax.Array, labels: jax.Array, **settings: Any) -> jax.Array:
    """NT-Xent of the first and the second half of a batch; it has no labels."""
    del labels
    half = len(embeddings) // 2
    return nt_xent(embeddings[:half], embeddings[half : 2 * half], **settings)


PAIRS: dict[str, Loss] = {
    "supervised_contrastive": supervised_contrastive,
    "nt_xent": two_views,
    "contrastive": contrastive,
    "triplet_all": functools.partial(triplet, mining="all"),
    "triplet_semi_hard": functools.partial(triplet, mining="semi_hard"),
    "triplet_hard": functools.partial(triplet, mining="hard"),
    "multi_similarity": multi_similarity,
    "circle": circle,
    "smooth_ap": smooth_ap,
    "histogram_ap": histogram_ap,
}
PROXIES: dict[str, Loss] = {
    "proxy_nca": proxy_nca,
    "proxy_anchor": proxy_anchor,
    "normalised_softmax": normalised_softmax,
    "cosface": cosface,
    "arcface": arcface,
}
