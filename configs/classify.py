"""Which part, where, contributed how much to the class? And does the model say the truth about it?

    python -m launch.main --config=configs/classify.py                    landmarks on the embedded birds, no download
    python -m launch.main --config=configs/classify.py:gap                the same network, globally pooled (CAM)
    python -m launch.main --config=configs/classify.py:slots,level=easy
Presets: landmarks (default), slots, gap.
Keys: level=standard|easy|hard; backbone=patchnet|conv4|resnet12|resnet18.

Birds of 49 classes; half of the training images lack some of their parts, and the exact posterior is the target, so
that a bird with a part removed is nothing new to the model and its answer to it can be measured. `data.parts` under 6
leaves parts that say nothing (redundancy), `data.shortcut` over 0 ties the habitat to the class.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs import common
from configs.fewshot import BACKBONES, SLOW_SLOTS

# The weights of `tasks.part_terms.PART_TERMS`, each a key of the config.
PART_LOSSES = ("concentration", "entropy", "map_decorrelation", "orthogonality", "presence", "spread",
               "total_variation")  # fmt: skip
PRESETS = ("landmarks", "slots", "gap")
KEYS = {"level": ("standard", "easy", "hard"), "backbone": tuple(BACKBONES)}


def get_config(argument: str | None = None) -> ConfigDict:
    """The configuration of a preset."""
    preset, smoke, keys = common.parse(argument, PRESETS, KEYS)
    config = _birds(keys["level"], keys["backbone"])
    {"landmarks": _landmarks, "slots": _slots, "gap": _gap}[preset](config)
    config.preset = preset + ("-smoke" if smoke else "")
    return _smoke(config) if smoke else config


def _birds(level: str, backbone: str) -> ConfigDict:
    """Everything but the part method, its bottleneck, its head and its losses."""
    return ConfigDict(dict(
        task="classify",
        preset="",
        seed=0,
        dtype="auto",
        data=dict(name="birds", world=100, level=level, size=64, images=(100, 20, 30), parts=6, dimension=2,
                  shortcut=0.0, ring=0.0, absence=6),
        model=dict(
            backbone=BACKBONES[backbone],
            method=dict(name=""),
            bottleneck=dict(name="standardised", width=16),
            head=dict(name="concat"),
        ),
        backbone_from="",  # workdir of a finished run whose backbone is taken as it is; none: all is trained
        losses=dict.fromkeys(PART_LOSSES, 0.0),
        label_smoothing=0.0,
        stages=dict(
            joint=dict(steps=600, batch_size=64, trainable=".*", optimizer=common.muon_one_cycle(6e-3)),
        ),
        train=common.training(),
        evaluation=dict(batch_size=98, discovery_images=490, pictures=6, audit_images=2,
                        explanations=("grad-cam", "grad-cam++", "hires-cam", "layer-cam", "input x gradient",
                                      "integrated gradients", "occlusion")),
    ))  # fmt: skip


def _landmarks(config: ConfigDict) -> None:
    config.model.method = dict(name="landmarks", parts=8, temperature=0.5)


def _slots(config: ConfigDict) -> None:
    config.model.method = dict(name="slots", parts=8, rounds=2, width=64, background=True)
    config.losses.spread = 0.5
    config.stages.joint.optimizer = common.muon_one_cycle(6e-3, multipliers=SLOW_SLOTS)


def _gap(config: ConfigDict) -> None:
    config.model.method = dict(name="gap")
    config.model.bottleneck = dict(name="standardised")


def _smoke(config: ConfigDict) -> ConfigDict:
    config.data.images = (2, 2, 2)
    for stage in config.stages.values():
        stage.steps, stage.batch_size = min(stage.steps, 4), 8
    config.train.checkpoint_every = 2
    config.evaluation.update(discovery_images=16, pictures=1, audit_images=1, explanations=("hires-cam",))
    return config
