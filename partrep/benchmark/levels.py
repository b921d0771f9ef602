"""What each level of the birds leaves to see: new classes by their true parts, and by cues that are no parts."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from partrep.benchmark.timing import Numbers, Settings, prefixed
from partrep.data import birds
from partrep.data.birds.render import box_of
from partrep.data.episodes import EpisodeSampler
from partrep.evaluate.fewshot import Episodes, Head, draw_episodes, episode_accuracy, nearest_neighbour, pixel_local
from partrep.models.local import Local

SIZE, WINDOW = 64, 16  # pixels of an image and of a crop
BLOCK = 49  # images rendered at once; every group of classes is a multiple of it
BATCH, RATE = 64, 2e-3  # of the oracle's training
FLOOR = 1e-3  # a part that differs divides the likelihood by a thousand at most: a misnamed one must not decide alone

Cue = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""`(image f32 [n,S,S,3], bird bool [n,S,S]) -> vectors [n,D]`, whose nearest neighbours are taken."""


@dataclasses.dataclass(frozen=True)
class Amounts:
    """How much is measured; the defaults are those of the reported numbers."""

    images: int = 10  # of each of the 49 validation classes; an episode has one as support and the others as queries
    episodes: int = 600  # five ways, one shot
    train: int = 20  # images of each of the 196 base classes that the oracle learns from
    steps: int = 600  # of its training


class Seen(NamedTuple):
    """Images of birds, the owners of their pixels, and episodes over them."""

    image: np.ndarray  # f32 [n,S,S,3]
    owner: np.ndarray  # i32 [n,S,S] 0: no bird, 1: its body, 2 + i: part i
    episodes: Episodes


def measure(settings: Settings) -> Numbers:
    """Five-way one-shot accuracy on validation birds of world 0 at each level: of each cue, and of the oracle."""
    amounts = Amounts(**settings.levels)
    made: Numbers = {}
    for level in birds.LEVELS:
        start = time.perf_counter()
        seen = validation(level, amounts)
        found = {f"{cue.__name__}_accuracy": cue_accuracy(cue, seen) for cue in CUES}
        params = learn(base_crops(level, amounts.train), amounts.steps)
        found["oracle_accuracy"] = oracle_accuracy(params, seen)
        made |= prefixed(f"levels/{level}", found)
        shown = ", ".join(f"{name.removesuffix('_accuracy')} {value:.3f}" for name, value in found.items())
        settings.say(f"levels: {level} in {time.perf_counter() - start:.0f} s: {shown}")
    return made


def validation(level: str, amounts: Amounts) -> Seen:
    """Test images of the validation classes of world 0, and the episodes over them."""
    source = birds.Birds(birds.World(level=level), "validation", "test", SIZE)
    image, owner = zip(*((block.image, block.part_mask) for block in blocks(source, amounts.images)))
    labels = source.labels[first_images(source, amounts.images)]
    sampler = EpisodeSampler(labels, ways=5, shots=1, queries=amounts.images - 1, seed=0)
    return Seen(np.concatenate(image), np.concatenate(owner), draw_episodes(sampler, amounts.episodes))


def first_images(source: birds.Birds, count: int) -> np.ndarray:
    """Indices of the first `count` images of each class, class by class."""
    return np.concatenate([np.flatnonzero(source.labels == label)[:count] for label in range(len(source.classes))])


def blocks(source: birds.Birds, count: int) -> Iterator[birds.Rendered]:
    """The first `count` images of each class with the truth about them, a block at a time."""
    index = first_images(source, count)
    for block in np.split(index, len(index) // BLOCK):
        yield source.batch(block, masks=True)


def histogram(image: np.ndarray, bird: np.ndarray) -> np.ndarray:
    """Square roots of the shares of 4x4x4 colours (so that distances are Hellinger's), f64 [n,64]."""
    level = np.clip((image * 4).astype(int), 0, 3) @ [16, 4, 1]
    return np.sqrt(np.stack([np.bincount(one.ravel(), minlength=64) for one in level]) / level[0].size)


def background(image: np.ndarray, bird: np.ndarray) -> np.ndarray:
    """The image with grey in place of the bird, as means of blocks of 4x4 pixels, [n,3SS/16]."""
    image = np.where(bird[..., None], 0.5, image)
    n, side = len(image), image.shape[1] // 4
    return image.reshape(n, side, 4, side, 4, -1).mean((2, 4)).reshape(n, -1)


def silhouette(image: np.ndarray, bird: np.ndarray) -> np.ndarray:
    """The bird's shape, cut out at its own box and scaled to 24x24, f64 [n,576]."""
    made = []
    for mask in bird:
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        side = np.arange(24) / 23
        y = np.round(rows[0] + side * (rows[-1] - rows[0])).astype(int)
        x = np.round(columns[0] + side * (columns[-1] - columns[0])).astype(int)
        made.append(mask[np.ix_(y, x)].ravel())
    return np.stack(made).astype(float)


def pixels(image: np.ndarray, bird: np.ndarray) -> np.ndarray:
    """The image at 16x16 pixels, without its mean and of length one: the baseline of the results table, f32 [n,768]."""
    return np.asarray(pixel_local(image, side=16).vectors[:, 0])


CUES: tuple[Cue, ...] = (histogram, background, silhouette, pixels)


def cue_accuracy(cue: Cue, seen: Seen) -> float:
    """Accuracy of the nearest neighbour by a cue."""
    vectors = jnp.asarray(cue(seen.image, seen.owner > 0), jnp.float32)[:, None]
    return accuracy(vectors, jnp.ones(vectors.shape[:2]), seen.episodes, nearest_neighbour)


def accuracy(vectors: jax.Array, weights: jax.Array, episodes: Episodes, head: Head) -> float:
    """Mean accuracy over episodes of a head that asks for no places."""
    local = Local(vectors, weights, jnp.full((*weights.shape, 2), 0.5))
    return episode_accuracy(local, episodes, head).interval.mean


@jax.jit
def crops(image: jax.Array, owner: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Each true part alone: the square around what is seen of it, scaled to 16x16, black where it is not.

    Images and owners as in `Seen` -> crops f32 [n,6,16,16,4], colour times mask and then the mask; and f32 [n,6], 1
    where a pixel of the part is seen.
    """
    mask = owner[:, None] == 2 + jnp.arange(len(birds.PARTS))[:, None, None]
    alone = jnp.where(mask[..., None], jnp.concatenate([image, jnp.ones_like(image[..., :1])], -1)[:, None], 0.0)
    flat = alone.reshape(-1, *alone.shape[2:])
    box = box_of(mask.reshape(flat.shape[:3])) * image.shape[1]

    def resize(part: jax.Array, box: jax.Array) -> jax.Array:
        side = jnp.maximum(jnp.max(box[2:] - box[:2]), 1.0)
        corner = (box[:2] + box[2:] - side) / 2
        shape, scale = (WINDOW, WINDOW, part.shape[-1]), jnp.full(2, WINDOW / side)
        return jax.image.scale_and_translate(part, shape, (0, 1), scale, -corner * scale, "linear")

    made = jax.vmap(resize)(flat, box)
    return made.reshape(*mask.shape[:2], *made.shape[1:]), mask.any((2, 3)).astype(jnp.float32)


class Namer(nn.Module):
    """Names the value of each part from its crop: convolutions that all parts share, then weights of each part."""

    @nn.compact
    def __call__(self, crops: jax.Array) -> jax.Array:
        """Crops [n,6,16,16,4] -> logits of the values [n,6,7]."""
        x = crops.reshape(-1, *crops.shape[2:])
        for width in (32, 64):
            x = nn.relu(nn.Conv(width, (3, 3), strides=2)(x))
        x = nn.relu(nn.Dense(128)(x.reshape(*crops.shape[:2], -1)))
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (crops.shape[1], x.shape[-1], birds.VALUES))
        return jnp.einsum("nkd,kdv->nkv", x, kernel)


class Crops(NamedTuple):
    """True parts, as `crops` gives them, and their values."""

    crop: jax.Array  # f32 [n,6,16,16,4]
    visible: jax.Array  # f32 [n,6]
    value: jax.Array  # i32 [n,6]


def base_crops(level: str, count: int) -> Crops:
    """The parts of the first `count` training images of each base class of world 0."""
    source = birds.Birds(birds.World(level=level), "base", "train", SIZE)
    made = [(*crops(block.image, block.part_mask), block.attributes) for block in blocks(source, count)]
    return Crops(*map(jnp.concatenate, zip(*made)))


def learn(parts: Crops, steps: int) -> Any:
    """Parameters of a `Namer` after so many steps of Adam on the cross entropy of the visible parts' values."""
    namer, optimizer = Namer(), optax.adam(optax.cosine_decay_schedule(RATE, steps))

    def loss(params, parts):
        entropy = optax.softmax_cross_entropy_with_integer_labels(namer.apply(params, parts.crop), parts.value)
        return (entropy * parts.visible).sum() / parts.visible.sum()

    @jax.jit
    def step(params, state, parts, key):
        batch = jax.random.randint(key, (BATCH,), 0, len(parts.crop))
        gradient = jax.grad(loss)(params, jax.tree.map(lambda a: a[batch], parts))
        updates, state = optimizer.update(gradient, state)
        return optax.apply_updates(params, updates), state

    params = namer.init(jax.random.key(0), parts.crop[:1])
    state = optimizer.init(params)
    for key in jax.random.split(jax.random.key(1), steps):
        params, state = step(params, state, parts, key)
    return params


def oracle_accuracy(params: Any, seen: Seen) -> float:
    """Accuracy by the values that a `Namer` gives the true parts."""
    crop, visible = crops(seen.image, seen.owner)
    logits: Any = Namer().apply(params, crop)
    return accuracy(jax.nn.softmax(logits), visible, seen.episodes, same_values)


def same_values(support: Local, query: Local, support_mask: jax.Array) -> jax.Array:
    """Logits [Q,C]: log of how much likelier the values agree than by chance, for the best support of each class.

    `sum_i log(FLOOR + 7 sum_v p_iv q_iv)` over the parts i seen in both, p and q the probabilities of the values.
    """
    agree = jnp.einsum("qiv,cniv->qcni", query.vectors, support.vectors) * birds.VALUES
    both = jnp.einsum("qi,cni->qcni", query.weights, support.weights)
    logits = (both * jnp.log(FLOOR + agree)).sum(-1)
    return jnp.where(support_mask, logits, -jnp.inf).max(-1)
