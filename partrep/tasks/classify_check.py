"""What a classification run would stumble over later, found before anything is written, compiled or trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax

from partrep import UserError, lookup
from partrep.data.birds.world import SPLITS
from partrep.evaluate.discovery import refuse_small_parts
from partrep.explain import bound
from partrep.tasks import classify
from partrep.tasks.batches import spaced
from partrep.tasks.check import check_numbers, trace_stages
from partrep.tasks.classify_groups import check_class_count, check_groups
from partrep.tasks.maps import TRUTH, bird_truth

MODES = ("train", "evaluation")
SURE_GRID = 16  # cells on a side from which on the parts of birds are known to be large enough (BIRDS version 2)


def check_settings(config: Mapping[str, Any]) -> None:
    """Raises a `UserError` at the first setting of the config that no run can have."""
    check_numbers(config)
    check_objective(config)
    check_groups(config)
    lookup(classify.LOGITS, config["logits"], "config.logits")
    for name, stage in config["stages"].items():
        if stage["mode"] not in MODES:
            raise UserError(f"config.stages.{name}.mode is {stage['mode']!r}; expected {' or '.join(MODES)}")
    for name in config["evaluation"]["explanations"]:
        lookup(dict(bound.POST_HOC), name, "explanation")
    if "images" in config["data"]:
        check_birds(config)


def check_birds(config: Mapping[str, Any]) -> None:
    """Raises a `UserError` where the images of each class are not as many as the run needs."""
    images, audited = config["data"]["images"], config["evaluation"]["audit_images"]
    if len(images) != len(SPLITS):
        raise UserError(f"config.data.images is {images}; expected train, validation and test images of each class")
    most = images[SPLITS.index("test")] // 2
    if not 0 <= audited <= most:
        wanted = f"expected 0 to {most}, half of the test images"
        raise UserError(f"config.evaluation.audit_images is {audited}; {wanted}")


def check_objective(config: Mapping[str, Any]) -> None:
    """Raises a `UserError` where an objective is unknown, or is about groups and the data have one at most."""
    settings, shortcut = dict(config["objective"]), config["data"].get("shortcut", 0)
    name = settings.pop("name")
    lookup(classify.OBJECTIVES, name, "objective")
    grouped = classify.by_groups(config)
    wanted = {"step_size"} if grouped else set()
    if set(settings) != wanted or settings.get("step_size", 0) < 0:
        found = ", ".join(f"{key} {value}" for key, value in settings.items()) or "no settings"
        raise UserError(
            f"config.objective is {name} with {found}; expected objective=erm, or objective=groupdro with a step_size "
            "of at least 0, in the config argument"
        )
    if grouped and not 0 < shortcut < 1:
        raise UserError(
            f"config.objective is groupdro with config.data.shortcut {shortcut}; expected a shortcut over 0 and under "
            "1: the groups are images in their class's habitat and in another"
        )


def check_task(task: classify.Classify) -> None:
    """Traces the steps and the maps of one image; true parts must be larger than the map's cells."""
    check_class_count(task.config, task.data.train.classes)
    state = trace_stages(classify.stages(task), task.init, task.config)
    images = task.data.test
    batch = images.load(spaced(images, 98))
    outputs = jax.eval_shape(lambda v, b: task.outputs(v, images.decode(b, None)), state.eval_variables, batch)
    grid = outputs.parts.assignment.shape[2:]
    if images.truth is not None and min(grid) < SURE_GRID:
        drawn = jax.device_get(jax.jit(images.truth)(batch))
        refuse_small_parts(bird_truth(*(getattr(drawn, name) for name in TRUTH)), tuple(grid))
