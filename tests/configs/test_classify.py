"""The presets of the classification config: the same budget for all, and searches that fit what they search."""

import json
from collections.abc import Mapping

import pytest

import partrep
from configs import classify
from partrep.tasks.classify import OBJECTIVES, STAGES
from partrep.tasks.classify_push import AT_END
from partrep.tasks.classify_terms import TERMS

PRESETS = list(classify.PRESETS)
MADE = {preset: classify.get_config(preset) for preset in PRESETS}


def value(config: Mapping, path: str):
    for name in path.split("."):
        config = config[name]
    return config


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("smoke", [False, True])
def test_every_preset_is_a_config_of_its_own_name(preset, smoke):
    config = classify.get_config(f"{preset},smoke" if smoke else preset)
    assert config.preset == preset + ("-smoke" if smoke else "")
    assert json.loads(config.to_json())["task"] == "classify"
    assert config.model.method.name == {"landmarks_tv": "landmarks", "additive": "slots"}.get(preset, preset)
    if smoke:
        assert sum(stage.steps for stage in config.stages.values()) <= 8
        assert config.evaluation.audit_images == 0 and config.data.size // config.model.backbone.patch == 16


def test_the_default_is_the_first_preset_and_a_smoke_keeps_its_stages_and_losses():
    assert classify.get_config() == MADE["landmarks"]
    for preset in PRESETS:
        small = classify.get_config(f"{preset},smoke")
        assert small.losses == MADE[preset].losses and list(small.stages) == list(MADE[preset].stages)
        assert small.model.head == MADE[preset].model.head and small.view == MADE[preset].view
        assert small.model.method.name == MADE[preset].model.method.name


def test_all_presets_have_the_same_budget_data_and_evaluation():
    """And, but for the one that looks at less at once, the same backbone."""
    first = MADE["gap"]
    for preset, config in MADE.items():
        assert sum(stage.steps for stage in config.stages.values()) == 600
        assert {stage.batch_size for stage in config.stages.values()} == {64}
        assert (config.data, config.evaluation, config.train) == (first.data, first.evaluation, first.train)
        assert config.seed == first.seed
        assert preset == "additive" or config.model.backbone == first.model.backbone
    assert MADE["additive"].model.backbone.to_dict() == {**first.model.backbone.to_dict(), "depths": (1,)}


def test_what_configs_name_exists():
    assert set(classify.LOSSES) == set(TERMS)
    for config in MADE.values():
        assert set(config.losses) == set(TERMS) and set(config.stages) <= set(STAGES)
        assert {stage.at_end for stage in config.stages.values()} <= {"", *AT_END}


@pytest.mark.parametrize("preset", PRESETS)
def test_a_search_is_six_settings_of_values_that_the_preset_has(preset):
    count = 1
    for path, values in classify.SEARCH[preset]:
        count *= len(set(values))
        assert {type(each) for each in values} == {type(value(MADE[preset], path))}
    assert count == 6 and set(classify.SEARCH) == set(PRESETS)


@pytest.mark.parametrize("preset", PRESETS)
def test_the_rate_of_the_search_is_the_one_of_its_joint_stage(preset):
    assert value(MADE[preset], classify.RATES[0]) == MADE[preset].stages.joint.optimizer.learning_rate


def test_keys_reach_the_config():
    changed = classify.get_config("slots,level=hard,backbone=conv4,readout=isolated")
    assert (changed.data.level, changed.model.backbone.name, changed.model.readout.name) == ("hard", "conv4", "isolated")
    assert changed.losses.proposal == 1.0 and changed.model.proposal_head.name == "concat"
    for name, terms in classify.BOTTLENECK_LOSSES.items():
        config = classify.get_config(f"landmarks_tv,bottleneck={name}")
        assert {term: config.losses[term] for term in terms} == terms
        assert config.losses.total_variation == MADE["landmarks_tv"].losses.total_variation
        assert ("decoder" in config.model) == (name == "generative")
    assert MADE["additive"].losses.recombination == 0.3
    assert classify.get_config("slots,recombination=on").losses.recombination == 1.0
    bordered = classify.get_config("slots,border=on")
    assert (bordered.model.method.border, bordered.losses.border) == (1, 1.0)
    assert (MADE["slots"].model.method.border, MADE["slots"].losses.border) == (0, 0.0)
    assert MADE["landmarks"].losses.bit_balance == 0 and "decoder" not in MADE["landmarks"].model


@pytest.mark.parametrize(
    "argument",
    [
        *(f"{preset},readout=isolated" for preset in ("prototypes", "regions", "gap")),
        *(f"{preset},{key}" for preset in PRESETS if preset != "assigned" for key in ("labels=class", "detectors=learned")),
        *(f"{preset},bottleneck=binary" for preset in PRESETS if preset not in classify.WITH_VECTORS),
        *(f"{preset},similarity=cosine" for preset in PRESETS if preset != "prototypes"),
        *(f"{preset},border=on" for preset in PRESETS if preset != "slots"),
    ],
)
def test_a_key_without_meaning_for_the_preset_is_refused(argument):
    preset, _, key = argument.partition(",")
    with pytest.raises(partrep.UserError, match=f"preset '{preset}' has no key '{key.partition('=')[0]}'"):
        classify.get_config(argument)


def test_the_objective_is_the_mean_or_the_worse_of_two_groups():
    assert {config.objective.name for config in MADE.values()} == {"erm"}
    made = classify.get_config("gap,objective=groupdro")
    assert made.objective.to_dict() == {"name": "groupdro", "step_size": 0.01}
    made.objective.step_size = 1.0
    assert classify.get_config("gap,objective=groupdro").objective.step_size == 0.01  # each its own
    assert set(classify.OBJECTIVES) == set(OBJECTIVES)


def test_prototypes_by_cosine_are_renormalised_where_they_move():
    made, before = MADE["prototypes"], classify.get_config("prototypes,similarity=distance")
    assert (made.model.method.similarity, before.model.method.similarity) == ("cosine", "distance")
    moving = {name for name, stage in made.stages.items() if stage.get("renormalise", False)}
    assert moving == {"warm", "joint"}
    assert {name: stage["at_end"] for name, stage in made.stages.items() if stage["at_end"]} == {
        "warm": "push", "joint": "push",
    }  # fmt: skip
    assert before.stages.joint.at_end == "push" and before.stages.last.at_end == "prune"
    assert made.losses.class_orthonormality > 0 == before.losses.class_orthonormality
    assert not any("renormalise" in stage for stage in before.stages.values())


def test_recombination_takes_the_place_of_warps():
    made = classify.get_config("landmarks,recombination=on")
    assert (made.view.name, made.losses.recombination, made.losses.equivariance) == ("recombined", 1.0, 0.0)
    assert classify.get_config("landmarks").losses.recombination == 0.0
    with pytest.raises(partrep.UserError, match="expected one of them"):
        classify.get_config("slots,readout=isolated,recombination=on")


@pytest.mark.parametrize("labels", ["class", "groups"])
def test_parts_of_classes_or_groups_are_matched_in_their_images_alone(labels):
    made = classify.get_config(f"assigned,labels={labels}")
    assert (made.labels, MADE["assigned"].labels, made.detectors) == (labels, "shared", "learned")
    assert (made.model.method.parts, made.model.method.groups, MADE["assigned"].model.method.groups) == (98, 49, 1)
    assert {name for name, weight in made.losses.items() if weight} == {"assignment_agreement"}
    baseline = classify.get_config(f"assigned,labels={labels},detectors=alternation")
    assert baseline.stages.joint.trainable == "head/.*" and not any(baseline.losses.values())
    assert baseline.model == made.model


@pytest.mark.parametrize("preset", ["exclusive", "assigned", "landmarks", "slots"])
def test_an_isolated_read_out_brings_its_own_head(preset):
    made = classify.get_config(f"{preset},readout=isolated")
    assert (made.model.head.name, made.logits) == ("concat", "plain")
    assert not any("shrink" in stage for stage in made.stages.values())  # its weights have signs


@pytest.mark.parametrize(
    "argument", ["slots,readout=isolated,bottleneck=binary", "slots,readout=isolated,bottleneck=identity", "landmarks,recombination=on,bottleneck=binary"]
)
def test_bottlenecks_that_do_not_fit_are_refused(argument):
    with pytest.raises(partrep.UserError, match="with bottleneck="):
        classify.get_config(argument)


@pytest.mark.parametrize("preset", classify.ON_GIVEN_FEATURES)
def test_settings_on_given_features_are_among_those_searched(preset):
    chosen = classify.ON_GIVEN_FEATURES[preset]
    searched = dict(classify.SEARCH[preset])
    assert set(chosen) == set(searched) and all(value in searched[path] for path, value in chosen.items())
    config = classify.get_config(f"{preset},features=given").to_dict()
    for path, value in chosen.items():
        found = config
        for name in path.split("."):
            found = found[name]
        assert found == value
    with pytest.raises(partrep.UserError, match="has no key 'features'"):
        classify.get_config("additive,features=given")
