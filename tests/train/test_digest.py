"""Sealing a folder and verifying it; the damage cases with real checkpoints are in test_checkpoint."""

from __future__ import annotations

import hashlib
import json

import pytest

from partrep.train.digest import Damage, digest_file, files_of, seal, verify


@pytest.fixture
def step(tmp_path):
    (tmp_path / "7" / "d").mkdir(parents=True)
    (tmp_path / "7" / "d" / "data").write_bytes(b"abc" * 700_000)
    (tmp_path / "7" / "empty").write_bytes(b"")
    seal(tmp_path, {"step": 7, "stage": 1})
    return tmp_path


def test_a_sealed_step_verifies_and_keeps_its_record(step):
    record = verify(step, 7)
    assert record["stage"] == 1 and list(record["files"]) == ["d/data", "empty"] == files_of(step / "7")
    assert record["files"]["d/data"] == hashlib.sha256(b"abc" * 700_000).hexdigest()
    assert digest_file(step / "7" / "empty") == hashlib.sha256().hexdigest()


def test_every_flipped_byte_of_the_sidecar_is_found(step):
    good = (step / "7.json").read_bytes()
    for at in range(len(good)):
        (step / "7.json").write_bytes(good[:at] + bytes([good[at] ^ 2]) + good[at + 1 :])
        with pytest.raises(Damage, match=r"^7.json"):
            verify(step, 7)


def test_a_sidecar_of_another_step_is_found(step):
    record = json.loads((step / "7.json").read_text())
    (step / "8.json").write_text(json.dumps(record))
    with pytest.raises(Damage, match=r"8.json does not match"):
        verify(step, 8)
