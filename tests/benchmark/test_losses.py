"""The suite `losses` on a small batch: every loss is there, and a program is the loss it is named after."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from partrep.benchmark import losses
from partrep.benchmark.timing import Settings
from partrep.losses import LOSSES


@pytest.fixture
def few(monkeypatch):
    """The suite with one loss of pairs and one of proxies, beside SoftTriple."""
    monkeypatch.setattr(losses, "PAIRS", {"supervised_contrastive": LOSSES["supervised_contrastive"]})
    monkeypatch.setattr(losses, "PROXIES", {"proxy_nca": LOSSES["proxy_nca"]})


def test_every_loss_of_metric_learning_is_measured():
    triplets = {f"triplet_{mining}" for mining in ("all", "semi_hard", "hard")}
    measured = {*losses.PAIRS, *losses.PROXIES, "soft_triple", "reciprocal_points", "superfeature_contrastive"}
    pairs = {"contrastive", "nt_xent", "supervised_contrastive", "multi_similarity", "circle", "smooth_ap", "histogram_ap"}
    assert set(losses.PAIRS) == pairs | triplets
    assert measured - triplets <= set(LOSSES)


def test_the_views_of_nt_xent_are_the_halves_of_the_batch(hasty):
    x = losses.drawn(6)
    found = jax.jit(losses.two_views)(x, jnp.zeros(6, int))
    wanted = jax.jit(LOSSES["supervised_contrastive"])(x, jnp.arange(6) % 3)
    assert float(found) == pytest.approx(float(wanted), rel=1e-5)


def test_seconds_bytes_and_ratios(few, hasty):
    said = []
    made = losses.measure(Settings(pairs=2, seconds=0.0, loss_batches=(32,), say=said.append))
    forms = ["supervised_contrastive/plain", "supervised_contrastive/blocks", "superfeature_contrastive/blocks", "proxy_nca/plain", "soft_triple/plain", "reciprocal_points/plain"]
    for kind in ("forward", "gradient"):
        for form in forms:
            at = f"losses/32/{kind}/{form}"
            assert made[f"{at}/seconds"] > 0 and made[f"{at}/compile_seconds"] > 0 and made[f"{at}/program_bytes"] > 0
            assert (f"{at}/median_ratio" in made) is (form != losses.BASE)
    assert made["losses/peak_process_bytes"] > 0
    assert all(isinstance(value, float) and np.isfinite(value) for value in made.values())
    assert said[0].startswith("losses/32/forward/supervised_contrastive/plain compiled in ")
    assert said[-1].startswith("losses/32/gradient: round 2 of 2: supervised_contrastive/plain ")


def test_a_program_gives_the_loss_and_its_gradient(few, hasty, monkeypatch):
    monkeypatch.setattr(losses, "PAIRS", {})
    call = dict(losses.programs(16, 0.0, differentiate=True))["proxy_nca/plain"]
    x, proxies, labels = losses.drawn(16), losses.drawn(losses.CLASSES), jnp.arange(16) // 8
    value, gradients = call.program(*call.arguments)
    assert [g.shape for g in gradients] == [x.shape, proxies.shape]
    assert float(value) == pytest.approx(float(jax.jit(LOSSES["proxy_nca"])(x, proxies, labels).mean()), rel=1e-5)
    assert all(np.abs(gradient).max() > 0 for gradient in gradients)
