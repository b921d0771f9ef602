"""Pairs are of one class, classes of a batch differ, processes read slices; invented classes share a warp."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from partrep import UserError
from partrep.data.pairs import PairBatches, invent_classes
from partrep.data.transforms import WarpSettings

LABELS = np.array([3, 0, 3, 1, 0, 1, 1, 3, 5, 5, 0, 5])


def test_two_different_examples_of_each_of_different_classes():
    batches = PairBatches(LABELS, 6, seed=0)
    seen = set()
    for t in range(200):
        pairs = batches[t]["index"].reshape(3, 2)
        labels = LABELS[pairs]
        assert (labels[:, 0] == labels[:, 1]).all() and (pairs[:, 0] != pairs[:, 1]).all()
        assert len(set(labels[:, 0])) == 3
        seen |= {tuple(pair) for pair in pairs}
    assert len(seen) == 4 * 3 * 2  # every ordered pair of the three examples of each of the four classes


def test_processes_read_slices_of_one_batch():
    whole = PairBatches(LABELS, 8, seed=1)[5]["index"]
    halves = [PairBatches(LABELS, 8, 1, p, 2)[5]["index"] for p in range(2)]
    np.testing.assert_array_equal(np.concatenate(halves), whole)


@pytest.mark.parametrize(
    ("labels", "size", "processes", "message"),
    [
        ([0, 0, 1], 2, 1, "a class with 1 image"),
        ([0, 0, 1, 1], 6, 1, "2 classes for 3 pairs"),
        ([0, 0, 1, 1], 3, 1, "even number in each"),
        ([0, 0, 1, 1], 2, 2, "even number in each"),
    ],
)
def test_mistakes_are_user_errors(labels, size, processes, message):
    with pytest.raises(UserError, match=message):
        PairBatches(np.array(labels), size, 0, 0, processes)


def test_an_invented_pair_has_one_warp_and_the_others_none():
    rng = np.random.default_rng(0)
    drawing = rng.choice(np.array([0, 255], np.uint8), (40, 1, 12, 12, 1))
    images = np.repeat(drawing, 2, 1).reshape(80, 12, 12, 1)  # both drawings of a pair the same
    out, invented = invent_classes(jax.random.key(0), images, WarpSettings(rotation=1.0, elastic=0.03), 0.5)
    invented, out = np.asarray(invented), np.asarray(out)
    np.testing.assert_array_equal(invented[0::2], invented[1::2])
    assert 8 < invented[0::2].sum() < 32
    np.testing.assert_allclose(out[0::2], out[1::2], atol=1e-3)
    np.testing.assert_array_equal(out[~invented], images[~invented])
    changed = np.abs(out - images).mean((1, 2, 3))
    assert changed[invented].min() > 5
    turned = out[invented][0::2]
    assert np.abs(turned[:-1] - turned[1:]).mean() > 5 and out.min() >= 0 and out.max() <= 255.001


def test_no_share_leaves_every_image():
    images = jnp.full((4, 6, 6, 3), 7, jnp.uint8)
    out, invented = invent_classes(jax.random.key(1), images, WarpSettings(rotation=1.0), 0.0)
    assert not invented.any()
    np.testing.assert_array_equal(out, images)
