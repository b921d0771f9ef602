"""The presets of the few-shot config: what each changes, and that each says so."""

import json

import pytest

import partrep
from configs import fewshot


@pytest.mark.parametrize("preset", fewshot.PRESETS)
@pytest.mark.parametrize("smoke", [False, True])
def test_every_preset_is_a_config_of_its_own_name(preset, smoke):
    config = fewshot.get_config(f"{preset},smoke" if smoke else preset)
    assert config.preset == preset + ("-smoke" if smoke else "")
    assert json.loads(config.to_json())["task"] == "fewshot"
    if smoke:
        assert sum(stage.steps for stage in config.stages.values()) <= 8
        assert config.evaluation.episodes <= 20


def test_presets_differ_in_what_they_are_about():
    made = {preset: fewshot.get_config(preset) for preset in fewshot.PRESETS}
    names = {preset: config.model.method.name for preset, config in made.items()}
    assert (names["parts"], names["landmarks"], names["gap"]) == ("slots", "landmarks", "gap")
    assert made["episodic"].stages.episodes.steps > 0 == made["parts"].stages.episodes.steps
    for name in ("omniglot", "vinyals", "folder", "tfds"):
        assert made[name].data.name == name
    # The same budget for the compared methods: steps, batch, data and evaluation.
    for preset in ("landmarks", "gap"):
        assert made[preset].data == made["parts"].data and made[preset].evaluation == made["parts"].evaluation
        assert made[preset].stages.classify.steps == made["parts"].stages.classify.steps
        assert made[preset].stages.classify.batch_size == made["parts"].stages.classify.batch_size


def test_keys_reach_the_config():
    assert fewshot.get_config("gap,level=hard").data.level == "hard"
    omniglot = fewshot.get_config("omniglot,background=small2,augmentation=none")
    assert (omniglot.data.background, omniglot.data.augmentation) == ("small2", "none")
    assert omniglot == fewshot.get_config("omniglot,background=small2,augmentation=none,method=slots")
    changed = fewshot.get_config("episodic,backbone=conv4,bottleneck=binary,head=frn")
    names = changed.model.backbone.name, changed.model.bottleneck.name, changed.head.name
    assert names == ("conv4", "binary", "frn") and changed.stages.episodes.steps > 0
    assert "width" not in fewshot.get_config("gap").model.bottleneck
    for method, spread in (("landmarks", 0.0), ("slots", 2.0)):
        made = fewshot.get_config(f"omniglot,method={method}")
        assert (made.model.method.name, made.losses.spread) == (method, spread)


@pytest.mark.parametrize("argument", ["omniglot,level=hard", "parts,background=full", "folder,augmentation=none", "parts,method=slots"])
def test_a_key_without_meaning_for_the_preset_is_refused(argument):
    with pytest.raises(partrep.UserError, match="has no key"):
        fewshot.get_config(argument)
