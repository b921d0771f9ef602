"""Sources in memory, cut down and split by groups."""

import numpy as np
import pytest

from partrep import UserError
from partrep.data.source import ArraySource, relabelled, split_groups

LABELS = np.array([2, 0, 1, 2, 1])


@pytest.fixture
def source():
    images = np.arange(5 * 4 * 4, dtype=np.uint8).reshape(5, 4, 4, 1)
    groups = np.array([1, 0, 0, 1, 0])
    return ArraySource(images, LABELS, "abc", None, groups, ["x", "y"], {"drawer": np.arange(5)})


def test_examples_and_gather_agree(source):
    many = source.gather(np.array([3, 1]))
    for row, index in enumerate([3, 1]):
        example = source[index]
        assert example.pop("id") == str(index)
        assert set(example) == set(many) == {"image", "label", "group", "drawer"}
        assert all(np.array_equal(many[name][row], example[name]) for name in many)


def test_a_part_has_labels_from_zero(source):
    part = source.take(np.array([3, 2, 0]))
    assert part.classes == ["b", "c"] and part.labels.tolist() == [1, 0, 1]
    assert part[1]["id"] == "2" and part[1]["label"] == 0
    assert part.groups.tolist() == [1, 0, 1] and part.attributes["drawer"].tolist() == [3, 2, 0]
    assert len(part) == 3 and source.labels.tolist() == LABELS.tolist()


def test_errors(source):
    with pytest.raises(UserError, match="no example"):
        relabelled(np.array([], int), ["a"])
    with pytest.raises(UserError, match="5 images with 4 labels"):
        ArraySource(source.images, LABELS[:4], "abc")
    with pytest.raises(UserError, match="without groups"):
        split_groups(None, [], ["x"])
    with pytest.raises(UserError, match="no group 'z'; known: x, y"):
        split_groups(source.groups, source.group_names, ["z"])
    with pytest.raises(UserError, match="all 2 groups are held out"):
        split_groups(source.groups, source.group_names, ["x", "y"])


def test_split_is_disjoint_and_complete(source):
    kept, held = split_groups(source.groups, source.group_names, ["y"])
    assert kept.tolist() == [1, 2, 4] and held.tolist() == [0, 3]
