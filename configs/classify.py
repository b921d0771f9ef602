"""Which part, where, contributed how much to the class? And does the model say the truth about it?

    python -m launch.main --config=configs/classify.py                    landmarks on the embedded birds, no download
    python -m launch.main --config=configs/classify.py:gap                the same network, globally pooled (CAM)
    python -m launch.main --config=configs/classify.py:slots,level=easy
Presets: landmarks (PDiscoNet; default), landmarks_tv (PDiscoFormer), slots, prototypes (TesNet or ProtoPNet), exclusive
(PIP-Net), regions (Huang and Li), assigned (DP-Net; with labels, Sicre et al.), ca_stream (CA-Stream), gap, additive
(slots on local features, trained so that what locations say adds up).
Keys: level=standard|easy|hard; backbone=patchnet|local|conv4|resnet12|resnet18; readout=ordinary|isolated (landmarks,
landmarks_tv, slots, exclusive, assigned); bottleneck=standardised|identity|binary|disentangled|generative
(landmarks, landmarks_tv, slots); recombination=off|on (those and gap); border=off|on (slots: the edge of the image is
one more part, which is asked to say what the surroundings say); objective=erm|groupdro (with a shortcut alone);
labels=shared|class|groups and detectors=learned|alternation (assigned); similarity=cosine|distance (prototypes;
cosine as in TesNet, distance as in ProtoPNet). --config.backbone_from=WORKDIR takes the backbone of a finished run
as it is, and features=given the settings that `launch.tune` chose for that; additive has neither this nor another
backbone.

Parts of `assigned` are of all images (labels=shared), of the images of one class (labels=class: two a class, which
alone compete, and are matched in the images of their class alone), or of one of 49 groups of images that look alike,
which stand in for classes (labels=groups: k-means of mean features, so that it needs backbone_from; the classifier
still learns the classes). detectors=alternation, with labels=class or groups, is the baseline: Hungarian matching and
discriminants in turn on the features of backbone_from, then the classifier alone is trained.
--config.model.method.whiten=True whitens the detectors that are learned by the running covariance of all locations.

Birds of 49 classes; half of the training images lack some of their parts, and the exact posterior is the target, so
that a bird with a part removed is nothing new to the model and its answer to it can be measured. `data.parts` under 6
leaves parts that say nothing (redundancy), `data.shortcut` over 0 ties the habitat to the class; the groups of groupdro
(Sagawa et al. 2020) are then the training images in their class's habitat and those in another.
"""

from __future__ import annotations

from ml_collections import ConfigDict

import partrep
from configs import common, fewshot

# local: a location of its map sees 20 x 20 pixels, in place of the 36 x 36 of patchnet
BACKBONES = {**fewshot.BACKBONES, "local": {**fewshot.BACKBONES["patchnet"], "depths": (1,)}}
# Slots that move as fast as the rest of the network can stay on one place for hundreds of steps.
SLOW_SLOTS = (("method/.*", 0.3),)
# The weights of `tasks.classify_terms.TERMS`, each a key of the config.
LOSSES = (
    "alignment", "assignment_agreement", "background_presence", "bit_balance", "bit_decorrelation", "border",
    "class_orthonormality", "class_usage", "cluster", "code_decorrelation", "concentration", "decisiveness", "dip",
    "entropy", "equivariance", "gaussian_kl", "map_decorrelation", "occurrence", "orthogonality", "presence",
    "proposal", "query_diversity", "recombination", "reconstruction", "separation", "spread", "tanh_presence",
    "total_correlation", "total_variation", "wrong_class_l1",
)  # fmt: skip
BOTTLENECKS = {
    "standardised": dict(name="standardised", width=16),
    "identity": dict(name="identity"),
    "binary": dict(name="binary", bits=16, noise="none", temperature=1.0),
    "disentangled": dict(name="disentangled", width=16),
    "generative": dict(name="standardised", width=16),
}
# Of each bottleneck, beside the preset's; not tuned, but for bits, which weights of 0.1 keep from saying classes.
BOTTLENECK_LOSSES = {
    "binary": dict(bit_balance=0.001, bit_decorrelation=0.001),
    "disentangled": dict(gaussian_kl=0.001, total_correlation=0.01, code_decorrelation=0.1),
    "generative": dict(reconstruction=10.0),
}
OBJECTIVES = {
    "erm": dict(name="erm"),
    "groupdro": dict(name="groupdro", step_size=0.01),  # that of the source
}
KEYS = {
    "level": ("standard", "easy", "hard"),
    "backbone": tuple(BACKBONES),
    "readout": ("ordinary", "isolated"),
    "bottleneck": tuple(BOTTLENECKS),
    "recombination": ("off", "on"),
    "border": ("off", "on"),
    "objective": tuple(OBJECTIVES),
    "labels": ("shared", "class", "groups"),
    "detectors": ("learned", "alternation"),
    "similarity": ("cosine", "distance"),
    "features": ("learned", "given"),
}
WITH_VECTORS = ("landmarks", "landmarks_tv", "slots")
ON_ANY_FEATURES = (*WITH_VECTORS, "prototypes", "exclusive", "regions", "assigned", "ca_stream", "gap")
PRESETS_OF = {"backbone": ON_ANY_FEATURES, "features": ON_ANY_FEATURES,
              "readout": (*WITH_VECTORS, "exclusive", "assigned"), "bottleneck": WITH_VECTORS,
              "recombination": (*WITH_VECTORS, "gap"), "border": ("slots",), "labels": ("assigned",),
              "detectors": ("assigned",), "similarity": ("prototypes",)}  # fmt: skip


def get_config(argument: str | None = None) -> ConfigDict:
    """The configuration of a preset."""
    preset, smoke, keys = common.parse(argument, list(PRESETS), KEYS, PRESETS_OF)
    config = _birds(keys["level"], keys["backbone"])
    PRESETS[preset](config)
    if keys["features"] == "given":
        config.update_from_flattened_dict(ON_GIVEN_FEATURES.get(preset, {}))
    if preset in WITH_VECTORS:
        _use_bottleneck(config, keys["bottleneck"])
    if keys["border"] == "on":
        config.model.method.border, config.losses.border = 1, 1.0
    if keys["labels"] != "shared":
        _own_parts(config, keys["labels"])
    if keys["detectors"] == "alternation":
        _alternate(config)
    if preset == "prototypes" and keys["similarity"] == "cosine":
        _by_cosine(config)
    isolated, recombined = keys["readout"] == "isolated", keys["recombination"] == "on"
    if isolated and recombined:
        raise partrep.UserError("readout=isolated with recombination=on; expected one of them: isolated parts add up")
    bottleneck = keys["bottleneck"]
    if isolated and bottleneck not in ("standardised", "generative"):
        raise partrep.UserError(f"readout=isolated with bottleneck={bottleneck}; expected standardised or generative")
    if recombined and bottleneck == "binary":
        raise partrep.UserError("recombination=on with bottleneck=binary; expected one whose codes are affine")
    if recombined:
        _recombine(config, 1.0)
    if isolated:
        _isolate(config)
    config.objective = OBJECTIVES[keys["objective"]]
    config.preset = preset + ("-smoke" if smoke else "")
    return _smoke(config) if smoke else config


def _birds(level: str, backbone: str) -> ConfigDict:
    """Everything but the part method, its head and its losses."""
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
            bottleneck=BOTTLENECKS["standardised"],
            head=dict(name="concat"),
        ),
        backbone_from="",  # workdir of a finished run whose backbone is taken as it is; none: all is trained
        view=dict(name=""),  # second view: relit, warped or recombined
        logits="plain",
        losses=dict.fromkeys(LOSSES, 0.0),
        label_smoothing=0.0,
        stages=dict(joint=_stage(600, common.muon_one_cycle(6e-3))),
        train=common.training(),
        evaluation=dict(batch_size=98, discovery_images=490, pictures=6, audit_images=2, codes=True,
                        explanations=("grad-cam", "grad-cam++", "hires-cam", "layer-cam", "input x gradient",
                                      "integrated gradients", "occlusion")),
    ))  # fmt: skip


def _stage(steps: int, optimizer: ConfigDict, trainable: str = ".*", mode: str = "train", at_end: str = "",
           **more: float) -> dict:  # fmt: skip
    """Settings of a stage; in mode "evaluation" statistics stay as they are and nothing is random."""
    return dict(steps=steps, batch_size=64, trainable=trainable, mode=mode, at_end=at_end, optimizer=optimizer, **more)


def _gap(config: ConfigDict) -> None:
    config.model.method = dict(name="gap")
    config.model.bottleneck = dict(name="standardised")


def _ca_stream(config: ConfigDict) -> None:
    """CA-Stream: where a learned token looks, in place of the mean over all locations; else as gap."""
    config.model.method = dict(name="ca_stream")
    config.model.bottleneck = dict(name="standardised")


def _landmarks(config: ConfigDict) -> None:
    """PDiscoNet: losses in the weights of the source, but for concentration, of which a sixteenth."""
    config.model.method = dict(name="landmarks", parts=8, temperature=0.5)
    config.losses.update(concentration=1000.0 / 16, orthogonality=1.0, presence=1.0, equivariance=1.0)
    config.view = dict(name="warped", rotation=0.5, scale=(0.8, 1.4), shift=0.1)


def _landmarks_tv(config: ConfigDict) -> None:
    """PDiscoFormer: total variation in place of concentration, entropy, a background at the border, Gumbel noise."""
    config.model.method = dict(name="landmarks", parts=8, temperature=0.5, gumbel=True)
    config.losses.update(
        total_variation=1.0, entropy=1.0, orthogonality=1.0, presence=1.0, background_presence=2.0, equivariance=1.0
    )
    config.view = dict(name="warped", rotation=0.5, scale=(0.8, 1.4), shift=0.1)


def _slots(config: ConfigDict) -> None:
    config.model.method = dict(name="slots", parts=8, rounds=2, width=64, background=True, border=0)
    config.losses.spread = 0.5
    config.stages.joint.optimizer = common.muon_one_cycle(6e-3, multipliers=SLOW_SLOTS)


def _additive(config: ConfigDict) -> None:
    """Slots on local features, trained so that what locations contribute adds up."""
    _slots(config)
    config.model.backbone = BACKBONES["local"]
    _recombine(config, 0.3)  # the best of `SEARCH` in worlds 0 and 1


def _prototypes(config: ConfigDict) -> None:
    """ProtoPNet: warm-up, joint, push, last layer, prune, last layer."""
    config.model.method = dict(name="prototypes", per_class=4, width=64, similarity="distance")
    config.model.bottleneck = dict(name="identity")
    config.model.head = dict(name="class_tied")
    config.losses.update(cluster=0.8, separation=-0.08, wrong_class_l1=1e-4)
    last = dict(trainable="head/.*", mode="evaluation")
    config.stages = dict(
        warm=_stage(100, common.one_cycle(3e-3), trainable="method/.*"),
        joint=_stage(400, common.muon_one_cycle(6e-3), trainable="(?!head/).*", at_end="push"),
        last=_stage(60, common.one_cycle(1e-2), at_end="prune", **last),
        pruned=_stage(40, common.one_cycle(1e-2), **last),
    )


def _by_cosine(config: ConfigDict) -> None:
    """TesNet: prototypes are directions, of length one again after each step that moves them.

    They start as patches, the nearest of their class after the warm-up: a direction drawn at random is far from all.
    None is removed: where classes share their parts, patches like a prototype are of other classes, and so the rule of
    the source removes most of them.
    """
    config.model.method.similarity = "cosine"
    config.model.head.scale = 10.0
    config.losses.class_orthonormality = 0.1
    config.stages.warm.at_end = "push"
    del config.stages["pruned"]
    config.stages.last.update(steps=100, at_end="", optimizer=common.one_cycle(0.1))  # as large as the head's scale
    for name in ("warm", "joint"):
        config.stages[name].renormalise = True


def _exclusive(config: ConfigDict) -> None:
    """PIP-Net, alignment and classification in one stage; weights of the head shrink every step."""
    config.model.method = dict(name="exclusive", parts=64, threshold=0.1)
    config.model.bottleneck = dict(name="identity")
    config.model.head = dict(name="nonnegative")
    config.logits = "squared_log"
    config.view = dict(name="relit", brightness=0.3, contrast=0.3, saturation=0.3)
    config.losses.update(alignment=2.5, tanh_presence=1.0)
    config.stages = dict(joint=_stage(600, common.muon_one_cycle(6e-3), shrink=1e-4))


def _regions(config: ConfigDict) -> None:
    """Huang and Li: regions that occur in some images and not in others, weighed by attention."""
    config.model.method = dict(name="regions", parts=8)
    config.model.bottleneck = dict(name="identity")
    config.model.head = dict(name="attention", width=64)
    config.losses.occurrence = 0.5
    config.occurrence_prior = (0.2, 0.2)


def _assigned(config: ConfigDict) -> None:
    """DP-Net: linear detectors, one region a part and image, at most one part a region."""
    config.labels = "shared"
    config.detectors = "learned"
    config.model.method = dict(name="assigned", parts=64, groups=1, whiten=False, mean=True)
    config.model.bottleneck = dict(name="standardised")
    config.losses.update(assignment_agreement=0.1, query_diversity=0.001, decisiveness=0.01, class_usage=0.01)


def _own_parts(config: ConfigDict, labels: str) -> None:
    """Sicre et al.: parts of a class or group, matched in its images; without what DP-Net asks of shared parts."""
    config.labels = labels
    config.model.method.update(parts=98, groups=49)
    config.losses.update(query_diversity=0.0, decisiveness=0.0, class_usage=0.0)


def _alternate(config: ConfigDict) -> None:
    """Sicre et al. as they were: detectors by alternation, then a linear classifier of their scores."""
    config.detectors = "alternation"
    config.stages.joint.trainable = "head/.*"
    config.losses.assignment_agreement = 0.0


def _use_bottleneck(config: ConfigDict, name: str) -> None:
    config.model.bottleneck = BOTTLENECKS[name]
    config.losses.update(BOTTLENECK_LOSSES.get(name, {}))
    if name == "generative":
        config.model.decoder = dict(name="parts", hidden=32)


def _recombine(config: ConfigDict, weight: float) -> None:
    """Asks that what cells contribute add up in cut-and-paste images; the second view is then no warp."""
    config.view = dict(name="recombined", cells=16, low=0.3, high=0.8)
    config.losses.update(recombination=weight, equivariance=0.0)


def _isolate(config: ConfigDict) -> None:
    """Level 3: the parts are hard masks, and each is encoded again from its own pixels alone."""
    config.model.readout = dict(name="isolated", width=64, convolutions=2, depth=0, heads=2)
    # A part that has no cell in any image has no spread: a small epsilon would make its gradient that of all others.
    config.model.bottleneck = dict(BOTTLENECKS["standardised"], epsilon=1e-3)
    config.model.head = dict(name="concat")
    config.model.proposal_head = dict(name="concat")
    config.losses.proposal = 1.0
    config.logits = "plain"  # this head is signed, whatever the preset's own is
    for stage in config.stages.values():
        if "shrink" in stage:
            del stage.shrink


PRESETS = {
    "landmarks": _landmarks,
    "landmarks_tv": _landmarks_tv,
    "slots": _slots,
    "prototypes": _prototypes,
    "exclusive": _exclusive,
    "regions": _regions,
    "assigned": _assigned,
    "ca_stream": _ca_stream,
    "gap": _gap,
    "additive": _additive,
}


# On the backbone that `gap` trained, which `--config.backbone_from` names: the best of `SEARCH` in worlds 0 and 1.
RATE = "stages.joint.optimizer.learning_rate"
ON_GIVEN_FEATURES: dict[str, dict[str, float]] = {
    "landmarks": {RATE: 6e-3, "losses.concentration": 0.0},
    "landmarks_tv": {RATE: 2e-2, "losses.total_variation": 0.1},
    "slots": {RATE: 2e-2, "losses.spread": 0.5},
    "exclusive": {RATE: 2e-2, "losses.alignment": 0.5},
    "regions": {RATE: 2e-2, "losses.occurrence": 0.0},
    "assigned": {RATE: 6e-3, "losses.assignment_agreement": 0.0},
    "gap": {RATE: 6e-3, "label_smoothing": 0.1},
    "ca_stream": {RATE: 2e-2, "label_smoothing": 0.0},
    "prototypes": {RATE: 2e-2, "losses.separation": -0.08},
}

# What `launch.tune` tries of each preset: six settings each, chosen by accuracy on validation images.
RATES = (RATE, (2e-3, 6e-3, 2e-2))
SEARCH = {
    "landmarks": (RATES, ("losses.concentration", (0.0, 60.0))),
    "landmarks_tv": (RATES, ("losses.total_variation", (0.1, 1.0))),
    "slots": (RATES, ("losses.spread", (0.0, 0.5))),
    "prototypes": (RATES, ("losses.separation", (0.0, -0.08))),
    "exclusive": (RATES, ("losses.alignment", (0.5, 2.5))),
    "regions": (RATES, ("losses.occurrence", (0.0, 0.5))),
    "assigned": (RATES, ("losses.assignment_agreement", (0.0, 0.1))),
    "ca_stream": (RATES, ("label_smoothing", (0.0, 0.1))),
    "gap": (RATES, ("label_smoothing", (0.0, 0.1))),
    "additive": (RATES, ("losses.recombination", (0.3, 1.0))),
}


def _smoke(config: ConfigDict) -> ConfigDict:
    config.data.images = (2, 2, 2)
    if config.model.backbone.name == "patchnet":  # the same map of 16x16, of fewer pixels
        config.data.size = 16
        config.model.backbone.update(widths=(16,), depths=(1,), patch=1)
    if config.model.method.name == "prototypes":
        config.model.method.per_class = 1
    for stage in config.stages.values():
        stage.steps, stage.batch_size = min(stage.steps, 2), 8
    config.train.checkpoint_every = 2
    config.evaluation.update(discovery_images=8, pictures=1, audit_images=0, codes=False, explanations=("hires-cam",))
    return config
