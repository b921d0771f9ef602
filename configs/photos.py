"""Which part of a photo decided? Part heads on a pretrained network's features, trained in a minute on a laptop.

    python -m launch.main --config=configs/photos.py --config.data.dir=DIR --config.pretrained.weights=FILE \\
        --config.pretrained.family=mobilenetv2        landmarks on photos in class folders (a folder, zip or tar)
    python -m launch.main --config=configs/photos.py:linear ...                 the probe: global pooling, linear
Presets: landmarks (parts that share the photo, from clusters on; default), landmarks_tv (PDiscoFormer's losses and a
background), probe (the linear probe told part by part: it says what `linear` does), slots; linear (logistic regression
on pooled features), mlp (one hidden layer on them), attention (pooled where a learned token looks); pdiscoformer (as
published, on CUB, with backbone=tokens).
Keys: source=folder|pets|cub, how the photos lie in `data.dir`; `data.test` is a second folder where the test photos lie
apart. split=stratified|given|per_class: `data.test_share` of each class to test on, the split that comes with the
photos, or `data.per_class` photos of each class to train on. `data.resplit` draws another one; -1 is that of the
seed, and 0, where there is one, the split that comes with the photos. fit=all|part: whether the validation photos,
which choose settings and are never tested on, are trained on at last. backbone=frozen|tokens|all: what of the
pretrained network is trained as well: nothing, the class and register tokens and positions of a transformer, or all.

The features of a frozen network are computed once, with the preprocessing of the weights' family, and kept in
`data.cache` (~/.cache/partrep, or PARTREP_CACHE). `data.size` is the side of what the network is shown.
"""

from __future__ import annotations

from typing import Any

from ml_collections import ConfigDict

from configs import classify, common

KEYS = {
    "source": ("folder", "pets", "cub"),
    "split": ("stratified", "given", "per_class"),
    "fit": ("all", "part"),
    "backbone": ("frozen", "tokens", "all"),
}


def get_config(argument: str | None = None) -> ConfigDict:
    """The configuration of a preset."""
    preset, smoke, keys = common.parse(argument, list(PRESETS), KEYS)
    config = _photos(keys)
    PRESETS[preset](config)
    config.preset = preset + ("-smoke" if smoke else "")
    if smoke:
        config.stages.joint.update(steps=2, batch_size=8)
    return config


def _photos(keys: dict[str, str]) -> ConfigDict:
    """Everything but the part method, its head and its losses."""
    trained = keys.pop("backbone")
    return ConfigDict(dict(
        task="classify",
        preset="",
        seed=0,
        dtype="auto",
        data=dict(name="photos", dir="", test="", size=224, drop_copies=False, resplit=-1, test_share=0.2,
                  per_class=100, validation_share=0.2, warp=dict(flip=0.5, scale=(1.0, 1.3), shift=0.1), cache="",
                  **keys),
        pretrained=dict(weights="", family="", trained=trained),
        model=dict(method=dict(name=""), bottleneck=dict(name="identity"), head=dict(name="concat", shared=False)),
        backbone_from="",
        start="",  # clusters: prototypes where training features cluster; mean: a token that looks everywhere alike
        view=dict(name=""),
        logits="plain",
        objective=dict(name="erm"),
        losses=dict.fromkeys(classify.LOSSES, 0.0),
        label_smoothing=0.0,
        stages=dict(joint=dict(steps=400, batch_size=64, trainable=".*", mode="train", at_end="",
                               optimizer={**common.one_cycle(1e-3), "multipliers": ()})),
        train=common.training(),
        evaluation=dict(batch_size=64, discovery_images=490, pictures=6, audit_images=0, codes=False,
                        explanations=()),
    ))  # fmt: skip


RATE, DECAY = "stages.joint.optimizer.learning_rate", "stages.joint.optimizer.weight_decay"
# What a part says beside what all say moves slowly, and so do its queries: the classifier stays near that of pooling.
SLOW = (("head/kernel", 0.1), ("method/.*", 0.1))


def _pooled(config: ConfigDict, name: str) -> None:
    config.model.method = dict(name=name)
    config.stages.joint.optimizer.learning_rate = 1e-2


def _linear(config: ConfigDict) -> None:
    _pooled(config, "gap")
    config.stages.joint.optimizer.weight_decay = 0.5


def _mlp(config: ConfigDict) -> None:
    _pooled(config, "gap")
    config.model.head = dict(name="mlp", width=256)
    config.stages.joint.optimizer.update(learning_rate=3e-3, weight_decay=0.5)


def _attention(config: ConfigDict) -> None:
    _pooled(config, "ca_stream")
    config.start = "mean"
    config.stages.joint.optimizer.multipliers = SLOW


def _parts(config: ConfigDict, **method: Any) -> None:
    """Parts whose classifiers share what they say alike."""
    config.model.method = dict(method)
    config.model.head = dict(name="concat", shared=True)
    config.stages.joint.optimizer.update(learning_rate=1e-2, multipliers=SLOW)


def _landmarks(config: ConfigDict) -> None:
    """Landmarks that share every location, from clusters on: with `U = 0` the linear classifier of pooled features."""
    _parts(config, name="landmarks", parts=8, temperature=2.0, background=False)
    config.stages.joint.optimizer.learning_rate = 3e-3
    config.start = "clusters"


def _probe(config: ConfigDict) -> None:
    """The linear probe, told part by part: landmarks share every location, and one classifier reads all of them."""
    _landmarks(config)
    config.stages.joint.trainable = "head/(shared|bias)"
    config.stages.joint.optimizer.update(learning_rate=1e-2, weight_decay=0.5, multipliers=())


def _landmarks_tv(config: ConfigDict) -> None:
    """PDiscoFormer, but for equivariance, which holds by itself: a location's part is read from its feature alone."""
    _parts(config, name="landmarks", parts=8, temperature=0.5, gumbel=True)
    config.losses.update(total_variation=0.1, entropy=1.0, orthogonality=1.0, presence=1.0, background_presence=2.0)
    config.start = "clusters"


def _slots(config: ConfigDict) -> None:
    _parts(config, name="slots", parts=8, rounds=2, width=64, background=True, border=0)
    config.losses.spread = 0.5


def _pdiscoformer(config: ConfigDict) -> None:
    """PDiscoFormer as published, for `backbone=tokens` of a DINOv2 transformer with registers at 518 px.

    K = 16, batches of 32, 28 epochs of the 5,994 training photos of CUB. Departures: the norm over parts, which
    couples them, is left out; one cycle in place of halving the rates every four epochs; the last state, not the best
    on test photos.
    """
    config.model.method = dict(name="landmarks", parts=16, temperature=1.0, gumbel=True)
    config.model.head = dict(name="linear", dropout=0.3)
    config.losses.update(total_variation=1.0, entropy=1.0, orthogonality=1.0, presence=1.0, background_presence=2.0,
                         equivariance=1.0)  # fmt: skip
    config.view = dict(name="warped", rotation=1.57, scale=(0.8, 1.4), shift=0.11)
    config.data.update(size=518, validation_share=0.1)
    rates = (("backbone/.*", 1e-4), ("method/.*", 0.1))  # 1.4e-6 for tokens, 1.4e-3 for queries, 1.4e-2 for the head
    config.stages.joint.update(steps=5250, batch_size=32)
    config.stages.joint.optimizer.update(learning_rate=1.4e-2, weight_decay=0.0, clip=2.0, multipliers=rates)
    if config.pretrained.trained == "frozen":
        config.pretrained.trained = "tokens"
    config.evaluation.discovery_images = 1000  # of 5,794: the baselines hold the features of all, 4 MB a photo


PRESETS = {
    "landmarks": _landmarks,
    "landmarks_tv": _landmarks_tv,
    "probe": _probe,
    "slots": _slots,
    "pdiscoformer": _pdiscoformer,
    "linear": _linear,
    "mlp": _mlp,
    "attention": _attention,
}

# What `launch.tune` tries of each preset: six settings each, chosen by accuracy on validation photos.
RATES = (RATE, (3e-3, 1e-2, 3e-2))
DECAYS = (DECAY, (0.05, 0.5))
SEARCH = {
    "landmarks": (RATES, DECAYS),
    "landmarks_tv": (RATES, ("losses.total_variation", (0.1, 1.0))),
    "linear": (RATES, DECAYS),
    "mlp": ((RATE, (1e-3, 3e-3, 1e-2)), DECAYS),
    "attention": (RATES, DECAYS),
}
