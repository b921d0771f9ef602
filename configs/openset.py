"""Is this an image of a class that was learned, or of none? Every method in the same trials, known against unknown.

    python -m launch.main --config=configs/openset.py:mnist --config.data.dir=DIR    DIR has Keras' mnist.npz
    python -m launch.main --config=configs/openset.py:birds                          no download
    python -m launch.main --config=configs/openset.py:cifar10 --config.data.dir=DIR  class folders in train, in test
Presets: mnist (six known digits, four unknown; the five published trials), cifar10 (six known classes, four unknown;
the five published trials; train and test may be zips or tars), birds (a world a trial; unknown are novel classes, a
value that no class has on one part, and images without a bird).
Keys: method=all|softmax|maximum_logit|arpl|generative_discriminative|parts|pooled_attributes|attributes|aspects.
softmax is plain training, scored by the largest probability and by OpenMax; maximum_logit is trained on augmented
images (Vaze et al. 2022), and scored by the largest logit and by energy; arpl (Chen et al. 2021);
generative_discriminative (Perera et al. 2020: an autoencoder, the image beside its reconstruction, quarter turns to
tell); parts, which says what part is unknown: a small autoencoder for each class and part, or on birds a linear
classifier of slots; attributes (birds), which knows what values the parts of each class have, if not where they are:
part k tells the value of part k; pooled_attributes, told the same, reads all from the whole image; aspects is
attributes with a second network, which sees the image without its colours and has to find the same values in the same
places. The page has all four scores of every trained network.

mnist: all methods of the five trials take 37 minutes on two cores of a shared EPYC, one or two a method and trial;
that is what 56 images a step are for. ARPL reached an AUROC of 99.1 over the five trials; as published (Neal et al.
2018; Chen et al. 2021): softmax 97.8, OpenMax 98.1, ARPL 99.6.

All methods of a run have the same backbone, steps, batches and optimiser, but for what is their own: softmax is trained
without augmentation; generative_discriminative has half as many steps besides for its autoencoder, and sees half as
many turned images besides; parts of birds learn their queries slower. Birds differ by themselves, and are not
augmented: there the plain network is trained once, and scored in all four ways.

--config.trials=0,1 runs some of the trials. The same workdir goes on where it stopped: each method of each trial has a
folder in it.
"""

from __future__ import annotations

from typing import Any

from ml_collections import ConfigDict

import partrep
from configs import classify, common, fewshot

METHODS = ("softmax", "maximum_logit", "arpl", "generative_discriminative", "parts")
NAMED = ("pooled_attributes", "attributes", "aspects")
KEYS = {"method": ("all", *METHODS, *NAMED)}
DIGITS = dict(name="patchnet", widths=(32, 64), depths=(0, 2), patch=2, strides=(1, 2))
DIGIT_WARP = dict(rotation=0.2, scale=(0.85, 1.15), shear=0.2, shift=0.07)


def get_config(argument: str | None = None) -> ConfigDict:
    """The configuration of a preset."""
    preset, smoke, keys = common.parse(argument, list(PRESETS), KEYS)
    config = PRESETS[preset]()
    if keys["method"] != "all":
        partrep.lookup(config.methods, keys["method"], f"method of {preset}")
        config.compared = (keys["method"],)
    config.preset = preset + ("-smoke" if smoke else "")
    return _smoke(config) if smoke else config


def _run(data: dict[str, Any], methods: dict[str, Any], steps: int, batch_size: int) -> ConfigDict:
    """What all methods of a run share: the trials, the budget, the evaluation."""
    generative = dict(steps=steps // 2, batch_size=batch_size, optimizer=common.one_cycle(3e-3))
    joint = dict(steps=steps, batch_size=batch_size, optimizer=common.muon_one_cycle(6e-3))
    return ConfigDict(dict(
        task="openset",
        preset="",
        seed=0,
        dtype="auto",
        trials=(0, 1, 2, 3, 4),
        data=data,
        compared=METHODS,  # the last is what the others are compared with
        methods=methods,
        stages=dict(generative=generative, joint=joint),
        train={**common.training(), "checkpoint_every": 1000},
        evaluation=dict(batch_size=500, openmax_images=10000, tail=20, alpha=3, discovery_images=490),
    ))  # fmt: skip


def _methods(backbone: dict[str, Any], warp: dict[str, Any], parts: dict[str, Any]) -> dict[str, Any]:
    """What is each method's own; `scores` are its rows of the results, each with the score it goes by."""
    pooled = dict(backbone=backbone, method=dict(name="gap"), bottleneck=dict(name="identity"))
    linear = {**pooled, "head": dict(name="concat")}
    plain = dict(objective="cross_entropy", label_smoothing=0.0, losses=dict(), warp=warp, multipliers=())
    best = "maximum_logit"
    return dict(
        softmax={**plain, "model": linear, "warp": dict(),
                 "scores": (("softmax", "maximum_probability"), ("openmax", "openmax"))},
        maximum_logit={**plain, "model": linear, "scores": (("maximum_logit", best), ("energy", "energy"))},
        arpl={**plain, "model": {**pooled, "head": dict(name="reciprocal")}, "objective": "arpl",
              "scores": (("arpl", best),)},
        generative_discriminative={**plain, "model": linear, "autoencoder": dict(width=32, code=32, patch=4),
                                   "scores": (("generative_discriminative", best),)},
        parts={**plain, **parts, "objective": "reconstruction", "own_error": 0.1,
               "scores": (("parts_probability", "maximum_probability"), ("parts", best))},
    )  # fmt: skip


def _mnist() -> ConfigDict:
    data = dict(name="mnist", dir="", size=28, validation_share=0.1)
    model = dict(backbone=DIGITS, method=dict(name="landmarks", parts=4, temperature=0.5),
                 bottleneck=dict(name="standardised", width=32),
                 head=dict(name="autoencoders", width=8, scale=10.0))  # fmt: skip
    return _run(data, _methods(DIGITS, DIGIT_WARP, dict(model=model)), steps=1200, batch_size=56)


def _cifar10() -> ConfigDict:
    """For one accelerator: classifier32 of Neal et al. has nine 3x3 convolutions too."""
    data = dict(name="cifar10", dir="", size=32, validation_share=0.1)
    backbone = dict(name="patchnet", widths=(64, 128, 256), depths=(1, 1, 1), patch=1, strides=(1, 2, 2))
    model = dict(backbone=backbone, method=dict(name="landmarks", parts=8, temperature=0.5),
                 bottleneck=dict(name="standardised", width=64),
                 head=dict(name="autoencoders", width=16, scale=10.0))  # fmt: skip
    warp = dict(flip=0.5, scale=(0.9, 1.4), shift=0.12, rotation=0.15)
    return _run(data, _methods(backbone, warp, dict(model=model)), steps=20000, batch_size=128)


def _birds() -> ConfigDict:
    data = dict(name="birds", world=100, level="standard", size=64, images=(100, 20, 30))
    backbone = fewshot.BACKBONES["patchnet"]
    model = dict(backbone=backbone, method=dict(name="slots", parts=8, rounds=2, width=64, background=True, border=0),
                 bottleneck=dict(name="standardised", width=16), head=dict(name="concat"))  # fmt: skip
    own = dict(model=model, losses=dict(spread=0.5), multipliers=classify.SLOW_SLOTS)
    config = _run(data, {**_methods(backbone, dict(), own), **_named(backbone)}, 1200, 64)
    # Autoencoders of so many classes do not learn birds; a linear head on the same slots does.
    config.methods.parts.objective = "cross_entropy"
    del config.methods.parts["own_error"]
    config.trials = (0, 1, 2)
    config.compared = (*METHODS[1:], *NAMED)
    plain, augmented = config.methods.softmax, config.methods.maximum_logit
    augmented.scores = (*plain.scores, *augmented.scores)
    return config


def _named(backbone: dict[str, Any]) -> dict[str, Any]:
    """Each part tells one attribute of the class: a slot, or the whole image."""
    bottleneck, head = dict(name="standardised", width=16), dict(name="attributes")
    # Blind to place: birds face either way, and slots that know where they look split beaks and tails by side.
    slots = dict(name="slots", parts=6, rounds=2, width=64, background=True, border=0, position=False)
    shared = dict(objective="attributes", label_smoothing=0.0, warp=dict())
    model = dict(backbone=backbone, bottleneck=bottleneck, head=head)
    best, probable = "maximum_logit", "maximum_probability"
    return dict(
        pooled_attributes=dict(
            **shared, model={**model, "method": dict(name="gap", parts=6)}, losses=dict(), multipliers=(),
            scores=(("pooled_attributes_probability", probable), ("pooled_attributes", best)),
        ),
        attributes=dict(
            **shared, model={**model, "method": slots}, losses=dict(spread=0.5), multipliers=classify.SLOW_SLOTS,
            scores=(("attributes_probability", probable), ("attributes", best)),
        ),
        aspects=dict(
            **shared, model={**model, "method": slots}, losses=dict(spread=0.5), grey=True,
            multipliers=(("classifier/method/.*", 0.3),),
            scores=(("aspects_probability", probable), ("aspects", best)),
        ),
    )  # fmt: skip


PRESETS = {"mnist": _mnist, "cifar10": _cifar10, "birds": _birds}


def _smoke(config: ConfigDict) -> ConfigDict:
    """Two steps of each method in one trial."""
    config.trials = (0,)
    if config.data.name == "birds":
        config.data.images = (2, 1, 1)
    for own in config.methods.values():
        stages = len(own.model.backbone.widths)
        own.model.backbone.update(widths=(8,) * stages, depths=(0,) * (stages - 1) + (1,))
    for stage in config.stages.values():
        stage.update(steps=2, batch_size=8)
    config.evaluation.update(batch_size=98, openmax_images=400, discovery_images=8)
    return config
