"""TFDS without TensorFlow: a set of a few images, prepared here as array_record."""

import io
import subprocess
import sys

import numpy as np
import pytest

from partrep import UserError
from partrep.data.pipeline import TrainBatches
from partrep.data.tfds import TfdsSource, import_tfds


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory, encode):
    """Folder of the prepared set `dots`: six training and four test images of two classes."""
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

    folder = tmp_path_factory.mktemp("tfds")
    Dots(data_dir=folder, file_format="array_record").download_and_prepare()
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
