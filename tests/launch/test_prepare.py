"""`python -m launch.prepare`: the contact sheet as a file, and one line for a mistake."""

import numpy as np
import pytest
from PIL import Image

import partrep
from launch import prepare, runner
from partrep.data.birds import sheet


def _call(*arguments):
    prepare.main(runner.parse_flags(prepare.FLAGS, ["prepare", *arguments]))


def test_writes_the_sheet(tmp_path, monkeypatch, capsys):
    picture = np.random.default_rng(0).integers(0, 3, (20, 30, 3), np.uint8) * 100
    monkeypatch.setattr(sheet, "contact_sheet", lambda world: picture + world)
    path = tmp_path / "new" / "birds.png"
    _call(f"--contact_sheet={path}", "--world=2")
    assert np.array_equal(np.asarray(Image.open(path).convert("RGB")), picture + 2)
    assert capsys.readouterr().out.strip() == str(path)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([], "nothing to prepare; expected --contact_sheet=FILE.png"),
        (["--contact_sheet=birds.gif"], "birds.gif is no PNG file"),
    ],
)
def test_mistakes(arguments, message):
    with pytest.raises(partrep.UserError, match=message):
        _call(*arguments)
