"""The bank of a finished classifier's parts, and the card that says what it takes: what explaining a photo needs.

In: a task and its variables. Out: `parts.npz`, `model.json` and, of a frozen backbone, `backbone.safetensors` in the
workdir, so that photos are explained without the training data and without the file of the weights.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from safetensors.numpy import save_file

from partrep import UserError
from partrep.data.imageset import Batch, ImageSet
from partrep.evaluate.predict import predict
from partrep.explain.exemplars import PartBank, chosen, cut, patch_box, room
from partrep.models.pretrained.weights import read_safetensors
from partrep.report.pictures import to_rgb
from partrep.tasks.batches import eval_batches
from partrep.tasks.classify import Classify
from partrep.train.disk import full_disk_is_user_error, replaced, write_atomically
from partrep.train.state import Tree

CARD, BANK, BACKBONE = "model.json", "parts.npz", "backbone.safetensors"


@dataclasses.dataclass(frozen=True)
class Card:
    """What a finished classifier takes and gives.

    Attributes:
        model: what `part_model.build` takes.
        classes: their names.
        view: how photos are cut out: `resize`, `crop`, `interpolation`.
        accuracy: on the test images, in [0,1].
        data: what it was trained on, in words.
        logits: what a softmax reads of the logits, a name of `tasks.classify.LOGITS`.
        dtype: of the computation of the backbone.
    """

    model: Mapping[str, Any]
    classes: tuple[str, ...]
    view: Mapping[str, Any]
    accuracy: float
    data: str
    logits: str = "plain"
    dtype: str = "float32"

    def save(self, folder: pathlib.Path) -> None:
        """Writes the card whole or not at all."""
        text = json.dumps(dataclasses.asdict(self), indent=1, default=dict, ensure_ascii=False)
        write_atomically(folder / CARD, text + "\n")

    @classmethod
    def load(cls, folder: pathlib.Path) -> Card:
        """Reads what `save` wrote."""
        try:
            found = json.loads((folder / CARD).read_text(encoding="utf-8"))
            return cls(**{**found, "classes": tuple(found["classes"])})
        except (OSError, ValueError, TypeError, KeyError) as error:
            wanted = "expected the workdir of a finished run of a classifier"
            raise UserError(f"{folder} has no readable {CARD} ({error}); {wanted}") from None


def card_of(task: Classify, accuracy: float) -> Card:
    """The card of a task's model, which recognises that share of the test images."""
    data, config = task.data, task.config
    view = dataclasses.asdict(data.view)
    dtype = str(jnp.dtype(task.model.backbone.dtype))
    return Card(dict(task.recipe), data.train.names, view, accuracy, config["data"]["name"], config["logits"], dtype)


def save_backbone(variables: Mapping[str, Tree], path: pathlib.Path) -> None:
    """Writes the variables of a backbone to one file, names with slashes between."""
    flat = {"/".join(names): np.asarray(value) for names, value in flatten_dict(dict(variables)).items()}
    with full_disk_is_user_error(path), replaced(path) as beside:
        save_file(flat, beside)


def load_backbone(path: pathlib.Path) -> dict[str, Tree]:
    """Reads what `save_backbone` wrote: `{collection: tree}`."""
    return unflatten_dict({tuple(name.split("/")): value for name, value in read_safetensors(path).items()})


def with_backbone(variables: Mapping[str, Tree], backbone: Mapping[str, Tree] | None) -> dict[str, Tree]:
    """The variables of the rest of a model with those of its backbone."""
    made = dict(variables)
    for collection, tree in (backbone or {}).items():
        made[collection] = {**made.get(collection, {}), "backbone": tree}
    return made


def make_bank(task: Classify, variables: Tree) -> PartBank:
    """Looks at every training image once, as it is, and keeps patches of each part."""
    images = task.data.train
    batches = eval_batches(images, task.config["evaluation"]["batch_size"])
    seen = predict(_parts_of(task, images.decode), variables, batches)
    count = room(seen["codes"].shape[1])
    which = chosen(seen["presence"], images.labels, count)
    used, place = np.unique(which[which >= 0], return_inverse=True)
    where = np.full(which.shape, 0)
    where[which >= 0] = place
    patches = _patches(task, variables, used, where)
    parts = np.arange(len(which))[:, None]
    return PartBank(
        codes=seen["codes"][which, parts].astype(np.float16),
        labels=np.where(which >= 0, images.labels[which], -1).astype(np.int32),
        patches=patches,
        mean_contributions=seen["contributions"].mean(0, dtype=np.float64).astype(np.float32),
    )


def _patches(task: Classify, variables: Tree, used: np.ndarray, where: np.ndarray) -> np.ndarray:
    """u8 [K,m,S,S,3]: patches of the training images `used`, of which `where` [K,m] says the place in that list."""
    images = task.data.train
    batches = eval_batches(images, task.config["evaluation"]["batch_size"], used)
    maps = predict(_maps_of(task, images.decode), variables, batches)
    shown = pictures(images, used, task.config["evaluation"]["batch_size"])
    return np.stack(
        [[cut(shown[i], patch_box(maps[i, k])) for i in row] for k, row in enumerate(where)]
    )


def pictures(images: ImageSet, indices: np.ndarray, batch_size: int) -> np.ndarray:
    """u8 [m,H,W,3]: the images at `indices` for people to look at; of a set of features, the photos they are of."""
    if images.photos is not None:
        return images.photos(indices)
    made = predict(_decoded(images.decode), {}, eval_batches(images, batch_size, indices))
    return np.stack([to_rgb(image) for image in made])


@functools.cache
def _decoded(decode):
    return lambda variables, batch: decode(batch, None)


@functools.cache
def _parts_of(task: Classify, decode):
    """The function that `predict` compiles."""

    def apply(variables: Tree, batch: Batch) -> dict[str, jax.Array]:
        outputs = task.outputs(variables, decode(batch, None))
        assert outputs.contributions is not None
        return {
            "codes": outputs.codes.astype(jnp.float16),
            "presence": outputs.parts.presence,
            "contributions": outputs.contributions,
        }

    return apply


@functools.cache
def _maps_of(task: Classify, decode):
    """The function that `predict` compiles."""
    return lambda variables, batch: task.outputs(variables, decode(batch, None)).parts.assignment
