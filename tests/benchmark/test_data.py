"""The suite `data`, each measured once and little."""

import numpy as np
from PIL import Image

from partrep.benchmark import data
from partrep.benchmark.timing import Settings
from partrep.data.folder import FolderSource


def test_every_number_is_a_rate(monkeypatch):
    monkeypatch.setattr(data, "BATCH", 2)
    monkeypatch.setattr(data, "FILES", 8)
    drawn = []
    monkeypatch.setattr(data, "rendering", lambda size, masks: lambda: drawn.append((size, masks)))
    lines = []
    found = data.measure(Settings(seconds=0.0, say=lines.append))
    rates = {name.split("/")[1] for name in found if "per_second" in name}
    assert rates == {
        *(f"birds_{size}{masks}" for size in (64, 128) for masks in ("", "_with_masks")),
        "omniglot_warp_28",
        "index",
        "folder_jpeg_320",
        "folder_jpeg_320_prefetched",
    }
    assert all(np.isfinite(value) and value > 0 for value in found.values())
    assert len(lines) == len(rates)
    assert set(drawn) == {(64, False), (64, True), (128, False), (128, True)}


def test_birds_are_drawn_with_what_is_asked_for(monkeypatch):
    monkeypatch.setattr(data, "BATCH", 2)
    rendered = data.rendering(16, True)()
    assert rendered.image.shape == (2, 16, 16, 3) and rendered.part_mask.shape == (2, 16, 16)


def test_the_files_are_photographs_in_class_folders(tmp_path):
    source = FolderSource(data.jpegs(tmp_path), size=72)
    assert len(source) == data.FILES and len(source.classes) == 4
    with Image.open(tmp_path / source.ids[0]) as image:
        assert image.format == "JPEG" and image.size == (320, 320)


def test_every_warp_is_another(monkeypatch):
    monkeypatch.setattr(data, "BATCH", 1)
    warp = data.warping()
    first, second = warp(), warp()
    assert first.shape == (4, 28, 28, 1) and not np.array_equal(first, second)
