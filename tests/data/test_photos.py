"""Photo sets: every form of archive, training and test files joined, copies, fingerprints and parts."""

import pickle

import numpy as np
import pytest

from partrep import UserError
from partrep.data.decode import View
from partrep.data.photos import PhotoSet, PhotoTruth, from_folder, joined


@pytest.fixture
def files(encode):
    """Two classes of photos, each of one colour; two of them are copies."""
    names = {"finch/a.png": 1, "finch/b c.png": 2, "wren/a's \"best\".png": 3, "wren/<鳥>.png": 3, "wren/z.png": 4}
    return {name: encode(np.full((6, 8, 3), value, np.uint8)) for name, value in names.items()}


def test_every_form_holds_the_same_set(tmp_path, write_archive, files):
    sets = [from_folder(write_archive(tmp_path / name, files)) for name in ("folder", "x.zip", "x.tar.gz")]
    assert len({photos.fingerprint for photos in sets}) == 1
    for photos in sets:
        assert photos.classes == ("finch", "wren") and photos.labels.tolist() == [0, 0, 1, 1, 1]
        assert [files[name] for name in photos.ids] == [photos.read(i) for i in range(len(photos))]
        assert photos.split is None and photos.truth is None
    assert sets[0].photo(1, View(4, 3)).tolist() == np.full((3, 3, 3), 2).tolist()
    assert pickle.loads(pickle.dumps(sets[1])).read(4) == sets[0].read(4)


def test_copies_have_one_number(tmp_path, write_archive, files):
    photos = from_folder(write_archive(tmp_path / "x.zip", files))
    same = photos.copies[:, None] == photos.copies
    expected = np.eye(5, dtype=bool)
    expected[[2, 3], [3, 2]] = True  # in the order of the names, "<" is before "a"
    assert np.array_equal(same, expected)


def test_the_fingerprint_changes_with_names_labels_and_bytes(tmp_path, write_archive, files):
    def of(name, content):
        return from_folder(write_archive(tmp_path / name, content)).fingerprint

    base = of("a.zip", files)
    other = dict(files)
    other["finch/a.png"] = files["wren/z.png"]
    renamed = {name.replace("wren/z", "wren/y"): data for name, data in files.items()}
    moved = {name.replace("finch/a", "wren/A"): data for name, data in files.items()}
    assert len({base, *(of(f"{i}.zip", c) for i, c in enumerate((other, renamed, moved)))}) == 4


def test_a_part_keeps_labels_and_classes(tmp_path, write_archive, files):
    photos = from_folder(write_archive(tmp_path / "x.zip", files))
    before = photos.take(np.array([4, 0]))
    assert before.labels.tolist() == [1, 0] and before.classes == photos.classes and before.ids[0] == "wren/z.png"
    fingerprint = photos.fingerprint
    after = photos.take(np.array([4, 0]))  # once the files of the whole have been read
    assert after.fingerprint == before.fingerprint != fingerprint


def test_names_that_are_no_unicode(tmp_path, encode):
    place = tmp_path / "set" / "a"
    place.mkdir(parents=True)
    with open(bytes(place) + b"/\xff.png", "wb") as file:
        file.write(encode(np.zeros((2, 2), np.uint8)))
    photos = from_folder(tmp_path / "set")
    assert len(photos.fingerprint) == 16 and photos.photo(0, View(2, 2)).shape == (2, 2, 3)


def truth(n):
    rng = np.random.default_rng(0)
    return PhotoTruth(
        sizes=np.arange(2 * n, dtype=np.int32).reshape(n, 2),
        boxes=rng.random((n, 4), np.float32),
        keypoints=rng.random((n, 3, 2), np.float32),
        visible=rng.random((n, 3)) < 0.5,
        keypoint_names=("beak", "eye", "tail"),
        attributes=rng.random((n, 5), np.float32),
        mask_of=numbered,
    )


def numbered(index):
    return np.full((1, 1), index, np.uint8)


def truth_of(indices):
    return truth(5).take(indices)


def test_truth_goes_with_its_photos():
    photos = PhotoSet(None, tuple("abcde"), np.arange(5, dtype=np.int32), tuple("ABCDE"), truth_of=truth_of)
    part = pickle.loads(pickle.dumps(photos.take(np.array([4, 2, 0])).take(np.array([1, 2]))))
    assert part.ids == ("c", "a") and part.truth.mask(0).item() == 2 and part.truth.mask(1).item() == 0
    for name in ("sizes", "boxes", "keypoints", "visible", "attributes"):
        assert np.array_equal(getattr(part.truth, name), getattr(truth(5), name)[[2, 0]])
    assert part.truth.keypoint_names == ("beak", "eye", "tail")
    bare = PhotoTruth(np.zeros((1, 2)), np.zeros((1, 4)), np.zeros((1, 0, 2)), np.zeros((1, 0), bool))
    assert bare.mask(0) is None and bare.take(np.array([0])).attributes is None


def test_training_and_test_files_are_one_set(tmp_path, write_archive, files, encode):
    train = write_archive(tmp_path / "train.zip", {f"set/{name}": data for name, data in files.items()})
    novel = {f"{c}/{i}.png": encode(np.full((4, 4), 100 + i, np.uint8)) for i, c in enumerate(("wren", "finch"))}
    photos = joined(train, write_archive(tmp_path / "test.tar", novel))
    assert photos.split.tolist() == [0] * 5 + [1] * 2 and photos.labels.tolist() == [0, 0, 1, 1, 1, 0, 1]
    assert photos.ids[0] == "train/set/finch/a.png" and photos.ids[5] == "test/finch/1.png"
    assert photos.read(5) == novel["finch/1.png"] and photos.photo(6, View(2, 2))[0, 0, 0] == 100
    assert pickle.loads(pickle.dumps(photos)).fingerprint == photos.fingerprint
    assert photos.take(np.array([6, 0])).split.tolist() == [1, 0]
    assert "train.zip" in photos.name(0) and "test.tar" in photos.name(0)


def test_a_photo_in_both_is_refused_or_dropped_from_training(tmp_path, write_archive, files):
    train = write_archive(tmp_path / "train.zip", files)
    test = write_archive(tmp_path / "test.zip", {"finch/x.png": files["wren/z.png"], "wren/y.png": files["finch/b c.png"]})
    with pytest.raises(UserError, match=r"^2 of the training photos are test photos too .*finch/b c\.png is wren/y\.png of"):
        joined(train, test)
    photos = joined(train, test, drop_copies=True)
    assert photos.split.tolist() == [0] * 3 + [1] * 2 and len(np.unique(photos.copies)) == 4
    assert not set(photos.copies[:3]) & set(photos.copies[3:])


def test_bad_input_is_named(tmp_path, write_archive, files):
    train = write_archive(tmp_path / "train.zip", files)
    test = write_archive(tmp_path / "test.zip", {"finch/x.png": files["wren/z.png"], "robin/x.png": files["wren/z.png"]})
    with pytest.raises(UserError, match=r"class 'robin' is in .*test\.zip alone; expected the same classes"):
        joined(train, test)
    both = {f"{part}/{name}": data for part in ("train", "test") for name, data in files.items()}
    with pytest.raises(UserError, match="holds test and train instead of class folders"):
        from_folder(write_archive(tmp_path / "both.zip", both))
    with pytest.raises(UserError, match="does not exist"):
        from_folder(tmp_path / "nothing")


def test_the_flowers_are_one_set_of_two_archives(shared):
    photos = joined(shared / "data/flowers17/train.zip", shared / "data/flowers17/test.zip")
    assert len(photos) == 1360 and len(photos.classes) == 17 and np.bincount(photos.split).tolist() == [1088, 272]
    assert (np.bincount(photos.labels) == 80).all() and len(np.unique(photos.copies)) == 1360
    assert photos.photo(1359, View(64, 56)).shape == (56, 56, 3)
