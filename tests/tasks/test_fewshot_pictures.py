"""The predictions of a report: what each part counted adds up to the logit of the head that was scored."""

import functools
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest

from partrep.evaluate.fewshot import Episodes
from partrep.evaluate.readers import CHOICES, Reading, Standard, standardise
from partrep.models.heads.reconstruction import frn, init_frn
from partrep.models.local import Local
from partrep.tasks.fewshot_pictures import contributions, draw_all, pictures

PARTS, WIDTH = 3, 4
MASK = jnp.ones((5, 1), bool)
PAIRING = [name for name in CHOICES if name.startswith("aligned")]


def _local(random: np.random.Generator, *lead: int) -> Local:
    return Local(
        jnp.asarray(random.normal(size=(*lead, PARTS, WIDTH)), jnp.float32),
        jnp.asarray(random.uniform(0.1, 1, (*lead, PARTS)), jnp.float32),
        jnp.asarray(random.uniform(size=(*lead, PARTS, 2)), jnp.float32),
    )


def _reading(name: str) -> Reading:
    random = np.random.default_rng(3)
    standard = Standard(*(jnp.asarray(random.uniform(0.5, 1, (PARTS, WIDTH)), jnp.float32) for _ in range(2)))
    return Reading(name, CHOICES[name.removeprefix("standardised, ")], standard, PARTS, 0.9, None, {})


class Images:
    """Stands for `Sampled`: image i has label i % 2, and its parts' vectors are those of its class or of the other."""

    images = SimpleNamespace(names=("finch", "wren"))
    task = variables = None

    def __init__(self, confused: set[int]):
        self.confused = confused

    def at(self, indices: np.ndarray) -> dict:
        looks = [i % 2 if i not in self.confused else 1 - i % 2 for i in indices.tolist()]
        prototypes = np.random.default_rng(0).normal(size=(2, PARTS, WIDTH))
        ones = jnp.ones((len(looks), PARTS))
        return {
            "image": np.zeros((len(looks), 8, 8, 3)) + indices[:, None, None, None],
            "label": indices % 2,
            "assignment": np.ones((len(looks), PARTS, 4, 4)) / PARTS,
            "parts": Local(jnp.asarray(prototypes[looks], jnp.float32), ones, jnp.zeros((*ones.shape, 2))),
        }


def _episodes(count: int) -> Episodes:
    """Episode e: support images 4e, 4e+1 of the two classes, queries 4e+2, 4e+3."""
    first = 4 * np.arange(count)[:, None]
    return Episodes(
        (first + [0, 1])[..., None].astype(np.int32),
        (first + [2, 3]).astype(np.int32),
        np.tile(np.int32([0, 1]), (count, 1)),
        np.ones((count, 2, 1), bool),
    )


@pytest.mark.parametrize("name", PAIRING)
def test_contributions_sum_to_the_logits_that_were_scored(name):
    random = np.random.default_rng(1)
    support, query, reading = _local(random, 5, 1), _local(random, 4), _reading(f"standardised, {name}")
    moved = [standardise(side, reading.standard) for side in (support, query)]
    logits = np.asarray(reading.head(*moved, MASK))
    share, summed = contributions(Images(set()), reading, support, query, MASK)
    assert share.shape == (4, 5, PARTS)
    np.testing.assert_allclose(share.sum(-1), logits, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(summed, share.sum(-1))


def test_contributions_of_a_head_that_was_trained_use_its_settings_and_parameters():
    random = np.random.default_rng(2)
    support, query = _local(random, 5, 1), _local(random, 4)
    task = SimpleNamespace(config={"head": {"name": "aligned"}}, head_settings={"scale": 7.0, "geometry": 0.0})
    sampled = SimpleNamespace(task=task, variables={"params": {"head": None}})
    reading = _reading("aligned")._replace(standard=Standard(jnp.zeros(()), jnp.ones(())))
    found, _ = contributions(sampled, reading._replace(head_name="trained aligned"), support, query, MASK)
    tenth = contributions(Images(set()), reading, support, query, MASK)[0] / 10  # the scale that a reader's head has
    np.testing.assert_allclose(found, 7 * tenth, rtol=1e-5, atol=1e-6)


def test_a_trained_head_that_pairs_no_parts_shows_its_logits_alone():
    random = np.random.default_rng(2)
    support, query = _local(random, 5, 1), _local(random, 4)
    sampled = SimpleNamespace(task=SimpleNamespace(config={"head": {"name": "frn"}}), variables={})
    reading = _reading("aligned")._replace(head_name="trained frn", standard=Standard(jnp.zeros(()), jnp.ones(())))
    reading = reading._replace(head=functools.partial(frn, params=init_frn(None, WIDTH)))
    share, logits = contributions(sampled, reading, support, query, MASK)
    assert share is None
    np.testing.assert_allclose(logits, frn(support, query, MASK, init_frn(None, WIDTH)), rtol=1e-6)


def test_a_picture_shows_the_first_query_of_each_class_beside_the_supports():
    plain = _reading("aligned")._replace(standard=Standard(jnp.zeros(()), jnp.ones(())))
    _, drawn = draw_all(Images(set()), plain, _episodes(2))
    assert [picture.label for picture in drawn] == [0, 1] == [picture.predicted for picture in drawn]
    assert [int(picture.query[0, 0, 0]) for picture in drawn] == [6, 7]
    assert [int(image[0, 0, 0]) for image in drawn[0].support] == [4, 5]
    assert drawn[0].class_names == ("finch", "wren")
    np.testing.assert_allclose(drawn[0].contributions.sum(-1), drawn[0].logits, rtol=1e-6)


def test_of_several_supports_all_count_and_the_first_is_drawn():
    images, plain = Images({1}), _reading("aligned")._replace(standard=Standard(jnp.zeros(()), jnp.ones(())))
    # The first support of the wren looks like a finch; with the second one beside it, wrens are told all the same.
    episode = Episodes(np.int32([[[0, 2], [1, 3]]]), np.int32([[4, 5]]), np.int32([[0, 1]]), np.ones((1, 2, 2), bool))
    (drawn,) = draw_all(images, plain, episode)
    assert [picture.predicted for picture in drawn] == [0, 1]
    assert [int(image[0, 0, 0]) for image in drawn[1].support] == [0, 1]
    assert drawn[1].logits[1] > drawn[1].logits[0] + 1e-3


def test_right_and_wrong_are_of_different_episodes_and_at_most_as_many_as_asked():
    plain = _reading("aligned")._replace(standard=Standard(jnp.zeros(()), jnp.ones(())))
    right, wrong = pictures(Images({2, 10}), plain, _episodes(6), most=2)  # query 0 of episodes 0 and 2 looks wrong
    assert all(p.predicted == p.label for p in right) and all(p.predicted != p.label for p in wrong)
    assert [[int(p.query[0, 0, 0]) for p in kind] for kind in (right, wrong)] == [[3, 6], [10]]
