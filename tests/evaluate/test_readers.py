"""Readers: the head is chosen on validation, the mean of base images is taken off where that helps."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from partrep.evaluate.fewshot import Episodes
from partrep.evaluate.readers import CHOICES, choose, read, standardise, standards
from partrep.models.heads.prototypes import prototypes
from partrep.models.local import Local


def _local(vectors) -> Local:
    vectors = jnp.asarray(vectors, jnp.float32)
    return Local(vectors, jnp.ones(vectors.shape[:2]), jnp.zeros((*vectors.shape[:2], 2)))


def _episodes(count: int = 4) -> Episodes:
    """Two classes (even and odd images), one support and two queries of each."""
    support = np.tile(np.array([[0], [1]], np.int32), (count, 1, 1))
    query = np.tile(np.array([2, 4, 3, 5], np.int32), (count, 1))
    return Episodes(support, query, np.tile(np.array([0, 0, 1, 1], np.int32), (count, 1)), np.ones((count, 2, 1), bool))


def test_standards_weight_the_images():
    local = Local(jnp.array([[[1.0]], [[5.0]]]), jnp.array([[1.0], [3.0]]), jnp.zeros((2, 1, 2)))
    ways = standards(local)  # mean (1 + 15) / 4 = 4, variance (9 + 3) / 4 = 3
    np.testing.assert_allclose(standardise(local, ways[""]).vectors, local.vectors)
    np.testing.assert_allclose(standardise(local, ways["centred, "]).vectors, [[[-3.0]], [[1.0]]])
    np.testing.assert_allclose(
        standardise(local, ways["standardised, "]).vectors, np.array([[[-3.0]], [[1.0]]]) / 3**0.5, rtol=1e-5
    )


def test_standardising_is_chosen_where_a_loud_entry_hides_the_classes():
    rng = np.random.default_rng(0)
    sign = np.where(np.arange(6) % 2, -1.0, 1.0)[:, None, None]
    vectors = sign * np.array([[[0.01, 0.0]]]) + rng.normal(size=(6, 1, 2)) * [0.0, 10.0]
    choice = choose(_local(vectors), _local(vectors), _episodes())
    assert choice.name == "standardised, mean"


def test_centring_is_chosen_where_a_common_offset_hides_the_classes():
    rng = np.random.default_rng(0)
    sign = np.where(np.arange(6) % 2, -1.0, 1.0)[:, None, None]
    vectors = np.array([[[30.0, 0.0]]]) + sign * np.array([[[1.0, 0.0]]]) + 0.3 * rng.normal(size=(6, 1, 2))
    choice = choose(_local(vectors), _local(vectors), _episodes())
    assert choice.name == "centred, mean" and choice.accuracy == 1.0


def test_one_vector_an_image_is_read_in_one_way():
    vectors = np.eye(2)[np.arange(6) % 2][:, None]
    reading = read(_local(vectors), _local(vectors), _local(vectors), (_episodes(), _episodes()))
    assert reading.head_name == "mean" and reading.vectors == 1 and reading.scores.interval.mean == 1.0


def test_views_of_an_image_are_read_one_by_one():
    """Two views, one vector each: the second view swaps the axes for support and query alike, so that only within
    a view do equal classes meet; taken as one vector set, the mean of the views says nothing."""
    axes = np.stack([np.arange(6) % 2, 1 - np.arange(6) % 2], 1)
    local = _local(np.eye(2)[axes])
    choice = choose(local, local, _episodes(), views=2)
    assert choice.name == "mean" and choice.accuracy == 1.0


def test_the_head_comes_from_validation_not_from_the_novel_set():
    good, bad = functools.partial(prototypes, distance="cosine"), functools.partial(_against)
    vectors = np.repeat(np.eye(2)[np.arange(6) % 2][:, None], 2, 1)
    swapped = vectors[:, ::-1, ::-1].copy()
    choices = {"bad": bad, "good": good}
    reading = read(_local(vectors), _local(vectors), _local(swapped), (_episodes(), _episodes()), choices)
    assert reading.head_name == "good"


def _against(support: Local, query: Local, mask: jax.Array) -> jax.Array:
    return -prototypes(support, query, mask, distance="cosine")


def test_every_choice_is_a_head():
    vectors = np.random.default_rng(0).normal(size=(6, 4, 3))
    local = _local(vectors)
    for head in CHOICES.values():
        logits = head(
            jax.tree.map(lambda x: x[:2, None], local), jax.tree.map(lambda x: x[2:], local), jnp.ones((2, 1), bool)
        )
        assert logits.shape == (4, 2)
