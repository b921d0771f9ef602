"""What is measured on birds, against models whose answer is known: dot products with fixed templates, and constants."""

from __future__ import annotations

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from partrep import UserError
from partrep.data import birds
from partrep.explain.effects import PARTS, hidden_alone, measure, rival_classes

SIZE, EACH, BATCH = 32, 2, 10  # 28 images: the last batch is padded
WORLD = birds.World(100, dimension=2, parts=4, absence=6, images=(1, 1, 2 * EACH))
TABLE = WORLD.split("novel", "test")  # 14 classes, pairs of which share a part
CLASSES = len(TABLE.classes)
TEMPLATES = np.random.default_rng(0).normal(size=(SIZE * SIZE * 3, CLASSES))


def project(images):
    return images.reshape(len(images), -1).astype(np.float64) @ TEMPLATES


def predict(images):
    """Dot products with templates: linear in the pixels, so an effect is the template's product with what changed."""
    assert images.shape[1:] == (SIZE, SIZE, 3) and 0 <= images.min() and images.max() <= 1
    return project(images)


@pytest.fixture(scope="module")
def effects():
    return measure(predict, WORLD, "novel", EACH, SIZE, BATCH)


@pytest.fixture(scope="module")
def scenes():
    """The first images of each class, made without `effects`."""
    rows = [c * 2 * EACH + i for c in range(CLASSES) for i in range(EACH)]
    return jax.device_get(birds.sample(WORLD, TABLE.keys[rows], TABLE.values[rows]))


def change(scenes, name, column=None, value=0.0):
    """Scenes with an entry of one of their arrays set."""
    array = np.array(getattr(scenes, name))
    array[..., slice(None) if column is None else column] = value
    return dataclasses.replace(scenes, **{name: array})


def render(scenes):
    """In blocks of the batch's size, which share the compiled program."""
    total = len(scenes.scale)
    blocks = []
    for start in range(0, total, BATCH):
        rows = np.minimum(np.arange(start, start + BATCH), total - 1)
        block = jax.tree.map(lambda a, rows=rows: jnp.asarray(np.asarray(a)[rows]), scenes)
        blocks.append(np.asarray(birds.render(WORLD, block, SIZE).image)[: total - start])
    return np.concatenate(blocks)


def own_drop(effects, scenes, changed):
    """The template of the explained class times the pixels that a change took away, f64 [n]."""
    gone = render(scenes).astype(np.float64) - render(changed)
    return np.einsum("np,pn->n", gone.reshape(len(gone), -1), TEMPLATES[:, effects.predicted])


def close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-3)


def test_the_images_are_the_first_of_each_class_and_the_explained_class_is_the_predicted(effects, scenes):
    np.testing.assert_array_equal(effects.labels, np.repeat(np.arange(CLASSES), EACH))
    np.testing.assert_allclose(effects.images, render(scenes), atol=1e-6)
    np.testing.assert_array_equal(effects.predicted, project(effects.images).argmax(1))
    np.testing.assert_array_equal(effects.classes, WORLD.classes("novel"))
    assert not effects.extrapolated


def test_the_last_subset_is_the_image_as_it_is(effects):
    logits = project(effects.images)
    close(effects.subsets[:, 63], logits.max(1))
    assert (effects.predicted != effects.rivals).all()


def test_the_first_subset_is_a_bird_without_parts(effects, scenes):
    bare = render(change(scenes, "present"))
    close(effects.subsets[:, 0], np.einsum("np,pn->n", bare.reshape(len(bare), -1), TEMPLATES[:, effects.predicted]))


@pytest.mark.parametrize("part", range(PARTS))
def test_removing_a_part_lands_in_its_column(effects, scenes, part):
    expected = own_drop(effects, scenes, change(scenes, "present", part))
    close(effects.remove[:, part], expected)
    assert np.abs(expected).max() > 1  # parts are seen, and their effects differ
    close(effects.remove[:, part], effects.subsets[:, 63] - effects.subsets[:, 63 - 2**part])


@pytest.mark.parametrize("part", range(PARTS))
def test_a_swap_is_the_mean_over_the_six_other_values(effects, scenes, part):
    own = scenes.values[:, part]
    others = [change(scenes, "values", part, (own + step) % 7) for step in (6, 1, 5, 2, 4, 3)]
    close(effects.swap[:, part], np.mean([own_drop(effects, scenes, other) for other in others], 0))
    turn = effects.swapped_part == part
    assert turn.sum() >= len(own) // PARTS
    np.testing.assert_allclose(effects.swapped[turn], render(others[1])[turn], atol=1e-6)


@pytest.mark.parametrize("part", range(PARTS))
def test_a_branch_hides_the_part_of_its_column(effects, scenes, part):
    hidden = birds.interventions.hide(scenes, birds.PARTS[part])
    close(effects.hide[:, part], own_drop(effects, scenes, jax.device_get(hidden)))


def test_another_habitat_is_the_mean_over_the_six_others(effects, scenes):
    others = [dataclasses.replace(scenes, habitat=(scenes.habitat + step) % 7) for step in range(1, 7)]
    close(effects.background, np.mean([own_drop(effects, scenes, other) for other in others], 0))
    assert np.abs(effects.background).min() > 0


@pytest.mark.parametrize("part", range(PARTS))
def test_a_recoloured_part_has_each_other_colour_in_turn(effects, scenes, part):
    own = WORLD.appearance[part][scenes.values[:, part], 0]
    colours = np.array([[c for c in range(7) if c != mine] for mine in own])  # by rising number; in turn from the own one
    colours = np.stack([np.roll(row, -mine) for row, mine in zip(colours, own)])
    changed = change(scenes, "colour", part, colours[np.arange(len(own)), np.arange(len(own)) % 6])
    close(effects.recolour[:, part], own_drop(effects, scenes, changed))
    seen = (effects.masks == 2 + part).sum((1, 2)) > 4
    assert seen.sum() > 5 and np.abs(effects.recolour[seen, part]).min() > 1e-3  # never the colour it has


def test_the_ring_is_put_on_or_taken_off(effects, scenes):
    on = scenes.ring_on > 0
    assert 5 < on.sum() < len(on) - 5
    other = change(scenes, "ring_on", value=np.where(on, 0.0, 1.0).astype(np.float32))
    close(effects.ring, own_drop(effects, scenes, other))
    assert np.abs(effects.ring).max() > 0.1


def test_masks_are_those_of_the_images(effects):
    changed = np.abs(effects.swapped - effects.images).max(-1) > 1e-3
    part = 2 + effects.swapped_part[:, None, None]
    here = (effects.masks == part) | (effects.swapped_masks == part)
    assert changed[here].mean() > 0.5  # the colour of a pixel may stay the same
    assert changed[~here].mean() < 0.02  # soft edges


def test_shapley_values_sum_to_what_all_parts_add(effects):
    for values, shares in (
        (effects.subsets, effects.shapley),
        (effects.twin, effects.twin_shapley),
    ):
        close(shares.sum(1), values[:, 63] - values[:, 0])


def test_shapley_values_are_means_over_the_orders_in_which_parts_appear(effects):
    expected = np.zeros((len(effects.labels), PARTS))
    for order in itertools.permutations(range(PARTS)):
        row = 0
        for part in order:
            expected[:, part] += (effects.subsets[:, row | 1 << part] - effects.subsets[:, row]) / 720
            row |= 1 << part
    close(effects.shapley, expected)


def test_twins_are_other_birds_of_the_same_class(effects):
    rows = [c * 2 * EACH + EACH + i for c in range(CLASSES) for i in range(EACH)]
    np.testing.assert_array_equal(TABLE.labels[rows], effects.labels)
    twins = jax.device_get(birds.sample(WORLD, TABLE.keys[rows], TABLE.values[rows]))
    logits = project(render(twins))[np.arange(len(rows)), effects.predicted]
    close(effects.twin[:, 63], logits)
    assert np.abs(effects.twin[:, 63] - effects.subsets[:, 63]).min() > 1e-2


def test_rivals_share_a_part_that_says_something(effects):
    codes, same = effects.classes, 0
    for logits, predicted, rival in zip(project(effects.images), effects.predicted, effects.rivals):
        sharing = [
            c for c in range(CLASSES) if c != predicted and (codes[c] == codes[predicted])[WORLD.informative].any()
        ]
        allowed = sharing or [c for c in range(CLASSES) if c != predicted]
        assert rival == max(allowed, key=lambda c: logits[c])
        same += bool(sharing)
    assert same > 0


def test_rivals_by_hand():
    codes = np.array([[0, -1, 2], [0, -1, 3], [1, -1, 2], [4, -1, 5]])  # 0 shares with 1 and 2, 3 with none
    logits = np.array([[9.0, 1.0, 2.0, 8.0], [9.0, 2.0, 1.0, 8.0], [3.0, 1.0, 2.0, 8.0], [1.0, 9.0, 8.0, 7.0]])
    found = rival_classes(logits, np.array([0, 0, 3, 1]), codes)
    assert found.tolist() == [2, 1, 0, 0] and found.dtype == np.int32


def test_a_branch_alone_by_hand():
    masks = np.zeros((1, 10, 10), int)
    masks[0, :2], masks[0, 2:4] = 2, 3  # twenty pixels of part 0 and of part 1; the others are not seen
    behind = np.repeat(masks[:, None], PARTS, 1)
    behind[0, 0, :2] = 0  # hiding part 0 takes all of it
    behind[0, 0, 2, :2] = 0  # and a tenth of part 1: just spared
    behind[0, 1, 2:4] = 0
    behind[0, 1, 0, :3] = 1  # hiding part 1 takes over a tenth of part 0
    assert hidden_alone(masks, behind).tolist() == [[True, False, True, True, True, True]]
    behind[0, 4] = 2  # a part that is uncovered is not taken away, but here part 1 is
    assert hidden_alone(masks, behind)[0].tolist() == [True, False, True, True, False, True]


def test_a_branch_is_alone_where_the_masks_say_so(effects):
    assert 0.2 < effects.alone.mean() < 1.0


def test_a_model_that_ignores_the_image_depends_on_nothing():
    logits = np.random.default_rng(1).normal(size=CLASSES)
    found = measure(lambda images: np.tile(logits, (len(images), 1)), WORLD, "novel", EACH, SIZE, BATCH)
    for name in ("swap", "remove", "hide", "background", "recolour", "ring", "shapley", "twin_shapley", "interaction"):
        assert not np.abs(getattr(found, name)).max(), name
    assert set(found.predicted) == {logits.argmax()}


@pytest.mark.parametrize(
    "wrong, images, message",
    [
        (lambda x: np.zeros((len(x), CLASSES + 1)), 1, r"predict gave shape \(10, 15\) for 10 images; expected \[n, 14\]"),
        (lambda x: np.zeros(CLASSES), 1, r"predict gave shape \(14,\)"),
        (lambda x: np.full((len(x), CLASSES), np.nan), 1, "logits that are not finite"),
        (predict, EACH + 1, "3 images of each class to measure; expected 1 to 2, half of the test images"),
        (predict, 0, "0 images of each class"),
    ],
)
def test_mistakes_are_told_in_one_line(wrong, images, message):
    with pytest.raises(UserError, match=message) as raised:
        measure(wrong, WORLD, "novel", images, SIZE, BATCH)
    assert "\n" not in str(raised.value)
