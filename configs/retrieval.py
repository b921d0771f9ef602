"""Does a descriptor of learned regions find the same thing elsewhere better than fixed regions, or none, do?

    python -m launch.main --config=configs/retrieval.py                   learned regions; individual birds, no download
    python -m launch.main --config=configs/retrieval.py:gem               the same network, pooled by a generalised mean
    python -m launch.main --config=configs/retrieval.py:rmac              the same network, a fixed grid of regions
    python -m launch.main --config=configs/retrieval.py:regions,source=alphabets --config.data.dir=DIR
                                                                          Omniglot, alphabets held out
    python -m launch.main --config=configs/retrieval.py:regions,source=photos --config.data.dir=DIR \\
        --config.pretrained.weights=FILE --config.pretrained.family=resnet50
                                                                          photos in class folders, classes held out
    python -m launch.main --config=configs/retrieval.py:gem,source=revisited --config.data.dir=JPEGS \\
        --config.data.truth=gnd_roxford5k.pkl --config.pretrained.weights=FILE --config.pretrained.family=resnet50
                                                                          the revisited Oxford and Paris buildings
Presets: regions (default), rmac, gem, global (the plain mean). An image's descriptor is unit(sum_k m_k unit(W (
unit(z_k) - mu))) of its regions k, with m_k how present a region is; gem and global have one region, the whole image.
Keys: source=birds|alphabets|photos|revisited; loss=triplet|contrastive|smooth_ap|histogram_ap|multi_similarity;
level=standard|easy|hard (birds). Fields of a loss are flags, as in --config.loss.margin=0.2.

Batches have `stages.metric.classes` things (birds, characters, classes of photos) with `examples` images each. Classes
of training, validation and test are disjoint; of birds, each class has several individuals, of which the test asks for
one among the others of its class. Settings of expansion, diffusion and whitening are chosen on validation images.
revisited trains nothing: a pretrained network pooled by gem, rmac or global, or by a finished run of source=photos
(--config.start_run=WORKDIR), whose regions and whitening it takes.
Explanation: of regions, what each pair of regions adds to the similarity of two images sums to it.
"""

from __future__ import annotations

from typing import Any

from ml_collections import ConfigDict

from configs import common, fewshot, metric

LOSSES = ("triplet", "contrastive", "smooth_ap", "histogram_ap", "multi_similarity")
KEYS = {
    "source": ("birds", "alphabets", "photos", "revisited"),
    "loss": LOSSES,
    "level": ("standard", "easy", "hard"),
}


def get_config(argument: str | None = None) -> ConfigDict:
    """The configuration of a preset."""
    preset, smoke, keys = common.parse(argument, list(PRESETS), KEYS)
    config = _base(keys["loss"])
    SOURCES[keys["source"]](config, keys)
    PRESETS[preset](config)
    config.preset = preset + ("-smoke" if smoke else "")
    return _smoke(config) if smoke else config


def _base(loss: str) -> ConfigDict:
    """What metric learning has but for the data, the network and its regions, and settings of the search."""
    config = metric.base(loss)
    config.update(task="retrieval", comparison="embedding")
    config.stages.metric.steps = 300
    config.evaluation.update(fitting=2000, queries=2000, scales=(1.0, 0.7071, 0.5), side_of=4)
    return config


def _birds(config: ConfigDict, keys: dict[str, str]) -> None:
    config.data = dict(name="individuals", world=100, level=keys["level"], size=64, each=(16, 4, 4), images=6)
    config.model.backbone = fewshot.BACKBONES["patchnet"]
    config.model.bottleneck = dict(name="whitened", width=64)
    config.stages.metric.optimizer = common.muon_one_cycle(6e-3)


def _alphabets(config: ConfigDict, keys: dict[str, str]) -> None:
    config.data = metric.alphabets_data()
    config.model.backbone = dict(name="patchnet", widths=(64, 128), depths=(1, 2), patch=2, strides=(1, 2))
    config.model.bottleneck = dict(name="whitened", width=128)
    config.stages.metric.update(steps=1000, classes=24)
    config.stages.metric.optimizer = common.muon_one_cycle(3e-3)


def _photos(config: ConfigDict, keys: dict[str, str]) -> None:
    config.data = metric.photos_data()
    config.pretrained = dict(weights="", family="")
    config.model.bottleneck = dict(name="whitened", width=256)
    config.stages.metric.update(steps=300, classes=8, examples=8)
    config.stages.metric.optimizer = common.one_cycle(1e-3)
    config.evaluation.scales = (1.0,)


def _revisited(config: ConfigDict, keys: dict[str, str]) -> None:
    """Nothing is trained; sides of the scaled photos are multiples of 32 px whatever `side_of` says."""
    config.data = dict(name="revisited", dir="", truth="", size=1024)
    config.pretrained = dict(weights="", family="")
    config.start_run = ""
    config.stages = {}
    config.evaluation = dict(pictures=6, scales=(1.0, 0.7071, 0.5))


SOURCES = {"birds": _birds, "alphabets": _alphabets, "photos": _photos, "revisited": _revisited}


def _regions(config: ConfigDict) -> None:
    if config.data.name in ("photos", "revisited"):
        config.model.method = dict(name="landmarks", parts=8, temperature=2.0, background=False)
    if config.data.name == "revisited":
        return
    if config.data.name == "photos":
        config.start = "clusters"
        config.stages.metric.optimizer.multipliers = (("model/method/.*", 0.1),)
        return
    config.model.method = dict(name="slots", parts=8, rounds=2, width=64, background=True)
    config.losses.spread = 2.0 if config.data.name == "alphabets" else 0.5
    config.stages.metric.optimizer.multipliers = fewshot.SLOW_SLOTS


def _pooled(**method: Any):
    def set_method(config: ConfigDict) -> None:
        config.model.method = dict(method)

    return set_method


PRESETS = {
    "regions": _regions,
    "rmac": _pooled(name="rmac", levels=3),
    "gem": _pooled(name="gem", power=3.0),
    "global": _pooled(name="gap"),
}


def _smoke(config: ConfigDict) -> ConfigDict:
    if config.data.name == "revisited":
        return config
    config.stages.metric.update(steps=4, classes=4, examples=2)
    config.train.checkpoint_every = 2
    if config.data.name == "individuals":
        config.data.update(each=(2, 2, 2), images=2, size=32)
    config.evaluation.update(discovery_images=16, pictures=1, fitting=64, queries=64)
    if len(config.evaluation.scales) > 1:
        config.evaluation.scales = (1.0, 0.5)
    return config
