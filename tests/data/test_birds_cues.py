"""Nothing but the parts tells the classes: other cues recognise new birds near chance, at every level."""

import jax.numpy as jnp
import numpy as np
import pytest

from partrep.data.birds import Birds, World
from partrep.data.episodes import EpisodeSampler
from partrep.evaluate.fewshot import draw_episodes, episode_accuracy, nearest_neighbour, pixel_local
from partrep.models.local import Local

IMAGES, SIZE = 10, 64  # of each of the 49 validation classes


def histogram(image: np.ndarray, bird: np.ndarray) -> np.ndarray:
    """Square roots of the shares of 4x4x4 colours (so that distances are Hellinger's), f64 [n,64]."""
    level = np.clip((image * 4).astype(int), 0, 3) @ [16, 4, 1]
    return np.sqrt(np.stack([np.bincount(one.ravel(), minlength=64) for one in level]) / level[0].size)


def coarse(image: np.ndarray) -> np.ndarray:
    """Means of blocks of 4x4 pixels, [n,256,...]."""
    n, side = len(image), SIZE // 4
    return image.reshape(n, side, 4, side, 4, -1).mean((2, 4)).reshape(n, -1)


def background(image: np.ndarray, bird: np.ndarray) -> np.ndarray:
    """The image with grey in place of the bird."""
    return coarse(np.where(bird[..., None], 0.5, image))


def silhouette(image: np.ndarray, bird: np.ndarray) -> np.ndarray:
    """The bird's shape, cut out at its own box and scaled to 24x24."""
    made = []
    for mask in bird:
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        side = np.arange(24) / 23
        y = np.round(rows[0] + side * (rows[-1] - rows[0])).astype(int)
        x = np.round(columns[0] + side * (columns[-1] - columns[0])).astype(int)
        made.append(mask[np.ix_(y, x)].ravel())
    return np.stack(made).astype(float)


def pixels(image: np.ndarray, bird: np.ndarray) -> np.ndarray:
    """The baseline of the results table."""
    return np.asarray(pixel_local(image, side=16).vectors[:, 0])


@pytest.fixture(scope="module", params=["easy", "standard", "hard"])
def seen(request):
    """Images, where their birds are, and episodes over them."""
    birds = Birds(World(level=request.param), "validation", "test", SIZE)
    chosen = np.concatenate([np.flatnonzero(birds.labels == c)[:IMAGES] for c in range(49)])
    blocks = [birds.batch(block, masks=True) for block in np.split(chosen, 5)]
    image = np.concatenate([np.asarray(block.image) for block in blocks])
    bird = np.concatenate([np.asarray(block.part_mask) > 0 for block in blocks])
    return image, bird, draw_episodes(EpisodeSampler(birds.labels[chosen], 5, 1, 9, seed=0), 600)


@pytest.mark.parametrize("cue", [histogram, background, silhouette, pixels])
def test_a_cue_that_is_no_part_recognises_near_chance(cue, seen):
    image, bird, episodes = seen
    vectors = jnp.asarray(cue(image, bird), jnp.float32)[:, None]
    local = Local(vectors, jnp.ones((len(image), 1)), jnp.full((len(image), 1, 2), 0.5))
    accuracy = episode_accuracy(local, episodes, nearest_neighbour).interval.mean
    assert 0.17 < accuracy < 0.25  # chance is 0.2; standard errors are about 0.005
