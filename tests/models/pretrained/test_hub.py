"""Names of the Hugging Face hub, with a stand-in for its library."""

from __future__ import annotations

import pathlib
import sys
import types

import pytest

from partrep import UserError
from partrep.models.pretrained.hub import local_file
from partrep.models.pretrained.load import load_pretrained


@pytest.fixture
def asked(monkeypatch, folder):
    """What the stand-in was asked for; it has one file."""
    calls = []

    def hf_hub_download(repo_id, filename):
        calls.append((repo_id, filename))
        if repo_id != "timm/dino":
            raise OSError("404 Client Error\nRepository Not Found")
        return str(folder / "dino.safetensors")

    monkeypatch.setitem(sys.modules, "huggingface_hub", types.SimpleNamespace(hf_hub_download=hf_hub_download))
    return calls


def test_names(asked, folder):
    assert local_file("hf:timm/dino") == local_file("hf:timm/dino/sub/weights.pth") == folder / "dino.safetensors"
    assert asked == [("timm/dino", "model.safetensors"), ("timm/dino", "sub/weights.pth")]
    assert local_file("a/b.pth") == pathlib.Path("a/b.pth") and len(asked) == 2


def test_loading(asked, shrink):
    assert load_pretrained("hf:timm/dino", shrink("dino")).backbone["grid"] == 5


@pytest.mark.parametrize("name", ["hf:", "hf:a", "hf:a/", "hf:/b", "hf:a/b/"])
def test_other_forms(asked, name):
    with pytest.raises(UserError, match="expected hf:OWNER/REPO or hf:OWNER/REPO/FILE"):
        local_file(name)
    assert not asked


def test_what_the_hub_does_not_have(asked):
    with pytest.raises(UserError) as error:
        local_file("hf:a/b")
    assert str(error.value) == "hf:a/b cannot be had (404 Client Error); expected a file of the hub"


def test_without_the_library(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UserError, match=r"pip install 'partrep\[hub\]'"):
        local_file("hf:timm/dino")
