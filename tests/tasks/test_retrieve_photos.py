"""The descriptor of a photo: its products are the sums of what the parts make alike."""

from __future__ import annotations

import types

import numpy as np

from partrep.tasks.retrieve_photos import Encoder, descriptors


def oracle(codes, presence, mean, basis):
    """One photo and one part at a time, in float64."""
    made = []
    for z, m in zip(codes, presence):
        parts = []
        for k in range(len(m)):
            kept = basis.T @ (z[k] - mean[k])
            length = np.sqrt((kept**2).sum())
            parts.append(m[k] * kept / length if length else 0 * kept)
        row = np.concatenate(parts)
        length = np.sqrt((row**2).sum())
        made.append(row / length if length else row)
    return np.array(made)


def test_products_of_descriptors_are_sums_over_parts():
    rng = np.random.default_rng(0)
    codes, mean = rng.normal(size=(3, 4, 6)), rng.normal(size=(4, 6))
    presence, basis = rng.random((3, 4)), np.linalg.qr(rng.normal(size=(6, 5)))[0]
    codes[0, 1] = mean[1]  # a part that is as on average has no direction
    presence[2] = 0.0  # and a photo without parts no length
    arrays = [np.float32(x) for x in (codes, presence, mean, basis)]
    made = np.asarray(descriptors(*arrays))
    np.testing.assert_allclose(made, oracle(*(x.astype(np.float64) for x in arrays)), atol=2e-6)
    assert not made[2].any()
    kept = np.einsum("bkm,mr->bkr", codes - mean, basis)
    kept /= np.maximum(np.linalg.norm(kept, axis=-1, keepdims=True), 1e-12)
    cosines = (kept[0] * kept[1]).sum(-1)
    real = presence * (np.linalg.norm(kept, axis=-1) > 0.5)
    weights = presence[0] * presence[1] / np.linalg.norm(real[0]) / np.linalg.norm(real[1])
    np.testing.assert_allclose((made[0] * made[1]).reshape(4, 5).sum(-1), weights * cosines, atol=1e-5)


def test_the_projection_has_the_main_directions_about_the_means_of_the_parts():
    rng = np.random.default_rng(1)
    spread = np.array([9.0, 4.0, 0.0, 1.0, 0.0, 0.5])
    codes = rng.normal(size=(2, 200, 6)) * spread + rng.normal(size=(2, 1, 6)) * 10
    labels = np.zeros((2, 200), np.int32)
    codes[1, 150:], labels[1, 150:] = 1000.0, -1  # not filled
    bank = types.SimpleNamespace(codes=codes, labels=labels)
    made = Encoder.of(types.SimpleNamespace(bank=bank))
    np.testing.assert_allclose(made.mean, [codes[0].mean(0), codes[1, :150].mean(0)], rtol=1e-5)
    assert made.basis.shape == (6, 4)  # two directions have nothing
    assert np.abs(made.basis).argmax(0).tolist() == [0, 1, 3, 5]
    assert (made.basis[[0, 1, 3, 5], range(4)] > 0.9).all()
