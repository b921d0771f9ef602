"""The presets of the open-set config: what each changes, and that all methods of a run have the same budget."""

import json

import pytest

import partrep
from configs import openset
from partrep.data.openset import KNOWN
from partrep.models.part_model import build


@pytest.mark.parametrize("preset", openset.PRESETS)
@pytest.mark.parametrize("smoke", [False, True])
def test_every_preset_is_a_config_of_its_own_name(preset, smoke):
    config = openset.get_config(f"{preset},smoke" if smoke else preset)
    assert config.preset == preset + ("-smoke" if smoke else "") and config.data.name == preset
    assert json.loads(config.to_json())["task"] == "openset"
    # Birds are not augmented: the plain network is trained once, and scored in four ways.
    assert config.compared == ((*openset.METHODS[1:], *openset.NAMED) if preset == "birds" else openset.METHODS)
    assert set(config.methods) == {*openset.METHODS, *(openset.NAMED if preset == "birds" else ())}
    assert len(config.methods.maximum_logit.scores) == (4 if preset == "birds" else 2)
    if smoke:
        assert config.trials == (0,) and sum(stage.steps for stage in config.stages.values()) <= 4


def test_published_trials_are_all_run():
    for name in ("mnist", "cifar10"):
        assert openset.get_config(name).trials == tuple(range(len(KNOWN[name])))


def test_a_method_can_be_run_alone():
    config = openset.get_config("mnist,method=arpl")
    assert config.compared == ("arpl",) and openset.get_config("mnist").methods == config.methods
    with pytest.raises(partrep.UserError, match="unknown value method='gan'"):
        openset.get_config("mnist,method=gan")
    with pytest.raises(partrep.UserError, match="unknown method of mnist 'attributes'"):
        openset.get_config("mnist,method=attributes")


@pytest.mark.parametrize("preset", openset.PRESETS)
def test_what_methods_name_exists_and_their_backbone_is_the_same(preset):
    methods = openset.get_config(preset).methods
    for own in methods.values():
        model = own.model.to_dict()
        build(model | {"head": model["head"] | {"table": ((0,) * 6,) * 6}} if "attributes" in model["head"].values() else model, classes=6)
        assert own.model.backbone == methods.softmax.model.backbone
    objective = {"autoencoders": "reconstruction", "concat": "cross_entropy"}[methods.parts.model.head.name]
    assert methods.arpl.objective == "arpl" and methods.parts.objective == objective
    assert not methods.softmax.warp and "autoencoder" in methods.generative_discriminative
