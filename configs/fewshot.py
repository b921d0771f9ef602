"""Do parts recognise new classes from one example, and can one see which part met which?

    python -m launch.main --config=configs/fewshot.py                     the embedded birds, no download
    python -m launch.main --config=configs/fewshot.py:gap                 the same network, globally pooled
    python -m launch.main --config=configs/fewshot.py:omniglot,background=small1 --config.data.dir=DIR
                                                                          the official one-shot runs
Presets: parts (slots; default), landmarks, gap, episodic, omniglot, vinyals, folder, tfds.
Keys: level=standard|easy|hard (birds); backbone=patchnet|conv4|resnet12|resnet18 and
bottleneck=standardised|identity|binary (birds, folder and tfds); head=aligned|prototypes|matching|frn|ctx|deepemd
(episodic); background=small1|small2|full, augmentation=invented|rotated|geometric|none and method=slots|landmarks
(omniglot).

Expected, with the commands, devices and dates in "Results" of README.md (measured by this repository):
  parts on birds, five-way one-shot: 96 % (five seeds 94.8 +- 2.1), gap 60.5 +- 12.3; two CPU cores, 3 to 5 minutes.
  omniglot, background=small1, the official runs 01-10: 2.7 % error (three seeds); one CPU core, 26 minutes a seed.
Explanation: with the aligned head, level 1 for parts, landmarks, episodic and omniglot: the parts' shares sum to the
logit; gap has no parts to credit.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs import common

# The weights of `tasks.part_terms.PART_TERMS`, each a key of the config.
PART_LOSSES = ("bit_balance", "bit_decorrelation", "concentration", "entropy", "map_decorrelation", "orthogonality",
               "presence", "spread", "total_variation")  # fmt: skip
# Slots that move as fast as the rest of the network can stay on one place for hundreds of steps.
SLOW_SLOTS = (("model/method/.*", 0.3),)
PRESETS = ("parts", "landmarks", "gap", "episodic", "omniglot", "vinyals", "folder", "tfds")
# All with a map of a quarter of the image's side: 16x16 of 64 pixels, on which every part of a bird has some cells.
BACKBONES = {
    "patchnet": dict(name="patchnet", widths=(64,), depths=(2,), patch=4, strides=(1,)),
    "conv4": dict(name="conv4", widths=(64, 64, 64, 64), strides=(2, 2, 1, 1)),
    "resnet12": dict(name="resnet12", widths=(64, 160, 320, 640), strides=(2, 2, 1, 1)),
    "resnet18": dict(name="resnet18", strides=(1, 1, 1, 1)),
}
BOTTLENECKS = {
    "standardised": dict(name="standardised", width=16),
    "identity": dict(name="identity"),
    "binary": dict(name="binary", bits=64, noise="none", temperature=1.0),
}
# Of the episodic stage: what reads the episodes that it trains on.
HEADS = {
    "aligned": dict(name="aligned", view="parts", scale=10.0, geometry=2.0),
    "prototypes": dict(name="prototypes", view="parts", distance="euclidean"),
    "matching": dict(name="matching", view="parts", scale=10.0),
    "frn": dict(name="frn", view="parts"),
    "ctx": dict(name="ctx", view="parts"),
    "deepemd": dict(name="deepemd", view="parts", scale=12.5),
}
KEYS = {
    "level": ("standard", "easy", "hard"),
    "background": ("small1", "small2", "full"),
    "augmentation": ("invented", "rotated", "geometric", "none"),
    "method": ("slots", "landmarks"),
    "backbone": tuple(BACKBONES),
    "bottleneck": tuple(BOTTLENECKS),
    "head": tuple(HEADS),
}
PRESETS_OF = {
    "level": ("parts", "landmarks", "gap", "episodic"),
    "background": ("omniglot",),
    "augmentation": ("omniglot",),
    "method": ("omniglot",),
    "backbone": ("parts", "landmarks", "gap", "episodic", "folder", "tfds"),
    "bottleneck": ("parts", "landmarks", "gap", "episodic", "folder", "tfds"),
    "head": ("episodic",),
}


def get_config(argument: str | None = None) -> ConfigDict:
    """The configuration of a preset."""
    preset, smoke, keys = common.parse(argument, PRESETS, KEYS, PRESETS_OF)
    config = _birds(keys["level"], keys["backbone"], keys["bottleneck"], keys["head"])
    if keys["bottleneck"] == "binary":
        config.losses.update(bit_balance=0.1, bit_decorrelation=0.1)  # usual weights, not tuned here
    if preset == "landmarks":
        _use_landmarks(config)
        config.stages.classify.optimizer = common.muon_one_cycle(3e-3)
    elif preset == "gap":
        config.model.method = dict(name="gap")
        if keys["bottleneck"] == "standardised":
            del config.model.bottleneck.width  # chosen on validation birds: narrowed, its vector recognised less
        config.losses = {name: config.losses[name] for name in ("bit_balance", "bit_decorrelation")}
        del config.stages.classify.optimizer.multipliers
    elif preset == "episodic":
        config.stages.episodes.steps = 200
    elif preset == "omniglot":
        config = _omniglot(keys["background"], keys["augmentation"], keys["method"])
    elif preset == "vinyals":
        config = _vinyals()
    elif preset == "folder":
        config.data = _photos(name="folder", dir="")
    elif preset == "tfds":
        config.data = _photos(name="tfds", dataset="", split="train", dir="")
    if config.data.name != "birds":
        config.evaluation.further = {}
    config.preset = preset + ("-smoke" if smoke else "")
    return _smoke(config) if smoke else config


def _birds(
    level: str = "standard", backbone: str = "patchnet", bottleneck: str = "standardised", head: str = "aligned"
) -> ConfigDict:
    return ConfigDict(dict(
        task="fewshot",
        preset="parts",
        seed=0,
        dtype="auto",
        data=dict(name="birds", world=100, level=level, size=64, images=(100, 20, 30)),
        model=dict(
            backbone=BACKBONES[backbone],
            method=dict(name="slots", parts=8, rounds=2, width=64, background=True),
            bottleneck=BOTTLENECKS[bottleneck],
            head=dict(name="concat"),
        ),
        losses=dict.fromkeys(PART_LOSSES, 0.0) | dict(spread=0.5),
        label_smoothing=0.1,
        head=HEADS[head],
        stages=dict(
            # The rate of each preset was chosen on validation birds of world 0, gap's and parts' from the same three.
            classify=dict(steps=600, batch_size=64, trainable=".*",
                          optimizer=common.muon_one_cycle(6e-3, multipliers=SLOW_SLOTS)),
            episodes=dict(steps=0, episodes=2, ways=5, shots=1, queries=5, trainable=".*",
                          optimizer=common.one_cycle(1e-3)),
        ),
        train=common.training(),
        evaluation=dict(ways=5, shots=1, queries=15, episodes=600, validation_episodes=150, batch_size=98,
                        dense=8, heads=(), discovery_images=490, pictures=6,
                        further=dict(twenty_way=dict(ways=20, shots=1, queries=5, episodes=150, shared_parts=0),
                                     hard=dict(ways=5, shots=1, queries=15, episodes=600, shared_parts=2))),
    ))  # fmt: skip


def _use_landmarks(config: ConfigDict) -> None:
    config.model.method = dict(name="landmarks", parts=8, temperature=0.5)
    config.losses.spread = 0.0


def _omniglot(background: str, augmentation: str, method: str) -> ConfigDict:
    config = _birds()
    config.data = dict(
        name="omniglot", dir="", background=background, augmentation=augmentation, size=28, stored=35, validate=True,
        warp=dict(rotation=0.35, stretch=0.25, shear=0.25, shift=0.1, elastic=0.025),
    )  # fmt: skip
    config.model.backbone = dict(name="convnet", widths=(48, 96, 128), pools=(False, False, True))
    config.losses.spread = 2.0
    if method == "landmarks":
        _use_landmarks(config)
    config.model.bottleneck = dict(name="standardised")
    config.model.head = dict(name="concat_cosine", scale=12.0)
    config.head = dict(name="aligned", view="parts", scale=12.0, geometry=0.0, weighting="length")
    stage = dict(steps=3000, batch_size=96, trainable=".*", optimizer=common.muon_one_cycle(3e-3))
    if augmentation == "invented":
        warp = dict(rotation=0.8, stretch=0.3, shear=0.4, elastic=0.05)
        config.stages = dict(pairs=dict(**stage, weight=1.0, invented=0.5, warp=warp))
    else:
        config.stages.classify = stage
    config.evaluation.update(
        ways=20, shots=1, queries=1, validation_episodes=100, dense=7, reader="parts",
        warps=0 if augmentation == "none" else 8,
    )
    return config


def _vinyals() -> ConfigDict:
    """Episodes of characters of all alphabets, any drawer; `--config.evaluation.ways` and `shots` give the others."""
    config = _omniglot("full", "invented", "slots")
    config.data = dict(
        name="vinyals", dir="", class_seed=0, **{k: config.data[k] for k in ("size", "stored", "warp")}
    )
    config.evaluation.update(queries=5, validation_episodes=150)
    del config.evaluation["warps"], config.evaluation["reader"]
    return config


def _photos(**source: str) -> ConfigDict:
    warp = dict(rotation=0.2, scale=(0.9, 1.2), shift=0.1, flip=0.5)
    return ConfigDict(dict(**source, size=64, stored=72, augmentation="geometric", class_seed=0, warp=warp))


def _smoke(config: ConfigDict) -> ConfigDict:
    for stage in config.stages.values():
        stage.steps = min(stage.steps, 4)
        for name, value in (("batch_size", 8), ("queries", 1)):
            if name in stage:
                stage[name] = value
    config.train.checkpoint_every = 2
    if config.data.name == "birds":
        config.data.images = (4, 4, 2)  # as many validation as novel images: the readers share their programs
    if config.evaluation.get("warps"):
        config.evaluation.warps = 2
    if "hard" in config.evaluation.further:
        hard = dict(config.evaluation.further.hard, queries=1, episodes=10)
        config.evaluation.further = dict(hard=hard)  # as many as the others: they share their programs
    heads = ("mean", "aligned by length", "mutual")
    config.evaluation.update(
        queries=1, episodes=10, validation_episodes=10, heads=heads, discovery_images=16, pictures=1
    )
    return config
