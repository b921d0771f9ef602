"""Do images of new classes find their like by their parts, and can one see which part matched?

    python -m launch.main --config=configs/metric.py                      parts on the embedded birds, no download
    python -m launch.main --config=configs/metric.py:global               the same network, one vector an image
    python -m launch.main --config=configs/metric.py:parts,source=alphabets --config.data.dir=DIR
                                                                          Omniglot, alphabets held out
    python -m launch.main --config=configs/metric.py:parts,source=photos --config.data.dir=DIR \\
        --config.pretrained.weights=FILE --config.pretrained.family=mobilenetv2
                                                                          photos in class folders, classes held out
Presets: parts (each part meets the same part; default), joined (parts side by side as one vector), global (one vector
an image), dense (cells of a fixed grid, each meets the one most like it).
Keys: source=birds|alphabets|photos; loss=normalised_softmax|cosface|arcface|proxy_anchor|proxy_nca|soft_triple|
multi_similarity|supervised_contrastive|contrastive|triplet|circle|smooth_ap|histogram_ap|superfeature_contrastive (the
first six have a vector a class, which they compare with one vector an image: all parts side by side, as joined does, or
of dense the mean of the cells; the last compares parts that match, and so not global); level=standard|easy|hard
(birds).
Fields of a loss are flags, as in --config.loss.margin=0.2; `losses` weighs terms on the parts.

Batches have `stages.metric.classes` classes with `examples` images each. Classes are disjoint: of birds 196 to train
on, 49 to choose settings with, 98 to report; of Omniglot 25, 5 and 20 alphabets; of photos three, one and one fifth of
the classes.
Explanation: of parts and joined level 1: what each part adds to the similarity of two images sums to it.
"""

from __future__ import annotations

from typing import Any

from ml_collections import ConfigDict

from configs import common, fewshot

# The settings of each loss, those of its function but for mining, centres and their spread; block=0 is all at once.
LOSSES: dict[str, dict[str, Any]] = {
    "normalised_softmax": dict(temperature=0.05),
    "cosface": dict(margin=0.35, scale=64.0),
    "arcface": dict(margin=0.5, scale=64.0),
    "proxy_anchor": dict(margin=0.1, scale=32.0),
    "proxy_nca": dict(scale=1.0),
    "soft_triple": dict(margin=0.01, scale=20.0, temperature=0.1, centres=2, centre_spread=0.2),
    "multi_similarity": dict(alpha=2.0, beta=50.0, base=0.5, epsilon=0.1, block=0),
    "supervised_contrastive": dict(temperature=0.1, block=0),
    "contrastive": dict(margin=0.7, average="all", block=0),
    "triplet": dict(margin=0.1, mining="semi_hard", average="all", block=0),
    "circle": dict(margin=0.4, gamma=80.0, block=0),
    "smooth_ap": dict(temperature=0.01, block=0),
    "histogram_ap": dict(bins=25, lowest=-1.0, block=0),
    "superfeature_contrastive": dict(margin=1.1, ratio=0.9, negatives=5.0, block=0),
}
KEYS = {
    "source": ("birds", "alphabets", "photos"),
    "loss": tuple(LOSSES),
    "level": ("standard", "easy", "hard"),
}
PROXIES = ("normalised_softmax", "cosface", "arcface", "proxy_anchor", "proxy_nca", "soft_triple")


def get_config(argument: str | None = None) -> ConfigDict:
    """The configuration of a preset."""
    preset, smoke, keys = common.parse(argument, list(PRESETS), KEYS)
    config = base(keys["loss"])
    SOURCES[keys["source"]](config, keys)
    PRESETS[preset](config)
    config.preset = preset + ("-smoke" if smoke else "")
    return _smoke(config) if smoke else config


def base(loss: str) -> ConfigDict:
    """Everything but the data, the network and what is compared."""
    return ConfigDict(dict(
        task="metric",
        preset="",
        seed=0,
        dtype="auto",
        data=dict(),
        model=dict(),
        start="",
        comparison="",
        loss=dict(name=loss, **LOSSES[loss]),
        losses=dict.fromkeys(fewshot.PART_LOSSES, 0.0),
        stages=dict(metric=dict(steps=600, classes=16, examples=4, trainable=".*", optimizer=dict())),
        train=common.training(),
        evaluation=dict(batch_size=98, discovery_images=490, pictures=6),
    ))  # fmt: skip


def _rates(config: ConfigDict, *multipliers: tuple[str, float]) -> tuple[tuple[str, float], ...]:
    """What learns at another rate; proxies fast, since they start at random and each batch has few of the classes."""
    return (*multipliers, ("proxies", 10.0)) if config.loss.name in PROXIES else multipliers


def _birds(config: ConfigDict, keys: dict[str, str]) -> None:
    config.data = dict(name="birds", world=100, level=keys["level"], size=64, images=(100, 20, 30))
    config.model.backbone = fewshot.BACKBONES["patchnet"]
    config.model.method = dict(name="slots", parts=8, rounds=2, width=64, background=True)
    config.losses.spread = 0.5
    config.stages.metric.optimizer = common.muon_one_cycle(6e-3, multipliers=_rates(config, *fewshot.SLOW_SLOTS))


def alphabets_data() -> dict[str, Any]:
    """Omniglot with alphabets held out."""
    warp = dict(rotation=0.35, stretch=0.25, shear=0.25, shift=0.1, elastic=0.025)
    return dict(name="alphabets", dir="", size=28, stored=35, class_seed=0, warp=warp)


def photos_data() -> dict[str, Any]:
    """Photos in class folders, classes held out, as kept features."""
    return dict(
        name="photos", source="folder", dir="", test="", size=224, drop_copies=False, class_seed=0, cache="",
        warp=dict(flip=0.5, scale=(1.0, 1.3), shift=0.1),
    )  # fmt: skip


def _alphabets(config: ConfigDict, keys: dict[str, str]) -> None:
    config.data = alphabets_data()
    config.model.backbone = dict(name="convnet", widths=(48, 96, 128), pools=(False, False, True))
    config.model.method = dict(name="slots", parts=8, rounds=2, width=64, background=True)
    config.losses.spread = 2.0
    config.stages.metric.update(steps=300, classes=24)
    config.stages.metric.optimizer = common.muon_one_cycle(6e-3, multipliers=_rates(config, *fewshot.SLOW_SLOTS))


def _photos(config: ConfigDict, keys: dict[str, str]) -> None:
    config.data = photos_data()
    config.pretrained = dict(weights="", family="")
    config.model.method = dict(name="landmarks", parts=8, temperature=2.0, background=False)
    config.start = "clusters"
    config.stages.metric.update(steps=300, classes=8, examples=8)
    config.stages.metric.optimizer = common.one_cycle(3e-4)
    config.stages.metric.optimizer.multipliers = _rates(config, ("model/method/.*", 0.1))


SOURCES = {"birds": _birds, "alphabets": _alphabets, "photos": _photos}
WIDTHS = {"birds": 16, "alphabets": 16, "photos": 64}
"""Entries of the code of one of eight parts."""
CELLS = {"birds": 7, "alphabets": 4, "photos": 7}
"""Along a side of the grid; with 4x4, all pairs of 13,180 characters take over a quarter of an hour already."""


def _parts(config: ConfigDict) -> None:
    config.comparison = "joined" if config.loss.name in PROXIES else "aligned"
    config.model.bottleneck = dict(name="standardised", width=WIDTHS[config.data.name], shared=False)


def _joined(config: ConfigDict) -> None:
    _parts(config)
    config.comparison = "joined"


def _global(config: ConfigDict) -> None:
    """One vector as long as those of eight parts together."""
    _without_parts(config, name="gap")
    config.comparison = "embedding"
    config.model.bottleneck = dict(name="standardised", width=8 * WIDTHS[config.data.name], shared=False)


def _dense(config: ConfigDict) -> None:
    """Cells with vectors as long as that of `global`, as what proxies train is their mean."""
    _without_parts(config, name="locations", cells=CELLS[config.data.name])
    config.comparison = "best_match"
    config.model.bottleneck = dict(name="standardised", width=8 * WIDTHS[config.data.name], shared=True)
    if config.data.name == "alphabets":
        config.stages.metric.optimizer.learning_rate = 1.2e-2  # of the three of `SEARCH`; the others do best at 6e-3


def _without_parts(config: ConfigDict, **method: Any) -> None:
    config.model.method = dict(method)
    config.start = ""
    config.losses.spread = 0.0
    config.stages.metric.optimizer.multipliers = _rates(config)


# What `launch.tune` tries of every preset, by the name of the data: three rates, chosen by MAP@R on validation classes.
RATE = "stages.metric.optimizer.learning_rate"
SEARCH = {
    "birds": ((RATE, (2e-3, 6e-3, 1.2e-2)),),
    "alphabets": ((RATE, (2e-3, 6e-3, 1.2e-2)),),
    "photos": ((RATE, (1e-4, 3e-4, 1e-3)),),
}

PRESETS = {"parts": _parts, "joined": _joined, "global": _global, "dense": _dense}


def _smoke(config: ConfigDict) -> ConfigDict:
    config.stages.metric.update(steps=4, classes=4, examples=2)
    config.train.checkpoint_every = 2
    if config.data.name == "birds":
        config.data.images = (4, 4, 2)
    config.evaluation.update(discovery_images=16, pictures=1)
    return config
