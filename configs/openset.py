"""Is this image of a class that was learned, or of none? Every method on the same trials, known against unknown.

    python -m launch.main --config=configs/openset.py:mnist --config.data.dir=DIR      DIR has Keras' mnist.npz
    python -m launch.main --config=configs/openset.py:birds                            no download
"""

from __future__ import annotations

from typing import Any

from ml_collections import ConfigDict

from configs import common

METHODS = ("softmax", "maximum_logit", "arpl", "generative_discriminative", "parts")
KEYS: dict[str, tuple[str, ...]] = {"method": ("all", *METHODS)}
DIGIT_NET = dict(name="convnet", widths=(32, 64, 128), pools=(False, True, False))
DIGIT_WARP = dict(rotation=0.2, scale=(0.85, 1.15), shear=0.2, shift=0.07)


def get_config(argument: str | None = None) -> ConfigDict:
    """The configuration of a preset."""
    preset, smoke, keys = common.parse(argument, list(PRESETS), KEYS)
    config = PRESETS[preset]()
    if keys["method"] != "all":
        config.methods = {keys["method"]: config.methods[keys["method"]]}
    config.preset = preset + ("-smoke" if smoke else "")
    return config


def _base(data: dict[str, Any], methods: dict[str, Any], steps: int, batch_size: int, rate: float) -> ConfigDict:
    """What all methods of a run share: the trials, the budget, the evaluation."""
    return ConfigDict(dict(
        task="openset",
        preset="",
        seed=0,
        dtype="auto",
        trials=(0, 1, 2, 3, 4),
        data=data,
        methods=methods,
        stages=dict(
            generative=dict(steps=steps // 4, batch_size=batch_size, optimizer=common.one_cycle(3e-3)),
            joint=dict(steps=steps, batch_size=batch_size, optimizer=common.muon_one_cycle(rate)),
        ),
        train={**common.training(), "checkpoint_every": 1000},
        evaluation=dict(batch_size=500, openmax_images=10000, tail=20, alpha=3),
    ))  # fmt: skip


def _methods(backbone: dict[str, Any], warp: dict[str, Any], **parts: Any) -> dict[str, Any]:
    pooled = dict(backbone=backbone, method=dict(name="gap"), bottleneck=dict(name="identity"))
    plain = dict(objective="cross_entropy", label_smoothing=0.0, losses=dict(), warp=warp)
    return dict(
        softmax={**plain, "scores": dict(softmax="maximum_probability", openmax="openmax"), "model": {**pooled, "head": dict(name="concat")}, "warp": dict()},
        maximum_logit={**plain, "scores": dict(maximum_logit="maximum_logit", energy="energy"), "model": {**pooled, "head": dict(name="concat")}},
        arpl={**plain, "scores": dict(arpl="maximum_logit"), "model": {**pooled, "head": dict(name="reciprocal")}, "objective": "arpl"},
        generative_discriminative={**plain, "scores": dict(generative_discriminative="maximum_logit"), "model": {**pooled, "head": dict(name="concat")},
                                   "autoencoder": dict(width=32, code=32, patch=4)},
        parts={**plain, "scores": dict(parts="maximum_logit"), "model": dict(backbone=backbone, method=dict(name="landmarks", parts=4, temperature=0.5),
                                      bottleneck=dict(name="standardised", width=32),
                                      head=dict(name="autoencoders", width=8, scale=10.0)), **parts},
    )  # fmt: skip


def _mnist() -> ConfigDict:
    data = dict(name="mnist", dir="", size=28, validation_share=0.1)
    methods = _methods(DIGIT_NET, DIGIT_WARP)
    return _base(data, methods, steps=800, batch_size=128, rate=6e-3)


PRESETS = {"mnist": _mnist}
