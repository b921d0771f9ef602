"""What is said of codes: bits of binary and of random ones, and what is painted from them on images that taught nothing."""

from __future__ import annotations

import types

import numpy as np
import pytest

from partrep.metrics import psnr
from partrep.tasks import classify_codes

N, K, M = 60, 3, 2


@pytest.fixture
def scores(monkeypatch):
    """A function from what a model was found to make of the birds to its scores."""

    def scored(**found):
        monkeypatch.setattr(classify_codes, "_apply", lambda task: None)
        monkeypatch.setattr(classify_codes, "_independent", lambda task: None)
        monkeypatch.setattr(classify_codes, "predict", lambda *_: found)
        task = types.SimpleNamespace(data=types.SimpleNamespace(world=True), config={"seed": 0})
        return classify_codes.code_scores(task, {})

    return scored


@pytest.fixture
def found():
    rng = np.random.default_rng(0)
    codes = rng.normal(size=(N, K, M)).astype(np.float32)
    image = 0.5 + 0.05 * codes.reshape(N, -1) @ rng.normal(size=(K * M, 12))
    values = rng.integers(0, 3, (N, 6))
    return {"codes": codes, "values": values, "image": image.reshape(N, 2, 2, 3).astype(np.float32)}


def test_images_that_are_linear_in_the_codes_are_painted_from_them(scores, found):
    made = scores(**found)
    later, mean = found["image"][N // 2 :], found["image"][: N // 2].mean(0)
    assert made["codes/mean_psnr"] == pytest.approx(psnr(later, np.broadcast_to(mean, later.shape)).mean(), rel=1e-6)
    assert made["codes/linear_psnr"] > made["codes/mean_psnr"] + 20
    assert {"codes/disentanglement", "codes/completeness"} <= set(made)
    assert "codes/bits_a_part" not in made and "codes/psnr" not in made


def test_what_the_model_paints_is_scored_on_the_same_images(scores, found):
    painted = found["image"].copy()
    painted[: N // 2] = 0  # these are not looked at
    painted[N // 2 :] += 0.01
    found["image"] = found["image"].clip(0, 0.98)
    painted[N // 2 :] = found["image"][N // 2 :] + 0.01
    assert scores(**found, painted=painted)["codes/psnr"] == pytest.approx(40, abs=1e-3)


def test_bits_are_the_entropy_of_binary_codes_and_the_divergence_of_random_ones(scores, found):
    bits = np.ones((N, K, M), np.float32)
    bits[::2, :, 0] = -1
    bits[: N // 2] = bits[N // 2 :]
    assert scores(**{**found, "codes": bits})["codes/bits_a_part"] == pytest.approx(1.0)
    nats = np.full(N, 6 * np.log(2), np.float32)
    assert scores(**found, nats=nats)["codes/bits_a_part"] == pytest.approx(6 / K, rel=1e-6)
