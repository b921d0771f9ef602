"""Episodes: balance, disjointness, groups, drawers, seeds and what too little data says."""

import numpy as np
import pytest

from partrep import UserError
from partrep.data.episodes import EpisodeBatches, EpisodeSampler


@pytest.fixture(scope="module")
def set_of_characters():
    """Three groups of 4, 6 and 5 classes (labels with gaps), five drawers who draw each class twice."""
    label, drawer = np.repeat(np.arange(15) * 3, 10), np.tile(np.repeat(np.arange(5), 2), 15)
    group = np.array([7] * 4 + [1] * 6 + [2] * 5)[label // 3]
    shuffle = np.random.default_rng(0).permutation(len(label))
    return label[shuffle], group[shuffle], drawer[shuffle]


@pytest.mark.parametrize("crossed", [False, True])
def test_properties(set_of_characters, crossed):
    label, group, drawer = set_of_characters
    shots, queries = (2, 2) if crossed else (3, 4)
    sampler = EpisodeSampler(label, 4, shots, queries, 5, group, drawer if crossed else None)
    seen = set()
    for t in range(60):
        episode = sampler[t]
        assert episode.support.shape == (4, shots) and episode.query.shape == (4 * queries,)
        assert len(set(episode.classes)) == 4
        assert (label[episode.support] == episode.classes[:, None]).all()
        assert np.array_equal(label[episode.query], episode.classes[episode.query_label])
        assert (np.bincount(episode.query_label) == queries).all() and episode.support_mask.all()
        everything = np.concatenate([episode.support.ravel(), episode.query])
        assert len(set(everything)) == len(everything)
        assert set(group[everything]) == {int(episode.group)}
        if crossed:
            of_support, of_query = set(drawer[episode.support.ravel()]), set(drawer[episode.query])
            assert len(of_support) == len(of_query) == 1 and of_support != of_query
            seen.add((*of_support, *of_query))
    assert sampler.groups == [1, 2, 7]
    assert not crossed or len(seen) > 12  # of 20 ordered pairs


def test_every_group_class_and_example_comes_up_evenly(set_of_characters):
    label, group, _ = set_of_characters
    sampler = EpisodeSampler(label, 3, 1, 1, 0, group)
    episodes = sampler.batch(0, 1500)
    assert np.allclose(np.bincount(episodes.group)[[1, 2, 7]], 500, atol=75)
    uses = np.bincount(episodes.support.ravel(), minlength=len(label))
    for g, classes in ((7, 4), (1, 6), (2, 5)):
        expected = 500 * 3 / classes / 10
        assert np.abs(uses[group == g] - expected).max() < 6 * expected**0.5


def test_pure_function_of_seed_and_step(set_of_characters):
    label, group, _ = set_of_characters
    one, two = (EpisodeSampler(label, 3, 1, 2, 9, group) for _ in range(2))
    late = one[40]
    assert all(np.array_equal(a, b) for a, b in zip(late, two[40]))
    stacked = two.batch(38, 4)
    assert all(np.array_equal(a, b[2]) for a, b in zip(late, stacked))
    other = EpisodeSampler(label, 3, 1, 2, 10, group)[40]
    assert not np.array_equal(late.support, other.support)
    assert not np.array_equal(late.support, one[41].support)


def test_slices_of_processes_concatenate(set_of_characters):
    sampler = EpisodeSampler(set_of_characters[0], 5, 1, 1, 0)
    whole = EpisodeBatches(sampler, 6)[3]
    parts = [EpisodeBatches(sampler, 6, p, 3)[3] for p in range(3)]
    for i, field in enumerate(whole):
        assert np.array_equal(field, np.concatenate([part[i] for part in parts]))
    with pytest.raises(UserError, match="6 episodes a batch with 4 processes"):
        EpisodeBatches(sampler, 6, 0, 4)


@pytest.mark.parametrize(
    "change, words",
    [
        ({"ways": 7}, ["15 classes", "3 groups", "at most 6 classes in one", "7 classes with 1"]),
        ({"shots": 6, "queries": 5}, ["at most 10 examples a class", "6 \\+ 5 examples"]),
        ({"shots": 3, "attribute": True}, ["5 attribute values", "at most 2 examples of one class"]),
        ({"queries": 0}, ["0 queries"]),
    ],
)
def test_too_little_is_said_with_numbers(set_of_characters, change, words):
    label, group, drawer = set_of_characters
    settings = {"ways": 4, "shots": 1, "queries": 1, "seed": 0, "groups": group} | change
    settings["attribute"] = drawer if settings.get("attribute") else None
    for word in words:
        with pytest.raises(UserError, match=word):
            EpisodeSampler(label, **settings)


def test_odd_sets():
    with pytest.raises(UserError, match="0 examples of 0 classes"):
        EpisodeSampler(np.array([], int), 2, 1, 1, 0)
    with pytest.raises(UserError, match="1 classes lie in several groups"):
        EpisodeSampler(np.array([0, 0, 1, 1]), 2, 1, 1, 0, groups=np.array([0, 1, 1, 1]))
    # A small group is passed over; a class with too few examples is never drawn.
    label = np.array([0, 0, 1, 1, 2, 3, 3])
    sampler = EpisodeSampler(label, 2, 1, 1, 0, groups=np.array([0, 0, 0, 0, 0, 1, 1]))
    assert sampler.groups == [0]
    assert set(sampler.batch(0, 30).classes.ravel()) == {0, 1}


def test_one_drawing_a_drawer_is_enough_for_one_shot():
    label, drawer = np.repeat(np.arange(25), 20), np.tile(np.arange(1, 21), 25)
    episode = EpisodeSampler(label, 20, 1, 1, 3, attribute=drawer)[0]
    assert len(set(drawer[episode.support.ravel()])) == 1
    with pytest.raises(UserError, match="at most 1 examples of one class and value"):
        EpisodeSampler(label, 20, 2, 1, 3, attribute=drawer)


def test_hard_episodes_hold_a_class_and_others_alike_to_it():
    label = np.repeat(np.arange(6) * 2, 5)
    alike = np.zeros((6, 6), bool)
    for one, other in ((0, 1), (0, 2), (0, 3), (4, 5), (4, 1), (1, 2)):
        alike[one, other] = alike[other, one] = True
    sampler = EpisodeSampler(label, 3, 1, 2, 3, alike=alike)
    firsts = set()
    for t in range(80):
        first, *others = sampler[t].classes // 2
        assert len({first, *others}) == 3 and alike[first, others].all()
        firsts.add(int(first))
    assert firsts == {0, 1, 2, 4}  # those with two alike


def test_too_few_alike_are_a_user_error():
    with pytest.raises(UserError, match="no class has 2 others alike to it; expected one, for 3 ways"):
        EpisodeSampler(np.repeat(np.arange(4), 3), 3, 1, 1, 0, alike=np.eye(4)[::-1].astype(bool))
    with pytest.raises(UserError, match=r"alike has the shape \(3, 3\); expected a row and a column for 4 classes"):
        EpisodeSampler(np.repeat(np.arange(4), 3), 3, 1, 1, 0, alike=np.ones((3, 3), bool))


def test_groups_without_a_class_that_has_enough_alike_are_left_out():
    label, alike = np.repeat(np.arange(6), 3), np.zeros((6, 6), bool)
    alike[np.ix_([3, 4, 5], [3, 4, 5])] = True
    sampler = EpisodeSampler(label, 3, 1, 1, 0, groups=label // 3, alike=alike)
    assert sampler.groups == [1] and {int(group) for group in sampler.batch(0, 20).group} == {1}
