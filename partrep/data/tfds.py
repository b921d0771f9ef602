"""Prepared TensorFlow Datasets in the array_record format, read without TensorFlow."""

from __future__ import annotations

import functools
import importlib.abc
import importlib.machinery
import importlib.util
import os
import sys
from typing import Any

import numpy as np

from partrep import UserError
from partrep.data.decode import decode_image


class TfdsSource:
    """A prepared set as a source: `source[i]` is {image u8[H,W,3], label, id}.

    Args:
        name: as TFDS spells it, "oxford_flowers102" or "name/config".
        split: "train", "test[:50%]", ...
        data_dir: folder of prepared sets; None is TFDS's default.
        image, label: names of the two features.
        size, crop: as in `FolderSource`.

    Raises:
        UserError: not prepared as array_record (gives the command), unknown split, feature not there.
    """

    def __init__(
        self,
        name: str,
        split: str,
        data_dir: str | os.PathLike | None = None,
        image: str = "image",
        label: str = "label",
        size: int | None = None,
        crop: bool = True,
    ):
        self.name, self.split, self.image, self.label, self.size, self.crop = (
            name,
            split,
            image,
            label,
            size,
            crop,
        )
        tfds = import_tfds()
        builder = prepared(name, data_dir)
        features = builder.info.features
        missing = [feature for feature in (image, label) if feature not in features]
        if missing:
            raise UserError(f"{name} has no feature {missing[0]!r}; known: {', '.join(sorted(features))}")
        decoders = {image: tfds.decode.SkipDecoding()}
        try:
            self._data = builder.as_data_source(split, decoders=decoders)
        except ValueError as error:
            raise UserError(f"{name}: {' '.join(str(error).split())}") from None
        self.classes = list(getattr(features[label], "names", None) or [])

    def __len__(self) -> int:
        return len(self._data)

    def __getitem__(self, index: int) -> dict[str, Any]:
        example = self._data[int(index)]
        identity = f"{self.name}/{self.split}/{index}"
        image = decode_image(example[self.image], identity, self.size, self.crop)
        return {"image": image, "label": np.int32(example[self.label]), "id": identity}

    @functools.cached_property
    def labels(self) -> np.ndarray:
        """i32[n]; one pass over the files, without decoding images."""
        return np.array([self._data[i][self.label] for i in range(len(self))], np.int32)


def prepared(name: str, data_dir: str | os.PathLike | None) -> Any:
    """The builder of a set that lies prepared as array_record."""
    tfds = import_tfds()
    where = "" if data_dir is None else f" --data_dir={data_dir}"
    command = f"tfds build {name} --file_format=array_record{where}"
    try:
        builder = tfds.core.read_only_builder.builder_from_files(
            name, data_dir=None if data_dir is None else os.fspath(data_dir)
        )
    except tfds.core.DatasetNotFoundError:
        place = data_dir or tfds.core.constants.DATA_DIR
        raise UserError(f"no prepared data set {name!r} in {place}; prepare it with: {command}") from None
    if builder.info.file_format is not tfds.core.FileFormat.ARRAY_RECORD:
        found = builder.info.file_format.value
        raise UserError(f"{name} is prepared as {found}; expected array_record: {command}")
    return builder


class ForbidTensorflow(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Makes `import tensorflow` fail where TensorFlow is installed."""

    def find_spec(
        self, fullname: str, path: Any = None, target: Any = None
    ) -> importlib.machinery.ModuleSpec | None:
        """A spec that cannot be loaded for tensorflow; all else is left to the other finders."""
        return importlib.machinery.ModuleSpec(fullname, self) if fullname == "tensorflow" else None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> Any:
        """Raises: the import is forbidden."""
        raise ModuleNotFoundError("import of tensorflow is forbidden", name=spec.name)


def import_tfds() -> Any:
    """TFDS, also where `sys.modules["tensorflow"] = None` forbids TensorFlow.

    TFDS takes any entry of that name for a loaded TensorFlow, so the entry gives way to an import hook that
    forbids the same.
    """
    if sys.modules.get("tensorflow", "absent") is None:
        del sys.modules["tensorflow"]
        if importlib.util.find_spec("tensorflow"):
            sys.meta_path.insert(0, ForbidTensorflow())
    import tensorflow_datasets

    return tensorflow_datasets
