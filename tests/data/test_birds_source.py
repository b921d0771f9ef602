"""`birds[i]`: for looking; the same picture as in a batch."""

import numpy as np
import pytest

from partrep.data import birds


@pytest.fixture(scope="module")
def source():
    return birds.Birds(birds.World(), "novel", "test")


def test_tables(source):
    assert len(source) == 98 * 30 == len(source.labels)
    assert len(source.classes) == 98 and len(set(source.classes)) == 98
    assert np.array_equal(source.attributes["eye"], source.table.classes[source.labels][:, 5])


def test_one_is_the_same_as_in_a_batch(source):
    batch = source.batch(3 + 74 * np.arange(24), masks=True)
    for row, index in enumerate((3, 77, 151)):
        one = source[index]
        assert one["image"].dtype == np.uint8 and one["image"].shape == (64, 64, 3)
        assert np.abs(one["image"] / 255 - np.asarray(batch.image[row])).max() < 0.01
        assert np.array_equal(one["part_mask"], np.asarray(batch.part_mask[row]))
        np.testing.assert_allclose(one["keypoints"], batch.keypoints[row], atol=1e-5)
        np.testing.assert_allclose(one["box"], batch.box[row], atol=1e-5)
        assert one["attributes"].tolist() == source.table.values[index].tolist()
        assert one["label"] == source.labels[index]


def test_names_are_unique(source):
    names = {source[i]["id"] for i in (0, 1, 30, 31)}
    assert len(names) == 4 and source.classes[0] + "/test/0" in names


def test_beyond_the_end(source):
    assert source[-1]["label"] == 97
    with pytest.raises(IndexError):
        source[len(source)]
