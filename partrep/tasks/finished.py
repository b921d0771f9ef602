"""A finished classifier, read from its workdir: no file of weights, and of photos no training data."""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from partrep import UserError
from partrep.data.decode import View
from partrep.explain.exemplars import PartBank
from partrep.models.part_model import PartModel, build, outputs_of
from partrep.tasks.classify import LOGITS, finished_config
from partrep.tasks.classify import load as load_task
from partrep.tasks.classify_bank import BACKBONE, BANK, Card, load_backbone, make_bank, with_backbone
from partrep.train.checkpoint import best_step, load_variables
from partrep.train.state import Tree


@dataclasses.dataclass(frozen=True, eq=False)  # hashed by identity: programs are kept for each model
class Finished:
    """A trained model with what it needs to read a photo and to say what its parts look like."""

    card: Card
    model: PartModel
    variables: dict[str, Tree]
    find_bank: Callable[[], PartBank]

    @functools.cached_property
    def bank(self) -> PartBank:
        """Patches of each part; of data that are made and not stored, the first use looks at them all."""
        return self.find_bank()

    @property
    def view(self) -> View:
        """How a photo is cut out for the model."""
        return View(**self.card.view)

    @functools.cached_property
    def parts(self) -> int:
        """K, how many parts the model has."""
        photo = jnp.zeros((1, self.view.crop, self.view.crop, 3))
        return jax.eval_shape(functools.partial(outputs_of, self.model), self.variables, photo).codes.shape[1]

    def read(self, photos: np.ndarray) -> dict[str, np.ndarray]:
        """What the model says of photos u8 [b,S,S,3]: logits, contributions, codes, assignment, presence."""
        return {name: np.asarray(value) for name, value in _reader(self)(self.variables, photos).items()}

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """Logits [...,C] -> probabilities of the classes, as the training's cross entropy has them."""
        moved = np.asarray(LOGITS[self.card.logits](jnp.asarray(logits)), np.float64)
        raised = np.exp(moved - moved.max(-1, keepdims=True))
        return raised / raised.sum(-1, keepdims=True)


def load(workdir: pathlib.Path) -> Finished:
    """Reads a finished classifier.

    Raises:
        UserError: no finished run, or one that is no classifier; a file that is damaged or missing.
    """
    finished_config(workdir, "--workdir")
    card = Card.load(workdir)
    model = build(card.model, len(card.classes), jnp.dtype(card.dtype))
    variables, _ = load_variables(workdir / "checkpoints", best_step(workdir / "checkpoints"))
    kept = workdir / BACKBONE
    variables = with_backbone(variables, load_backbone(kept) if kept.exists() else None)
    if "backbone" not in variables["params"]:  # it was frozen, so that no checkpoint has it
        raise UserError(f"{kept} is missing; expected the frozen backbone that the run wrote there")
    return Finished(card, model, variables, functools.partial(_bank, workdir))


def _bank(workdir: pathlib.Path) -> PartBank:
    path = workdir / BANK
    return PartBank.load(path) if path.exists() else make_bank(*load_task(workdir))


@functools.cache
def _reader(finished: Finished) -> Any:
    def read(variables: Tree, photos: jax.Array) -> dict[str, jax.Array]:
        outputs = outputs_of(finished.model, variables, photos.astype(jnp.float32) / 255.0)
        assert outputs.logits is not None and outputs.contributions is not None
        return {
            "logits": outputs.logits,
            "contributions": outputs.contributions,
            "codes": outputs.codes,
            "assignment": outputs.parts.assignment,
            "presence": outputs.parts.presence,
        }

    return jax.jit(read)
