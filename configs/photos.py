"""Which part of a photo decided? Part heads on a pretrained network's features, trained in a minute on a laptop.

    python -m launch.main --config=configs/photos.py --config.data.dir=DIR --config.pretrained.weights=FILE \\
        --config.pretrained.family=mobilenetv2        landmarks on photos in class folders (a folder, zip or tar)
    python -m launch.main --config=configs/photos.py:linear ...                 the probe: global pooling, linear
Presets: landmarks_tv (PDiscoFormer; default), slots, additive (slots, trained so that what locations say adds up),
assigned (DP-Net), exclusive (PIP-Net); linear (logistic regression on pooled features), mlp (one hidden layer on them),
attention (pooled where a learned token looks).
Keys: source=folder|pets|cub, how the photos lie in `data.dir`; `data.test` is a second folder where the test photos lie
apart. split=given|stratified|per_class: the split that comes with the photos, `data.test_share` of each class to test
on, or `data.per_class` photos of each class to train on. `data.resplit` draws another one; -1 is that of the seed, and
0, where there is one, the split that comes with the photos. fit=all|part: whether the
validation photos, which choose settings and are never tested on, are trained on at last.

Of pets and cub it is known where heads, animals, boxes and keypoints lie: the report then says how far the parts lie on
them (results localisation/ and discovery/). Heads of pets are marked in the training photos alone, so that testing on
them takes another split: split=stratified --config.data.test_share=0.5 --config.seed=1 (or any but 0).

The features are computed once, with the preprocessing of the weights' family, and kept in `data.cache`
(~/.cache/partrep, or PARTREP_CACHE). `data.size` is the side of what the network is shown.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs import classify, common

KEYS = {
    "source": ("folder", "pets", "cub"),
    "split": ("given", "stratified", "per_class"),
    "fit": ("all", "part"),
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
    return ConfigDict(dict(
        task="classify",
        preset="",
        seed=0,
        dtype="auto",
        data=dict(name="photos", dir="", test="", size=224, test_share=0.2, per_class=100, validation_share=0.2,
                  drop_copies=False,
                  resplit=-1, warp=dict(flip=0.5, scale=(1.0, 1.3), shift=0.1), cache="", **keys),
        pretrained=dict(weights="", family=""),
        model=dict(method=dict(name=""), bottleneck=dict(name="standardised"), head=dict(name="concat")),
        backbone_from="",
        view=dict(name=""),
        logits="plain",
        objective=dict(name="erm"),
        losses=dict.fromkeys(classify.LOSSES, 0.0),
        label_smoothing=0.0,
        stages=dict(joint=dict(steps=600, batch_size=64, trainable=".*", mode="train", at_end="",
                               optimizer=common.one_cycle(1e-3))),
        train=common.training(),
        evaluation=dict(batch_size=64, discovery_images=490, pictures=6, audit_images=0, codes=False,
                        explanations=()),
    ))  # fmt: skip


def _linear(config: ConfigDict) -> None:
    config.model.method = dict(name="gap")


def _mlp(config: ConfigDict) -> None:
    config.model.method = dict(name="gap")
    config.model.head = dict(name="mlp", width=256)


def _attention(config: ConfigDict) -> None:
    config.model.method = dict(name="ca_stream")


def _slots(config: ConfigDict) -> None:
    config.model.method = dict(name="slots", parts=8, rounds=2, width=64, background=True, border=0)
    config.losses.spread = 0.5


def _additive(config: ConfigDict) -> None:
    _slots(config)
    config.view = dict(name="recombined", cells=7, low=0.3, high=0.8)
    config.losses.recombination = 0.3


def _landmarks_tv(config: ConfigDict) -> None:
    """PDiscoFormer, but for equivariance, which holds by itself: a location's part is read from its feature alone."""
    config.model.method = dict(name="landmarks", parts=8, temperature=0.5, gumbel=True)
    config.losses.update(total_variation=1.0, entropy=1.0, orthogonality=1.0, presence=1.0, background_presence=2.0)


def _assigned(config: ConfigDict) -> None:
    config.model.method = dict(name="assigned", parts=64, groups=1, whiten=False, mean=True)
    config.losses.update(assignment_agreement=0.1, query_diversity=0.001, decisiveness=0.01, class_usage=0.01)


def _exclusive(config: ConfigDict) -> None:
    config.model.method = dict(name="exclusive", parts=64, threshold=0.1)
    config.model.bottleneck = dict(name="identity")
    config.model.head = dict(name="nonnegative")
    config.logits = "squared_log"
    config.losses.tanh_presence = 1.0
    config.stages.joint.shrink = 1e-4


PRESETS = {
    "landmarks_tv": _landmarks_tv,
    "slots": _slots,
    "additive": _additive,
    "assigned": _assigned,
    "exclusive": _exclusive,
    "linear": _linear,
    "mlp": _mlp,
    "attention": _attention,
}
