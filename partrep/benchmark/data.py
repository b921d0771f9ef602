"""How fast images come: birds rendered, drawings warped, batches of indices drawn, JPEG files decoded."""

from __future__ import annotations

import functools
import itertools
import pathlib
import tempfile
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from partrep.benchmark.timing import Numbers, Settings, peak_bytes, prefixed, rate
from partrep.data import birds, transforms
from partrep.data.folder import FolderSource
from partrep.data.pipeline import TrainBatches, prefetch
from partrep.data.transforms import WarpSettings

BATCH, FILES, SIDE = 64, 64, 320
OMNIGLOT = WarpSettings(rotation=0.35, stretch=0.25, shear=0.25, shift=0.1, elastic=0.025)


def measure(settings: Settings) -> Numbers:
    """Images, or batches, a second of each source and transform; the median of repeated calls."""
    calls: dict[str, tuple[Callable[[], Any], int]] = {}
    for size, masks in itertools.product((64, 128), (False, True)):
        name = f"birds_{size}{'_with_masks' if masks else ''}/images_per_second"
        calls[name] = (rendering(size, masks), BATCH)
    calls["omniglot_warp_28/images_per_second"] = (warping(), 4 * BATCH)
    calls["index/batches_per_second"] = (indices(), 100)
    with tempfile.TemporaryDirectory() as folder:
        source = FolderSource(jpegs(pathlib.Path(folder)), size=72)
        calls["folder_jpeg_320/images_per_second"] = (lambda: [source[i] for i in range(FILES)], FILES)
        calls["folder_jpeg_320_prefetched/images_per_second"] = (prefetching(source), FILES)
        made: Numbers = {}
        for name, (call, amount) in calls.items():
            made[name] = rate(call, amount, settings.seconds)
            settings.say(f"data: {name} {made[name]:.0f}")
    return prefixed("data", made | peak_bytes())


def rendering(size: int, masks: bool) -> Callable[[], Any]:
    """Draws a batch of birds, each with its own nuisance, and waits for it."""
    world = birds.World()
    table = world.split("base", "train")

    @jax.jit
    def draw(keys, values):
        rendered = birds.render(world, birds.sample(world, keys, values), size, masks=masks)
        return rendered if masks else rendered.image

    index = np.arange(BATCH) * (len(table) // BATCH)
    return lambda: jax.block_until_ready(draw(table.keys[index], table.values[index]))


def warping() -> Callable[[], Any]:
    """Warps drawings of 35 pixels to 28, a new warp at every call."""
    images = jnp.asarray(np.random.default_rng(0).random((4 * BATCH, 35, 35, 1), np.float32))
    key, count = jax.random.key(0), itertools.count()

    @jax.jit
    def warp(images, number):
        move = transforms.random_warp(jax.random.fold_in(key, number), len(images), OMNIGLOT)
        return transforms.apply_to_images(move, images, 28, fill=0.0)

    return lambda: jax.block_until_ready(warp(images, next(count)))


def indices() -> Callable[[], Any]:
    """Draws a hundred batches of a set of 100,000 examples."""
    batches, steps = TrainBatches(100_000, BATCH, seed=0), itertools.count()
    return lambda: [batches[next(steps)] for _ in range(100)]


def prefetching(source: FolderSource) -> Callable[[], Any]:
    """Reads all files once in batches of eight, made ahead by two threads."""
    batches = TrainBatches(source, 8, seed=0)
    return lambda: list(itertools.islice(prefetch(batches, threads=2), FILES // 8))


def jpegs(folder: pathlib.Path) -> pathlib.Path:
    """Writes photographs of smooth noise in four class folders."""
    random = np.random.default_rng(0)
    enlarge = functools.partial(Image.Image.resize, size=(SIDE, SIDE), resample=Image.Resampling.BICUBIC)
    for number in range(FILES):
        path = folder / f"class{number % 4}" / f"{number}.jpg"
        path.parent.mkdir(exist_ok=True)
        enlarge(Image.fromarray(random.integers(0, 255, (20, 20, 3), np.uint8))).save(path, quality=90)
    return folder
