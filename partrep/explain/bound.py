"""Explanations bound to a part model: functions on NumPy arrays, as the audit takes them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from partrep import lookup
from partrep.explain.auditing import Explain
from partrep.explain.cam import grad_cam, grad_cam_plus_plus, hires_cam, layer_cam, opti_cam, score_cam
from partrep.explain.contributions import (
    centred_contributions,
    level,
    location_contributions,
    spread_contributions,
)
from partrep.explain.effects import Predict
from partrep.explain.gradients import input_gradient, integrated_gradients
from partrep.explain.model import Explained
from partrep.explain.occlusion import occlusion
from partrep.models.outputs import PartOutputs
from partrep.models.part_model import PartModel, outputs_of
from partrep.parts.gap import Gap

BATCH = 49
"""Images explained at once."""

POST_HOC: Mapping[str, Callable[..., jax.Array]] = {
    "grad-cam": grad_cam,
    "grad-cam++": grad_cam_plus_plus,
    "hires-cam": hires_cam,
    "layer-cam": layer_cam,
    "score-cam": score_cam,
    "opti-cam": functools.partial(opti_cam, steps=50),
    "input x gradient": input_gradient,
    "integrated gradients": functools.partial(integrated_gradients, steps=16),
    "occlusion": functools.partial(occlusion, window=8, stride=4),
}
"""What explains any model after the fact."""

OF_LOCATIONS = {"centred contributions": centred_contributions, "location contributions": location_contributions}
"""What a model of level 2 says of its locations."""

OF_IMAGES = ("input x gradient", "integrated gradients", "occlusion")
"""Those that read the image and the logit alone: all that there is where parts are read again from the image."""


def explained(model: PartModel, variables: Any) -> Explained:
    """The model in evaluation mode, cut at the backbone's features; one that reads the image again, at the image."""
    if model.readout is not None:
        return Explained(lambda images: images, functools.partial(_logits_given_masks, model, variables))

    def features(images: jax.Array) -> jax.Array:
        found = model.apply(variables, images, method=PartModel.encode)
        assert isinstance(found, jax.Array)
        return found

    def head(features: jax.Array) -> jax.Array:
        outputs = model.apply(variables, features, method=PartModel.from_features)
        assert isinstance(outputs, PartOutputs) and outputs.logits is not None
        return outputs.logits

    return Explained(features, head)


def _logits_given_masks(model: PartModel, variables: Any, images: jax.Array) -> jax.Array:
    """The logits of a model with an isolated read-out, and their gradient.

    Its masks are zeros and ones, whose gradient is zero almost everywhere; the one that passes straight through them
    is there to train the model, and is not the logit's.
    """
    masks = jax.lax.stop_gradient(outputs_of(model, variables, images).parts.assignment)
    outputs = model.apply(variables, images, masks, method=PartModel.from_masks)
    assert isinstance(outputs, PartOutputs) and outputs.logits is not None
    return outputs.logits


def predictor(model: PartModel, variables: Any) -> Predict:
    """`images [n,H,W,3] -> logits [n,C]` on NumPy arrays."""
    apply = jax.jit(lambda variables, images: outputs_of(model, variables, images).logits)
    return lambda images: np.asarray(apply(variables, images))


def explanations(model: PartModel, variables: Any, names: tuple[str, ...] = tuple(POST_HOC)) -> dict[str, Explain]:
    """What `maps` makes, compiled, on NumPy arrays of any number of images: `{name: function}`."""
    made = maps(model, names)
    return {name: functools.partial(_in_batches, jax.jit(function), variables) for name, function in made.items()}


def maps(model: PartModel, names: tuple[str, ...] = tuple(POST_HOC)) -> dict[str, Callable[..., jax.Array]]:
    """The model's own contributions where it has them, then the named ones of `POST_HOC`, by name.

    Each is `(variables, images f32 [n,H,W,3], target i32 [n]) -> credit f32 [n,h,w]`, a pure function to be jitted.
    `contributions` are what the parts add, each spread over where the part lies; `location contributions` level 2;
    `centred contributions` the same, measured from the average image.
    Of a model with an isolated read-out, of whose logits the backbone's features are no function, those of the named
    ones that are not in `OF_IMAGES` are left out.

    Raises:
        UserError: an unknown name.
    """
    made: dict[str, Callable[..., jax.Array]] = {}
    if model.head is not None and not isinstance(model.method, Gap):
        made["contributions"] = lambda variables, images, target: spread_contributions(
            outputs_of(model, variables, images), target
        )
    if level(model) == 2:
        for name, function in OF_LOCATIONS.items():
            made[name] = functools.partial(_of_locations, model, function)
    for name in names:
        method = lookup(dict(POST_HOC), name, "explanation")
        if model.readout is None or name in OF_IMAGES:
            made[name] = functools.partial(_post_hoc, model, method)
    return made


def _of_locations(
    model: PartModel, function: Callable[..., jax.Array], variables: Any, images: jax.Array, target: jax.Array
) -> jax.Array:
    return function(model, variables, outputs_of(model, variables, images), target).sum(1)


def _post_hoc(
    model: PartModel, method: Callable[..., jax.Array], variables: Any, images: jax.Array, target: jax.Array
) -> jax.Array:
    return method(explained(model, variables), images, target)


def _in_batches(
    function: Callable[..., jax.Array], variables: Any, images: np.ndarray, target: np.ndarray
) -> np.ndarray:
    """Runs a jitted explanation on batches of one shape; the last repeats its last image."""
    made = []
    for start in range(0, len(images), BATCH):
        rows = np.minimum(np.arange(start, start + BATCH), len(images) - 1)
        made.append(np.asarray(function(variables, images[rows], target[rows]))[: len(images) - start])
    return np.concatenate(made)
