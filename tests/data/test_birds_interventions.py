"""Interventions change what they name and nothing else."""

import jax
import numpy as np
import pytest

import partrep
from partrep.data import birds
from partrep.data.birds import interventions, layers, shapes

WORLD = birds.World()
SIZE, COUNT = 64, 24


def draw(scene):
    return jax.tree.map(np.asarray, birds.render(WORLD, scene, SIZE, True))


@pytest.fixture(scope="module")
def scene():
    table = WORLD.split("base", "train")
    index = np.arange(COUNT) * 613
    return birds.sample(WORLD, table.keys[index], table.values[index])


@pytest.fixture(scope="module")
def before(scene):
    return draw(scene)


def _depth(scene) -> np.ndarray:
    """Signed distance of each pixel to each layer of the bird in widths of its soft edge, [10, B, H, W]."""
    edge = np.maximum(np.asarray(scene.blur), 2 / SIZE)[:, None, None, None]
    return np.moveaxis(np.asarray(_distances(scene)) / edge, 1, 0)


@jax.jit
def _distances(scene):
    stack = jax.vmap(lambda s: layers.bird_layers(WORLD, s))(scene)
    ticks = (np.arange(SIZE, dtype=np.float32) + 0.5) * 2 / SIZE - 1
    return shapes.distance(stack, *shapes.local(stack, ticks[None], ticks[:, None]))


def _reach(scene, part: int) -> np.ndarray:
    """The pixels that a part can colour: up to half the width of its soft edge outside."""
    return _depth(scene)[int(np.argmax(layers.OWNERS == part + 2))] < 0.51


def _changed(after, before) -> np.ndarray:
    return np.abs(after.image - before.image).max(-1) > 1e-5


@pytest.mark.parametrize("part", birds.PARTS)
def test_swap_changes_only_where_the_part_is_or_was(scene, before, part):
    number = birds.PARTS.index(part)
    swapped = interventions.swap(scene, part, (scene.values[:, number] + 3) % 7)
    after = draw(swapped)
    changed = _changed(after, before)
    assert not (changed & ~(_reach(scene, number) | _reach(swapped, number))).any()
    seen = before.visible[:, number] > 0.5
    assert np.all(changed[seen].sum((1, 2)) > 5)
    others = [k for k in range(6) if k != number]
    assert np.array_equal(after.attributes[:, others], before.attributes[:, others])


@pytest.mark.parametrize("part", birds.PARTS)
def test_removed_parts_vanish_and_what_lies_behind_shows(scene, before, part):
    number = birds.PARTS.index(part)
    after = draw(interventions.remove(scene, part))
    mask = before.part_mask == number + 2
    assert not (after.part_mask == number + 2).any()
    assert np.array_equal(after.part_mask[~mask], before.part_mask[~mask])
    assert not (_changed(after, before) & ~_reach(scene, number)).any()
    assert after.present[:, number].max() == 0 and after.visible[:, number].max() == 0


def test_hide_covers_every_value_of_every_part(scene):
    one = jax.tree.map(lambda a: np.repeat(np.asarray(a)[[0, 3, 7]], 8, axis=0), scene)
    for part in range(6):
        hidden = interventions.hide(interventions.swap(one, part, np.tile(np.arange(8), 3)), part)
        out = draw(hidden)
        assert out.visible[:, part].max() < 0.05, birds.PARTS[part]
        assert out.present.min() == 1  # hidden, but there


def test_hiding_leaves_the_other_parts_in_sight(scene, before):
    lost = []
    for part in range(6):
        after = draw(interventions.hide(scene, part))
        lost.append(np.delete(before.visible - after.visible, part, axis=1))
    assert np.min(lost) >= 0 and np.mean(lost) < 0.15


def test_recolour_keeps_the_masks(scene, before):
    after = draw(interventions.recolour(scene, "wing", 5))
    assert np.array_equal(after.part_mask, before.part_mask)
    changed = _changed(after, before)
    assert not (changed & ~_reach(scene, 2)).any()
    assert changed.any((1, 2)).mean() > 0.7


def test_background_leaves_the_bird_alone(scene):
    scene = interventions.set_ring(scene, True)
    before = draw(scene)
    after = draw(interventions.set_background(scene, (scene.habitat + 1) % 7))
    assert np.array_equal(after.part_mask, before.part_mask)
    solid = (_depth(scene) < -0.51).any(0)
    assert not (_changed(after, before) & solid).any() and solid.sum() > COUNT * 300
    assert np.abs(after.image - before.image)[before.part_mask == 0].mean() > 0.05
    assert np.array_equal(after.habitat, (before.habitat + 1) % 7)


def test_ring_changes_only_the_leg(scene, before):
    on, off = (draw(interventions.set_ring(scene, state)) for state in (True, False))
    changed = _changed(on, off)
    assert 0 < changed.mean() < 0.02
    feet = before.keypoints[:, 4]
    for b in range(COUNT):
        spots = (np.argwhere(changed[b]) + 0.5) / SIZE
        assert len(spots) == 0 or np.linalg.norm(spots - feet[b], axis=1).max() < 0.3
    assert np.any(changed.any((1, 2)))


def test_subsets_list_every_choice_of_parts(scene, before):
    subsets = interventions.subsets()
    assert subsets.shape == (64, 6) and len(np.unique(subsets, axis=0)) == 64
    assert subsets[0b100101].tolist() == [True, False, True, False, False, True]
    one = jax.tree.map(lambda a: a[np.zeros(COUNT, int)], scene)
    out = draw(interventions.keep(one, subsets[-COUNT:]))
    assert np.array_equal(out.present > 0, subsets[-COUNT:])
    np.testing.assert_allclose(out.image[-1], before.image[0], atol=2e-5)


def test_several_parts_can_be_taken_away_in_each_way(scene):
    removed = interventions.remove(interventions.remove(scene, 0), 1)
    assert removed.present.sum(1).tolist() == [4] * COUNT
    hidden = interventions.hide(interventions.hide(scene, 0), 1)
    assert hidden.branches.shape[1] == scene.branches.shape[1] + 2


def test_unknown_part_is_refused(scene):
    with pytest.raises(partrep.UserError, match="unknown part of a bird 'nose'; known: beak, crown"):
        interventions.remove(scene, "nose")
