"""TFDS without TensorFlow: a set of a few images, prepared here as array_record."""

import io
import subprocess
import sys

import numpy as np
import pytest

from partrep import UserError
from partrep.data.fewshot import load
from partrep.data.pipeline import TrainBatches
from partrep.data.tfds import TfdsSource, import_tfds


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory, encode):
    """Folder of the prepared sets `dots`, six training and four test images of two classes, and `shades`.

    The latter has thirty training images of fifteen classes, each of one grey.
    """
    tfds = import_tfds()

    class Dots(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            label = tfds.features.ClassLabel(names=["dark", "light"])
            features = {"image": tfds.features.Image(shape=(None, None, 3)), "label": label}
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

        def _split_generators(self, manager):
            return {"train": self._generate_examples(6), "test": self._generate_examples(4)}

        def _generate_examples(self, number):
            for i in range(number):
                pixels = np.full((8, 6, 3), 40 * i, np.uint8)
                yield i, {"image": io.BytesIO(encode(pixels)), "label": i // 3}

    class Shades(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            features = {"image": tfds.features.Image(), "label": tfds.features.ClassLabel(num_classes=15)}
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

        def _split_generators(self, manager):
            return {"train": self._generate_examples()}

        def _generate_examples(self):
            for i in range(30):
                pixels = np.full((8, 8, 3), 8 * (i // 2) + i % 2, np.uint8)
                yield i, {"image": io.BytesIO(encode(pixels)), "label": i // 2}

    folder = tmp_path_factory.mktemp("tfds")
    for builder in (Dots, Shades):
        builder(data_dir=folder, file_format="array_record").download_and_prepare()
    return folder


def test_examples_and_labels(data_dir):
    source = TfdsSource("dots", "train", data_dir)
    assert (
        len(source) == 6
        and source.classes == ["dark", "light"]
        and sorted(source.labels) == [0, 0, 0, 1, 1, 1]
    )
    for i in range(6):
        example = source[i]
        assert example["image"].shape == (8, 6, 3) and example["image"].dtype == np.uint8
        assert example["label"] == example["image"][0, 0, 0] // 120 == source.labels[i]
        assert example["id"] == f"dots/train/{i}"
    assert len(TfdsSource("dots", "train[:50%]", data_dir)) == 3
    batch = TrainBatches(TfdsSource("dots", "test", data_dir, size=5), 3, 0)[0]
    assert batch["image"].shape == (3, 5, 5, 3) and batch["label"].shape == (3,)


def test_classes_of_a_prepared_set_are_split_without_overlap(data_dir):
    settings = dict(dataset="shades", split="train", dir=str(data_dir), size=8, stored=8)
    data = load(dict(name="tfds", augmentation="none", class_seed=0, warp={}, **settings))
    greys = []
    for images, classes in ((data.train, 9), (data.validation, 3), (data.novel, 3)):
        assert len(images) == 2 * classes
        pixels = images.load(np.arange(len(images)))["image"]
        greys.append({int(image.flat[0]) // 8 for image in pixels})
        assert len(greys[-1]) == classes
    assert set.union(*greys) == set(range(15))
    with pytest.raises(UserError, match="found 2 classes in dots; expected at least 15"):
        load(dict(name="tfds", augmentation="none", class_seed=0, warp={}, **{**settings, "dataset": "dots"}))


def test_errors(data_dir, tmp_path):
    command = rf"tfds build flowers --file_format=array_record --data_dir={tmp_path}$"
    with pytest.raises(UserError, match=command):
        TfdsSource("flowers", "train", tmp_path)
    with pytest.raises(UserError, match=r"dots: Unknown split 'val'. Should be one of \['train', 'test'\]"):
        TfdsSource("dots", "val", data_dir)
    with pytest.raises(UserError, match="no feature 'photo'; known: image, label"):
        TfdsSource("dots", "train", data_dir, image="photo")


@pytest.mark.parametrize("installed", [False, True])
def test_with_tensorflow_forbidden(data_dir, tmp_path, installed):
    """In a process where TensorFlow cannot be imported; `installed`: a package of that name is there."""
    if installed:
        (tmp_path / "tensorflow").mkdir()
        (tmp_path / "tensorflow/__init__.py").write_text("")
    code = f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
sys.modules["tensorflow"] = None
from partrep.data.tfds import TfdsSource
source = TfdsSource("dots", "train", {str(data_dir)!r})
print(source[3]["image"].shape, source.labels.sum())
assert "tensorflow" not in sys.modules
try:
    import tensorflow
except ImportError:
    print("forbidden")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[:2] == ["(8, 6, 3) 3", "forbidden"]
