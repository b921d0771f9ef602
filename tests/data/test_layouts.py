"""Annotation files: found, read as rows and numbers, and named where they are malformed."""

import numpy as np
import pytest

from partrep import UserError
from partrep.data.archives import Archive
from partrep.data.layouts import find_layout, photo_sizes, read_numbers, read_rows, read_text

FILES = {
    "CUB/images.txt": b"\xef\xbb\xbf1 a b \r\n\n# about\n2  c\n",
    "CUB/old/images.txt": b"\xff",
    "short.txt": b"1 a\n2\n",
    "numbers.txt": b"1 2.5 3\n4 5 6 extra 7\n",
    "words.txt": b"1 2\n3 x\n",
    "empty.txt": b"\n",
}


@pytest.fixture
def archive(tmp_path, write_archive, encode):
    photo = encode(np.zeros((5, 7), np.uint8))
    return Archive(write_archive(tmp_path / "x.zip", FILES | {"5x7.png": photo}))


def test_a_layout_is_found_by_a_file(tmp_path, archive, write_archive):
    assert find_layout(archive.path, "images.txt", "CUB-200-2011")[1] == "CUB/"
    assert find_layout(write_archive(tmp_path / "f", {"images.txt": b""}), "images.txt", "")[1] == ""
    with pytest.raises(UserError, match=r"x\.zip holds no classes\.txt; expected the files of CUB-200-2011"):
        find_layout(archive.path, "classes.txt", "CUB-200-2011")
    with pytest.raises(UserError, match=r"holds no mages\.txt"):  # a part of a name is no name
        find_layout(archive.path, "mages.txt", "CUB-200-2011")


def test_rows_and_numbers(archive):
    assert read_rows(archive, "CUB/images.txt", 2) == [["1", "a b"], ["2", "c"]]
    assert read_numbers(archive, "numbers.txt", 3).tolist() == [[1, 2.5, 3], [4, 5, 6]]
    assert read_numbers(archive, "numbers.txt", 1, np.int64).dtype == np.int64
    assert photo_sizes(archive, ["5x7.png"]).tolist() == [[5, 7]] and photo_sizes(archive, []).shape == (0, 2)


def test_malformed_files_are_named(archive):
    for call, message in (
        (lambda: read_text(archive, "CUB/old/images.txt"), r"x\.zip: CUB/old/images\.txt is not a text file"),
        (lambda: read_rows(archive, "short.txt", 2), r"short\.txt, line 2 is '2'; expected 2 words"),
        (lambda: read_numbers(archive, "words.txt", 2), r"words\.txt is not 2 numbers a line \(.*'x'.*row 1"),
        (lambda: read_numbers(archive, "short.txt", 2), r"short\.txt is not 2 numbers a line"),
        (lambda: read_numbers(archive, "empty.txt", 2), r"empty\.txt is empty; expected 2 numbers a line"),
        (lambda: photo_sizes(archive, ["short.txt"]), r"short\.txt is not a readable image"),
    ):
        with pytest.raises(UserError, match=message) as caught:
            call()
        assert "\n" not in str(caught.value)
