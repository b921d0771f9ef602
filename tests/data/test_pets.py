"""Oxford-IIIT Pet: the official layout, shrunk photos, and the real ones."""

import pickle

import numpy as np
import pytest

from partrep import UserError
from partrep.data import pets
from partrep.data.decode import View
from partrep.data.photos import IGNORED

XML = """<annotation><filename>x.jpg</filename><size><width>40</width><height>20</height></size>{}</annotation>"""
HEAD = "<object><name>cat</name><bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox></object>"


@pytest.fixture
def files(encode):
    """Three photos of 20 x 40 pixels, of two breeds; the animal fills columns 10 to 19 behind a border."""
    rows = ["Bengal_2 6 1 2", "great_dane_1 3 2 2", "Bengal_1 6 1 2"]
    trimap = np.full((20, 40), 2, np.uint8)
    trimap[:, 9:21], trimap[:, 10:20] = 3, 1
    photo = np.zeros((20, 40, 3), np.uint8)
    photo[:, 10:20] = 255
    made = {f"images/{row.split()[0]}.jpg": encode(photo, "JPEG") for row in rows}
    made |= {f"annotations/trimaps/{name}.png": encode(trimap) for name in ("Bengal_2", "Bengal_1")}
    made |= {
        "annotations/list.txt": ("#Image CLASS-ID SPECIES BREED-ID\n#ID\n" + "\n".join(rows)).encode(),
        "annotations/trainval.txt": "\n".join(rows[:2]).encode(),
        "annotations/test.txt": rows[2].encode(),
        "annotations/xmls/Bengal_2.xml": XML.format(HEAD.format(11, 1, 20, 10) + HEAD.format(1, 1, 2, 2)).encode(),
        "annotations/trimaps/._Bengal_2.png": b"of another system",
        "images/Bengal_2.mat": b"in the official archive too",
        "images/unlisted_1.jpg": b"",
    }
    return made


@pytest.mark.parametrize("name", ["folder", "x.zip"])
def test_the_official_layout(tmp_path, write_archive, files, name):
    photos = pets.load(write_archive(tmp_path / name, files))
    assert photos.ids == ("images/Bengal_2.jpg", "images/great_dane_1.jpg", "images/Bengal_1.jpg")
    assert photos.classes == ("great_dane", "Bengal") and photos.labels.tolist() == [1, 0, 1]
    assert photos.split.tolist() == [0, 0, 1]
    truth = photos.truth
    assert truth.sizes.tolist() == [[20, 40]] * 3
    assert truth.boxes[0].tolist() == [0, 0.25, 0.5, 0.5] and np.isnan(truth.boxes[1:]).all()
    assert truth.keypoints.shape == (3, 0, 2) and truth.attributes is None
    mask = truth.mask(0)
    assert mask[5].tolist() == [0] * 9 + [IGNORED] + [1] * 10 + [IGNORED] + [0] * 19
    assert truth.mask(1) is None and photos.take(np.array([1, 0])).truth.mask(1) is not None
    assert pickle.loads(pickle.dumps(photos)).truth.mask(2).shape == (20, 40)


def test_the_mask_and_the_photo_agree_in_a_view(tmp_path, write_archive, files):
    photos, view = pets.load(write_archive(tmp_path / "x.zip", files)), View(40, 36, "bicubic")
    seen, mask = photos.photo(0, view)[..., 0], view.mask_in_view(photos.truth.mask(0))
    assert seen[mask == 1].min() > 200 and seen[mask == 0].max() < 55 and (mask == IGNORED).any()
    box = view.in_view(photos.truth.boxes[0], photos.truth.sizes[0])
    assert box[3] == pytest.approx((np.flatnonzero(mask[0] == 1).max() + 1) / 36, abs=0.05)


def test_boxes_of_shrunk_photos_are_in_pixels_of_the_originals(tmp_path, write_archive, files):
    table = "file,orig_w,orig_h,w,h,mode\n" + "\n".join(f"images/{n}.jpg,400,200,40,20,RGB" for n in ("Bengal_1", "Bengal_2", "great_dane_1"))
    head = HEAD.format(101, 1, 200, 100)
    xml = XML.format(head).encode()
    shrunk = files | {"original_sizes.csv": table.encode(), "annotations/xmls/Bengal_2.xml": xml}
    truth = pets.load(write_archive(tmp_path / "x.zip", shrunk)).truth
    assert truth.boxes[0].tolist() == [0, 0.25, 0.5, 0.5] and truth.sizes[0].tolist() == [20, 40]


BAD = {
    "a missing photo": ({"images/Bengal_1.jpg": None}, r"holds no file images/Bengal_1\.jpg, which annotations/list"),
    "a short line": ({"annotations/list.txt": b"Bengal_1 6"}, r"list\.txt, line 1 is 'Bengal_1 6'; expected 4 words"),
    "no class number": ({"annotations/list.txt": b"Bengal_1 six 1 2"}, r"has class 'six' for Bengal_1; expected a number"),
    "in both": ({"annotations/test.txt": b"Bengal_1 6 1 2\nBengal_2 6 1 2"}, r"Bengal_2 is in both of trainval"),
    "in neither": ({"annotations/test.txt": b"# none"}, r"Bengal_1 is in neither of trainval"),
    "no list": ({"annotations/list.txt": None}, r"holds no annotations/list\.txt; expected the files of Oxford"),
    "no split": ({"annotations/trainval.txt": None}, r"holds no file annotations/trainval\.txt"),
    "a box without a number": ({"annotations/xmls/Bengal_2.xml": XML.format(HEAD.format("", 1, 2, 3)).encode()}, r"Bengal_2\.xml has no readable object/bndbox"),
    "no xml": ({"annotations/xmls/Bengal_2.xml": b"<a"}, r"Bengal_2\.xml has no readable object/bndbox"),
    "no table": ({"original_sizes.csv": b"file,w\nimages/Bengal_1.jpg,4"}, r"original_sizes\.csv is malformed"),
    "a short table": ({"original_sizes.csv": b"file,orig_w,orig_h\nimages/Bengal_1.jpg,4,4"}, r"has no images/Bengal_2\.jpg"),
    "no trimap": ({"annotations/trimaps/Bengal_2.png": b"x"}, r"trimaps/Bengal_2\.png is not a readable image"),
    "a photo cut short": ({"images/Bengal_2.jpg": b"\xff\xd8"}, r"Bengal_2\.jpg is not a readable image"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_named(tmp_path, write_archive, files, case):
    changes, message = BAD[case]
    made = {name: data for name, data in (files | changes).items() if data is not None}
    with pytest.raises(UserError, match=message) as caught:
        pets.load(write_archive(tmp_path / "x.zip", made)).truth.mask(0)
    assert "\n" not in str(caught.value)


def test_a_trimap_has_three_values(tmp_path, write_archive, files, encode):
    files["annotations/trimaps/Bengal_2.png"] = encode(np.full((20, 40), 7, np.uint8))
    with pytest.raises(UserError, match=r"Bengal_2\.png has other values than 1, 2 and 3"):
        pets.load(write_archive(tmp_path / "x.zip", files)).truth.mask(0)


def test_the_real_pets(shared):
    photos = pets.load(shared / "data/pets3/pets3.zip")
    assert photos.classes == ("Abyssinian", "american_bulldog", "Bengal")
    assert np.bincount(photos.labels).tolist() == [198, 200, 200] and np.bincount(photos.split).tolist() == [300, 298]
    truth = photos.truth
    known = ~np.isnan(truth.boxes).any(axis=1)
    assert known.sum() == 296 and (known == (photos.split == 0)).sum() > 590
    boxes = truth.boxes[known]
    assert boxes.min() >= 0 and boxes.max() <= 1 and (boxes[:, 2:] > boxes[:, :2]).all()
    first = photos.ids.index("images/Abyssinian_1.jpg")  # 600 x 400, x 333 to 425, y 72 to 158
    assert np.allclose(truth.boxes[first], [71 / 400, 332 / 600, 158 / 400, 425 / 600], atol=1e-6)
    assert truth.sizes[first].tolist() == [192, 288]
    shares = []
    for i in np.flatnonzero(known)[:40]:
        mask = truth.mask(i)
        assert mask.shape == tuple(truth.sizes[i]) and set(np.unique(mask)) <= {0, 1, IGNORED}
        y0, x0, y1, x1 = (truth.boxes[i] * np.tile(truth.sizes[i], 2)).round().astype(int)
        inside = mask[y0:y1, x0:x1]
        shares.append([(inside == 1).mean(), (mask == 1).mean()])
    assert np.mean(shares, axis=0)[0] > 2 * np.mean(shares, axis=0)[1]  # heads lie on the animal
