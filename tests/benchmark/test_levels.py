"""The suite `levels`: crops of parts placed by hand, the comparison of values, and a short run at one level."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from partrep.benchmark import levels
from partrep.benchmark.timing import Settings
from partrep.models.local import Local

WING, TAIL, FEET = 2, 3, 4


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(0).random((1, 64, 64, 3), np.float32)


def crop(image, part, *areas):
    """The crop of a part that covers rows and columns (y0, y1, x0, x1) of an otherwise plain bird."""
    owner = np.ones((1, 64, 64), np.int32)
    for y0, y1, x0, x1 in areas:
        owner[0, y0:y1, x0:x1] = 2 + part
    made, visible = levels.crops(image, owner)
    assert made.shape == (1, 6, 16, 16, 4)
    assert np.array_equal(visible[0], np.arange(6) == part)
    assert not np.delete(made[0], part, 0).any()
    return np.asarray(made[0, part])


def test_a_crop_is_the_pixels_of_the_part(image):
    made = crop(image, WING, (20, 36, 7, 23))
    assert np.allclose(made[..., :3], image[0, 20:36, 7:23], atol=1e-6)
    assert np.allclose(made[..., 3], 1)


def test_what_is_not_of_the_part_is_black(image):
    made = crop(image, TAIL, (0, 8, 48, 64))  # a window of 16x16 that begins above the image
    assert np.allclose(made[4:12, :, :3], image[0, :8, 48:], atol=1e-6)
    assert np.allclose(made[4:12, :, 3], 1) and not made[:4].any() and not made[12:].any()


def test_two_pieces_share_a_window(image):
    made = crop(image, FEET, (30, 34, 10, 14), (30, 34, 22, 26))
    assert np.allclose(made[6:10, :4, :3], image[0, 30:34, 10:14], atol=1e-6)
    assert np.allclose(made[..., 3].sum(), 32) and not made[:, 4:12].any()


def test_a_large_part_is_scaled_down(image):
    made = crop(image, WING, (0, 32, 32, 64))
    assert np.allclose(made[1:-1, 1:-1, 3], 1, atol=1e-5)  # the rim has some of the black around it
    made = made[1:-1, 1:-1]
    assert made[..., :3].mean() == pytest.approx(image[0, :32, 32:].mean(), abs=0.02)
    assert made[..., :3].std() < 0.7 * image[0, :32, 32:].std()  # pixels are averaged, not dropped


def test_values_are_compared_over_parts_seen_in_both():
    def local(values, weights):
        weights = jnp.asarray(weights, jnp.float32)
        return Local(jax.nn.one_hot(jnp.asarray(values), 7), weights, jnp.zeros((*weights.shape, 2)))

    # Two classes, two supports each, of which the last is padding; two parts.
    support = local([[[1, 2], [1, 3]], [[4, 2], [1, 2]]], [[[1, 1], [1, 0]], [[1, 1], [1, 1]]])
    query = local([[1, 2], [1, 6]], [[1, 1], [0, 1]])
    found = levels.same_values(support, query, jnp.array([[True, True], [True, False]]))
    same, other = np.log(7 + 1e-3), np.log(1e-3)
    # Of the second query only the second part is seen: it differs wherever it is seen, and says nothing elsewhere.
    assert np.allclose(found, [[2 * same, same + other], [0, other]], atol=1e-5)


def test_a_short_run_tells_parts_from_other_cues(monkeypatch):
    monkeypatch.setattr(levels.birds, "LEVELS", ["easy"])
    lines = []
    found = levels.measure(Settings(levels=dict(images=5, episodes=60, train=2, steps=60), say=lines.append))
    cues = ("histogram", "background", "silhouette", "pixels")
    assert list(found) == [f"levels/easy/{name}_accuracy" for name in (*cues, "oracle")]
    assert all(0.1 < found[f"levels/easy/{name}_accuracy"] < 0.35 for name in cues)  # chance is 0.2
    assert found["levels/easy/oracle_accuracy"] > 0.9
    assert len(lines) == 1 and lines[0].startswith("levels: easy in ")
