"""How much of the answer the masks of a selector tell by themselves, without a pixel."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from partrep.models.mask_classifier import MaskClassifier
from partrep.shapes import check_shapes

BATCH = 64
RATE, DECAY = 2e-3, 1e-2


@functools.partial(jax.jit, static_argnames=("classes", "steps"))
def _train(masks: jax.Array, labels: jax.Array, seed: jax.Array, classes: int, steps: int) -> Any:
    """Variables of a `MaskClassifier` after `steps` batches drawn with replacement, the rate falling as a cosine."""
    model = MaskClassifier(classes)
    optimizer = optax.adamw(optax.cosine_decay_schedule(RATE, steps), weight_decay=DECAY)
    start, draws = jax.random.split(jax.random.key(seed))
    variables = model.init(start, masks[:1])

    def step(carry, key):
        variables, state = carry
        chosen = jax.random.randint(key, (BATCH,), 0, len(masks))

        def loss(v):
            logits = model.apply(v, masks[chosen])
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels[chosen]).mean()

        updates, state = optimizer.update(jax.grad(loss)(variables), state, variables)
        return (optax.apply_updates(variables, updates), state), None

    carry = (variables, optimizer.init(variables))
    return jax.lax.scan(step, carry, jax.random.split(draws, steps))[0][0]


@functools.partial(jax.jit, static_argnames="classes")
def _classify(variables: Any, masks: jax.Array, classes: int) -> jax.Array:
    apply = functools.partial(MaskClassifier(classes).apply, variables)
    return jax.lax.map(lambda mask: apply(mask[None])[0].argmax(), masks, batch_size=BATCH)


def mask_leakage(
    train_masks: Any, train_labels: Any, test_masks: Any, test_labels: Any, seed: int = 0, steps: int = 500
) -> float:
    """The test accuracy of a small classifier that is trained on masks alone.

    An isolated read-out looks at nothing but the pixels of a part, yet its masks were chosen from the whole image:
    a selector could write the class into their shapes. At chance they tell nothing that this classifier can
    read; near the accuracy of the model itself, the explanation by parts says little. Poses and true shapes of
    objects also tell classes, so compare with the accuracy on true masks where there are some.

    Args:
        train_masks: [n,K,h,w] in [0,1]; masks of zeros and ones, with or without the background as one of the K.
        train_labels: i32 [n], any whole numbers.
        test_masks: [m,K,h,w], of images that the model was not trained on either.
        test_labels: i32 [m].
        seed: of the start and the batches.
        steps: > 0, batches of 64.

    Returns:
        the share of the test images whose class is told, in [0,1].

    Raises:
        ValueError: shapes that do not agree, no steps.

    Example:
        >>> labels = np.arange(64) % 2
        >>> masks = np.zeros((64, 2, 4, 4)) + (labels[:, None] == np.arange(2))[..., None, None]
        >>> mask_leakage(masks, labels, masks, labels, steps=50)
        1.0

    Source: the leak through the selection, Jethani et al. (2021, arXiv 2103.01890); a probe, standard.
    """
    train = {"train_masks": (train_masks, "n K h w"), "train_labels": (train_labels, "n")}
    check_shapes("mask_leakage", **train, test_masks=(test_masks, "m K h w"), test_labels=(test_labels, "m"))
    if steps < 1:
        raise ValueError(f"mask_leakage: {steps} steps; expected at least 1")
    known, codes = np.unique(np.asarray(train_labels), return_inverse=True)
    variables = _train(jnp.asarray(train_masks), jnp.asarray(codes), jnp.asarray(seed), len(known), steps)
    told = known[np.asarray(_classify(variables, jnp.asarray(test_masks), len(known)))]
    return float(np.mean(told == np.asarray(test_labels)))
