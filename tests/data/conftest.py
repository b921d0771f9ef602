"""Files made for tests: archives of any form, and drawings as the official ones are stored."""

from __future__ import annotations

import io
import tarfile
import zipfile

import pytest
from PIL import Image


@pytest.fixture(scope="session")
def write_archive():
    """`write_archive(path, {name: bytes})` writes a folder, zip or tar, by the path's suffix."""

    def write(path, files):
        if path.suffix == ".zip":
            with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
                for name, data in files.items():
                    archive.writestr(name, data)
        elif ".tar" in path.name:
            with tarfile.open(path, "w:" + path.suffix[1:].replace("tar", "")) as archive:
                for name, data in files.items():
                    info = tarfile.TarInfo(name)
                    info.size = len(data)
                    archive.addfile(info, io.BytesIO(data))
        else:
            for name, data in files.items():
                (path / name).parent.mkdir(parents=True, exist_ok=True)
                (path / name).write_bytes(data)
        return path

    return write


@pytest.fixture(scope="session")
def encode():
    """`encode(pixels, format="PNG")`: an encoded image; bool pixels take one bit each."""

    def encoded(pixels, format="PNG"):
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, format)
        return file.getvalue()

    return encoded
