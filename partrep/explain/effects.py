"""What a model's logit really depends on: measured on birds by changing one thing at a time in the scene."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np

from partrep import UserError
from partrep.data import birds
from partrep.data.birds import interventions
from partrep.data.birds.scene import Scene
from partrep.explain.credit import PARTS, part_areas
from partrep.explain.shapley import interaction_share, shapley_values

Predict = Callable[[np.ndarray], np.ndarray]
"""`images f32 [n,S,S,3] in [0,1] -> logits [n,C]`, any callable on NumPy arrays."""

WAYS = ("swap", "remove", "hide")
"""The three ways of taking what a part says away."""

NOWHERE = np.array([9.0, 9.0, 0.0, 0.0, 0.1, 0.0, 0.0, 0.0], np.float32)
"""A branch outside of the image (its x, y, turn, half length, radius, colour)."""

SPARED = 0.1
"""A branch hides a part alone where no other part loses a greater share of its visible pixels to it."""


@dataclasses.dataclass(frozen=True)
class Effects:
    """What was measured on n test images, for one class of each: always a change of that class's logit.

    Positive effects speak for the class: the logit as it is, less the logit after the change.

    Attributes:
        images: f32 [n,S,S,3] in [0,1].
        masks: i32 [n,S,S] 0: no bird, 1: its body, 2 + i: part i.
        labels: i32 [n], the true classes.
        predicted: i32 [n], the classes explained.
        rivals: i32 [n], for each the other class of highest logit among those that share a part with it; where no
            class does, among all.
        classes: i32 [C,6], the part values of the classes; -1 where a part says nothing.
        subsets: f64 [n,64], the logit with the parts of each subset of `interventions.subsets()` alone.
        swap: f64 [n,6], the mean over the six other values of the part.
        swapped: f32 [n,S,S,3], the images with one part, `swapped_part`, swapped to the next value.
        swapped_masks: i32 [n,S,S], their masks.
        swapped_part: i32 [n], each part in turn.
        remove, hide: f64 [n,6].
        alone: bool [n,6], where the branch that hides the part takes less than `SPARED` of any other part away.
        background: f64 [n], the mean over the six other habitats.
        recolour: f64 [n,6], of one other colour of the palette, the six in turn over the images; shape and texture
            stay, which together with that colour are no value of the part: what no training image shows.
        ring: f64 [n], of the ring on the leg, taken off where it is on and put on where it is off.
        twin: f64 [n,64], `subsets` of another bird of the same class with another nuisance.
        extrapolated: whether subsets lack more parts than any training image.
    """

    images: np.ndarray
    masks: np.ndarray
    labels: np.ndarray
    predicted: np.ndarray
    rivals: np.ndarray
    classes: np.ndarray
    subsets: np.ndarray
    swap: np.ndarray
    swapped: np.ndarray
    swapped_masks: np.ndarray
    swapped_part: np.ndarray
    remove: np.ndarray
    hide: np.ndarray
    alone: np.ndarray
    background: np.ndarray
    recolour: np.ndarray
    ring: np.ndarray
    twin: np.ndarray
    extrapolated: bool

    @functools.cached_property
    def shapley(self) -> np.ndarray:
        """Exact Shapley values f64 [n,6] of the class's logit over the six parts."""
        return np.asarray(shapley_values(jnp.asarray(self.subsets)), np.float64)

    @functools.cached_property
    def twin_shapley(self) -> np.ndarray:
        """The same of the twin's logit."""
        return np.asarray(shapley_values(jnp.asarray(self.twin)), np.float64)

    @functools.cached_property
    def interaction(self) -> np.ndarray:
        """f64 [n], the share of the variance over subsets that no additive account of the parts explains."""
        return np.asarray(interaction_share(jnp.asarray(self.subsets)), np.float64)


def measure(
    predict: Predict, world: birds.World, group: str = "all", images: int = 2, size: int = 64, batch: int = 98
) -> Effects:
    """Measures the effects on the first `images` test images of each class of a group.

    About 190 images are rendered and predicted for each: all 64 subsets of the parts, 36 swaps, 6 branches in front of
    a part, 6 habitats, 6 parts of another colour, the ring, and 64 subsets again for the twin with other nuisance.

    Args:
        predict: the model.
        world: whose birds.
        group: of classes, in the order of the model's logits.
        images: of each class, from 1 to half of the world's test images: the second half are the twins.
        size: side of the images in pixels, S.
        batch: images rendered and predicted at once, of the first ones all at most; a count that is no multiple
            repeats the last image.

    Raises:
        UserError: too many images; logits that are not [n,C] for the C classes of the group, or not finite.
    """
    table = world.split(group, "test")
    each = world.images[2]
    if not 1 <= images <= each // 2:
        raise UserError(f"{images} images of each class to measure; expected 1 to {each // 2}, half of the test images")
    first = np.concatenate([np.flatnonzero(table.labels == c)[:images] for c in range(len(table.classes))])
    camera = _Camera(world, predict, size, min(batch, len(first)), len(table.classes))
    scenes, twins = (_sample(world, table, index) for index in (first, first + each // 2))
    branches = [jax.jit(interventions.hide)(scenes, part) for part in range(PARTS)]
    scenes, twins = _with_branch(scenes), _with_branch(twins)
    subsets = camera.subsets(scenes)
    plain = subsets[:, -1]  # all parts
    predicted = plain.argmax(1).astype(np.int32)
    rivals = rival_classes(plain, predicted, table.classes)
    here = plain[np.arange(len(first)), predicted]
    chosen = _pick(subsets, predicted)
    swaps = np.stack([camera.swaps(scenes, part) for part in range(PARTS)], 1)  # [n,6,6,C]
    hidden = np.stack([camera.logits(branch) for branch in branches], 1)
    habitats = np.stack([camera.logits(_other_habitat(scenes, step)) for step in range(1, birds.VALUES)], 1)
    recoloured = np.stack([camera.logits(_recolour(world, scenes, part)) for part in range(PARTS)], 1)
    ringed = camera.logits(interventions.set_ring(scenes, 1.0 - scenes.ring_on))
    pictures, masks = camera.pictures(scenes)
    turn = np.arange(len(first), dtype=np.int32) % PARTS
    swapped, swapped_masks = camera.pictures(_swap_each(scenes, turn))
    return Effects(
        images=pictures,
        masks=masks,
        labels=table.labels[first],
        predicted=predicted,
        rivals=rivals,
        classes=table.classes,
        subsets=chosen,
        swap=here[:, None] - _pick(swaps.mean(2), predicted),
        swapped=swapped,
        swapped_masks=swapped_masks,
        swapped_part=turn,
        remove=here[:, None] - chosen[:, _without_one()],
        hide=here[:, None] - _pick(hidden, predicted),
        alone=hidden_alone(masks, np.stack([camera.pictures(branch)[1] for branch in branches], 1)),
        background=here - _pick(habitats, predicted).mean(1),
        recolour=here[:, None] - _pick(recoloured, predicted),
        ring=here - _pick(ringed, predicted),
        twin=_pick(camera.subsets(twins), predicted),
        extrapolated=world.absence < PARTS,
    )


def hidden_alone(masks: np.ndarray, behind: np.ndarray) -> np.ndarray:
    """bool [n,6]: whether hiding each part left the others be, from masks [n,S,S] and those after hiding [n,6,S,S]."""
    before, after = part_areas(masks)[:, None], part_areas(behind)  # [n,1,6], [n,6,6]
    spared = after >= (1 - SPARED) * before
    clean: np.ndarray = np.all(spared | np.eye(PARTS, dtype=bool), axis=-1)
    return clean


def rival_classes(logits: np.ndarray, predicted: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """i32 [n]: the class of highest logit, other than the predicted one, that shares an informative part with it."""
    known = classes >= 0
    shares = ((classes[predicted][:, None] == classes) & known).any(-1)
    shares[np.arange(len(predicted)), predicted] = False
    none = ~shares.any(1, keepdims=True)
    allowed = shares | (none & (np.arange(logits.shape[1]) != predicted[:, None]))
    return np.where(allowed, logits, -np.inf).argmax(1).astype(np.int32)


@dataclasses.dataclass(frozen=True)
class _Camera:
    """Renders scenes and hands the images to the model, a batch at a time."""

    world: birds.World
    predict: Predict
    size: int
    batch: int
    classes: int

    def logits(self, scenes: Scene) -> np.ndarray:
        """f64 [n,C] of scenes [n]."""
        made = [self._checked(np.asarray(render.image), count) for render, count in self._rendered(scenes, False)]
        return np.concatenate(made)

    def subsets(self, scenes: Scene) -> np.ndarray:
        """f64 [n,64,C] of each scene with the parts of each subset alone."""
        return np.stack([self.logits(interventions.keep(scenes, subset)) for subset in interventions.subsets()], 1)

    def swaps(self, scenes: Scene, part: int) -> np.ndarray:
        """f64 [n,6,C] of each scene with a part swapped to each of its six other values."""
        return np.stack([self.logits(_swap(scenes, part, step)) for step in range(1, birds.VALUES)], 1)

    def pictures(self, scenes: Scene) -> tuple[np.ndarray, np.ndarray]:
        """Images f32 [n,S,S,3] and the owners of their pixels i32 [n,S,S]."""
        made = [
            (np.asarray(render.image)[:count], np.asarray(render.part_mask)[:count])
            for render, count in self._rendered(scenes, True)
        ]
        images, masks = zip(*made)
        return np.concatenate(images), np.concatenate(masks)

    def _rendered(self, scenes: Scene, masks: bool) -> Iterator[tuple[birds.Rendered, int]]:
        """Batches of one shape, and how many of each are no padding."""
        scenes = jax.device_get(scenes)  # slicing on the device, array by array, takes longer than rendering
        total = len(scenes.scale)
        for start in range(0, total, self.batch):
            rows = np.minimum(np.arange(start, start + self.batch), total - 1)
            part = jax.tree.map(lambda a, rows=rows: a[rows], scenes)
            yield birds.render(self.world, part, self.size, masks), min(self.batch, total - start)

    def _checked(self, images: np.ndarray, count: int) -> np.ndarray:
        logits = np.asarray(self.predict(images), np.float64)
        if logits.shape != (len(images), self.classes):
            raise UserError(f"predict gave shape {logits.shape} for {len(images)} images; expected [n, {self.classes}]")
        if not np.isfinite(logits).all():
            raise UserError("predict gave logits that are not finite; expected finite ones")
        return logits[:count]


def _sample(world: birds.World, table: birds.Split, index: np.ndarray) -> Scene:
    return birds.sample(world, table.keys[index], table.values[index])


def _with_branch(scenes: Scene) -> Scene:
    """Adds a branch that is not seen: as many as where one hides a part, so that one program renders both."""
    branch = jnp.broadcast_to(NOWHERE, (len(scenes.branches), 1, len(NOWHERE)))
    return dataclasses.replace(scenes, branches=jnp.concatenate([scenes.branches, branch], axis=1))


def _swap(scenes: Scene, part: int, step: int) -> Scene:
    """Gives a part the value that lies `step` further, modulo 7."""
    return interventions.swap(scenes, part, (scenes.values[:, part] + step) % birds.VALUES)


def _swap_each(scenes: Scene, parts: np.ndarray) -> Scene:
    """Gives one part [n] of each scene its next value."""
    chosen = parts[:, None] == np.arange(PARTS)
    values = jnp.where(chosen, (scenes.values + 1) % birds.VALUES, scenes.values)
    return dataclasses.replace(scenes, values=values)


def _other_habitat(scenes: Scene, step: int) -> Scene:
    return interventions.set_background(scenes, (scenes.habitat + step) % birds.VALUES)


def _recolour(world: birds.World, scenes: Scene, part: int) -> Scene:
    """Gives a part a colour that its value does not have: image after image the next of the six others."""
    own = world.appearance[part, np.asarray(scenes.values)[:, part], 0]
    step = 1 + np.arange(len(own)) % (birds.VALUES - 1)
    return interventions.recolour(scenes, part, (own + step) % birds.VALUES)


def _pick(logits: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """[n,...,C] -> [n,...]: the logit of each image's class."""
    index = classes.reshape(-1, *[1] * (logits.ndim - 1))
    return np.take_along_axis(logits, index, -1)[..., 0]


def _without_one() -> np.ndarray:
    """Which of the 64 subsets lacks part i alone, i = 0..5."""
    return (1 << PARTS) - 1 - (1 << np.arange(PARTS))
