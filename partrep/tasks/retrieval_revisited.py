"""The revisited Oxford and Paris buildings, described by a pretrained network; nothing is trained.

In: a config with a folder of photos, the ground truth, a pretrained network and, for learned regions and whitening, a
finished run on photos. Out: descriptors of the gallery and of the queries, cropped to what is asked for.
"""

from __future__ import annotations

import dataclasses
import pathlib
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from partrep import UserError
from partrep.data import revisited
from partrep.data.decode import decode_image, photo_size
from partrep.data.revisited import GroundTruth
from partrep.directions import unit
from partrep.models.part_model import PartModel, build
from partrep.models.pretrained.load import Pretrained, load_pretrained
from partrep.search.multiscale import combined_scales
from partrep.search.ranking import Searched
from partrep.tasks import classify_photos
from partrep.tasks.check import check_numbers
from partrep.tasks.classify import finished_config
from partrep.tasks.metric_pictures import SHOWN
from partrep.tasks.retrieval_check import check_scales
from partrep.tasks.retrieval_pictures import LEARNED
from partrep.train import sharding
from partrep.train.checkpoint import best_step, load_variables
from partrep.train.stages import init_key
from partrep.train.state import Tree

STEP = 32
"""Sides of photos are whole multiples, so that few programs are compiled and every backbone takes them."""


@dataclasses.dataclass(frozen=True, eq=False)
class Evaluation:
    """What an evaluation needs: photos, truth, and the network that describes them.

    Attributes:
        config: of the run.
        truth: queries, gallery and what each query should find.
        paths: name -> file of its photo.
        model: backbone, pooling and whitening.
        variables: of the model.
        power: of the mean over scales.
    """

    config: Mapping[str, Any]
    truth: GroundTruth
    paths: Mapping[str, pathlib.Path]
    model: PartModel
    variables: Mapping[str, Tree]
    power: float

    @property
    def scales(self) -> tuple[float, ...]:
        """At which each photo is seen."""
        return tuple(self.config["evaluation"]["scales"])


def make(config: Mapping[str, Any]) -> Evaluation:
    """Finds every photo and builds the network, and raises what is wrong with them; writes nothing."""
    if "start_run" not in config:
        raise UserError("data 'revisited' needs config.start_run; expected source=revisited")
    check_numbers(config, best="")
    check_scales(config["evaluation"]["scales"])
    if not config["data"]["truth"]:
        raise UserError("config.data.truth is empty; expected gnd_roxford5k.pkl or its like: --config.data.truth=...")
    classify_photos.check_paths(config)
    truth = revisited.load(config["data"]["truth"])
    paths = photos_of(truth, pathlib.Path(config["data"]["dir"]))
    check_truth(truth, paths, config["data"]["truth"])
    pretrained = load_pretrained(config["pretrained"]["weights"], config["pretrained"]["family"])
    own = of_run(config, pretrained) if config["start_run"] else None
    if own is None and config["model"]["method"]["name"] in LEARNED:
        wanted = "expected --config.start_run=WORKDIR, a finished run of source=photos"
        raise UserError(f"regions are learned, and config.start_run names no run; {wanted}")
    model, variables = network(config, pretrained, own)
    power = config["model"]["method"].get("power", 1.0) if own is None else 1.0
    return Evaluation(config, truth, paths, model, variables, power)


def photos_of(truth: GroundTruth, folder: pathlib.Path) -> dict[str, pathlib.Path]:
    """The file of every photo that a ground truth names; raises a `UserError` where one is missing."""
    if not folder.is_dir():
        raise UserError(f"config.data.dir is {folder}, which is no folder; expected that of the JPEGs")
    paths = {name: folder / f"{name}.jpg" for name in (*truth.gallery, *truth.queries)}
    missing = [path.name for path in paths.values() if not path.is_file()]
    if missing:
        found = f"{folder} lacks {missing[0]}, one of {len(missing)} missing photos of {len(paths)}"
        raise UserError(f"{found}; expected every photo that the ground truth names")
    return paths


def check_truth(truth: GroundTruth, paths: Mapping[str, pathlib.Path], source: str) -> None:
    """Raises a `UserError`, which names the file and the query, for what no photo needs to be described to know."""
    if len(truth.gallery) <= SHOWN:
        raise UserError(f"{source}: found {len(truth.gallery)} photos in the gallery; expected more than {SHOWN}")
    for name, box in zip(truth.queries, truth.boxes):
        height, width = photo_size(paths[name].read_bytes(), str(paths[name]))
        try:
            revisited.crop_query(np.broadcast_to(np.uint8(0), (height, width, 1)), box)
        except UserError as error:
            raise UserError(f"{source}: query {name} has {error}; expected a box in {paths[name]}") from None
    counted = sum(len(one["easy"]) + len(one["hard"]) > 0 for one in truth.relevant)
    if counted < 2:  # an interval is taken over queries
        raise UserError(f"{source}: {counted} queries have an easy or hard photo; expected 2 or more")


def of_run(config: Mapping[str, Any], pretrained: Pretrained) -> tuple[Mapping[str, Any], dict[str, Tree]]:
    """The model entries and the trained variables of a finished run on photos with the same network and pooling."""
    folder = pathlib.Path(config["start_run"])
    theirs = finished_config(folder, "config.start_run")
    if theirs["task"] != "retrieval" or theirs["data"]["name"] != "photos":
        found = f"a run of task {theirs['task']} on {theirs['data']['name']}"
        raise UserError(f"config.start_run is {folder}, {found}; expected one of configs/retrieval.py, source=photos")
    for name, ours, found in (
        ("family", pretrained.family, theirs["pretrained"]["family"]),
        ("part method", config["model"]["method"]["name"], theirs["model"]["method"]["name"]),
    ):
        if ours != found:
            raise UserError(f"config.start_run is {folder}, a run of the {name} {found!r}; expected {ours!r} as here")
    variables, _ = load_variables(folder / "checkpoints", best_step(folder / "checkpoints"))
    return theirs["model"], {"params": variables["params"]["model"]}


def network(
    config: Mapping[str, Any], pretrained: Pretrained, own: tuple[Mapping[str, Any], dict[str, Tree]] | None
) -> tuple[PartModel, dict[str, Tree]]:
    """The pretrained backbone under the pooling of the config, or under that of a run with its whitening."""
    entries = {"method": config["model"]["method"]} if own is None else dict(own[0])
    recipe = classify_photos.recipe_of({"model": entries}, pretrained)
    model = build(recipe, dtype=sharding.compute_dtype(config["dtype"]))
    if own is None:
        image = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
        placed = {name: {"backbone": tree} for name, tree in pretrained.variables.items()}
        shape = jax.eval_shape(lambda x: model.apply(placed, x, method=PartModel.encode), image)
        features = jnp.zeros(shape.shape, jnp.float32)
        made = model.init(init_key(config["seed"]), features, False, method=PartModel.from_features)
    else:
        made = own[1]
    params = {**made.get("params", {}), "backbone": pretrained.variables["params"]}
    others = {name: {"backbone": tree} for name, tree in pretrained.variables.items() if name != "params"}
    return model, {"params": params, **others}


def described(evaluation: Evaluation) -> tuple[Searched, Searched]:
    """Descriptors of the gallery and of the cropped queries: at their own size, and of all scales together."""
    truth = evaluation.truth
    boxes = dict(zip(truth.queries, truth.boxes))

    def shown(name: str) -> list[np.ndarray]:
        photo = decode_image(evaluation.paths[name].read_bytes(), str(evaluation.paths[name]))
        photo = revisited.crop_query(photo, boxes[name]) if name in boxes else photo
        return [resized(photo, side, scale) for scale in evaluation.scales]

    side = evaluation.config["data"]["size"]
    names = (*truth.gallery, *truth.queries)
    encode = encoder(evaluation.model, evaluation.variables)
    made = []
    for number, photos in enumerate(read_ahead(shown, names), start=1):
        made.append([np.asarray(encode(photo[None]))[0] for photo in photos])
        if number * 10 // len(names) > (number - 1) * 10 // len(names):
            print(f"descriptors: {number} of {len(names)} photos", file=sys.stderr)
    scales = np.asarray(made, np.float32).swapaxes(0, 1)
    count = len(truth.gallery)
    found = combined_scales(scales, evaluation.power)
    return tuple(Searched(x[:count], x[count:]) for x in (scales[0], found))  # type: ignore[return-value]


def read_ahead(shown: Callable[[str], list[np.ndarray]], names: tuple[str, ...], ahead: int = 8) -> Iterator[Any]:
    """What is shown of each name, in order, read by threads a few ahead of the network."""
    with ThreadPoolExecutor() as pool:
        waiting = [pool.submit(shown, name) for name in names[:ahead]]
        for index in range(len(names)):
            yield waiting.pop(0).result()
            if index + ahead < len(names):
                waiting.append(pool.submit(shown, names[index + ahead]))


def resized(photo: np.ndarray, side: int, scale: float) -> np.ndarray:
    """A photo whose longer side is `side` pixels, or as it is where that is less, at a scale: u8 [H,W,3].

    >>> [resized(np.zeros((30, 60, 3), np.uint8), 512, scale).shape for scale in (1.0, 0.5)]
    [(32, 64, 3), (32, 32, 3)]
    """
    height, width = photo.shape[:2]
    factor = scale * min(1.0, side / max(height, width))
    size = tuple(max(1, round(factor * length / STEP)) * STEP for length in (width, height))
    return np.asarray(Image.fromarray(photo).resize(size, Image.Resampling.BILINEAR))


def encoder(model: PartModel, variables: Mapping[str, Tree]) -> Callable[[np.ndarray], jax.Array]:
    """u8 [1,H,W,3] -> descriptors f32 [1,E]; one program a shape."""

    def encode(variables: Tree, photos: jax.Array) -> jax.Array:
        outputs = model.apply(variables, photos.astype(jnp.float32) / 255.0, False)
        return unit(outputs.embedding)  # type: ignore[union-attr]

    return sharding.jit_local(encode, variables)
