"""The three sets of classes: disjoint, and refused where a source has too few."""

import numpy as np
import pytest
from PIL import Image

from partrep import UserError
from partrep.data import fewshot


def _folder(path, classes: int, images: int = 3):
    rng = np.random.default_rng(0)
    for c in range(classes):
        (path / f"c{c:02d}").mkdir()
        for i in range(images):
            Image.fromarray(rng.integers(0, 256, (20, 20, 3), np.uint8)).save(path / f"c{c:02d}" / f"{i}.png")


def _settings(path):
    return dict(name="folder", dir=str(path), size=16, stored=16, augmentation="none", class_seed=0, warp={})


def test_classes_of_a_folder_are_split_without_overlap(tmp_path):
    _folder(tmp_path, 20)
    data = fewshot.load(_settings(tmp_path))
    names = [set(s.names) for s in (data.train, data.validation, data.novel)]
    assert [len(n) for n in names] == [12, 4, 4]
    assert len(set.union(*names)) == 20
    assert data.train.load(np.array([0]))["image"].shape == (1, 16, 16, 3)


def test_too_few_classes(tmp_path):
    _folder(tmp_path, 4)
    with pytest.raises(UserError, match="found 4 classes.*expected at least 15"):
        fewshot.load(_settings(tmp_path))


def test_unknown_source():
    with pytest.raises(UserError, match="unknown few-shot data 'bird'.*birds, folder, individuals, omniglot, tfds"):
        fewshot.load({"name": "bird"})


def test_birds_share_no_class():
    data = fewshot.load(dict(name="birds", world=1, level="easy", size=32, images=(10, 2, 3)))
    names = [set(s.names) for s in (data.train, data.validation, data.novel)]
    assert [len(n) for n in names] == [196, 49, 98] and len(set.union(*names)) == 343


def test_background_alphabets_of_validation_are_not_trained_on(shared):
    settings = dict(
        name="omniglot", dir=str(shared / "data/omniglot"), background="small1", augmentation="rotated", size=28, stored=28,
        validate=True, warp=dict(rotation=0.1),
    )  # fmt: skip
    data = fewshot.load(settings)
    trained = {name.split("/")[0] for name in data.held_out.names}
    held_out = {name.split("/")[0] for name in data.validation.names}
    assert data.train.classes == 4 * 136 and len(trained) == 5 and len(held_out) == 25 and not trained & held_out
