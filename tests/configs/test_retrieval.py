"""The presets of the retrieval config: one budget for all, descriptors of one length, and losses that exist."""

import json

import pytest

import partrep
from configs import retrieval
from partrep.data.fewshot import SOURCES
from partrep.models.bottlenecks import BOTTLENECKS
from partrep.parts import METHODS
from partrep.tasks.metric import PAIR_LOSSES
from partrep.tasks.metric_check import check_loss
from partrep.tasks.retrieval_check import check_settings


@pytest.mark.parametrize("source", ["birds", "alphabets", "photos"])
def test_presets_have_one_budget_and_descriptors_of_one_length(source):
    made = {preset: retrieval.get_config(f"{preset},source={source}") for preset in retrieval.PRESETS}
    first = made["regions"]
    for preset, config in made.items():
        assert json.loads(config.to_json())["preset"] == preset and config.model.method.name in METHODS
        assert (config.data, config.evaluation, config.train) == (first.data, first.evaluation, first.train)
        assert (config.loss, config.model.bottleneck) == (first.loss, first.model.bottleneck)
        assert config.model.get("backbone") == first.model.get("backbone")
        stage, other = config.stages.metric, first.stages.metric
        assert (stage.steps, stage.classes, stage.examples) == (other.steps, other.classes, other.examples)
        assert {**stage.optimizer, "multipliers": ()} == {**other.optimizer, "multipliers": ()}
        check_settings(config)
    assert first.model.bottleneck.name in BOTTLENECKS and (first.data.name == "photos" or first.data.name in SOURCES)


def test_losses_are_of_pairs_and_take_their_settings():
    assert set(retrieval.LOSSES) < set(PAIR_LOSSES)
    for loss in retrieval.LOSSES:
        config = retrieval.get_config(f"gem,loss={loss}")
        assert config.loss.name == loss
        check_loss(config.loss)


@pytest.mark.parametrize("preset", retrieval.PRESETS)
def test_the_protocol_trains_nothing(preset):
    config = retrieval.get_config(f"{preset},smoke,source=revisited")
    assert not config.stages and config.start_run == "" and config.data.truth == ""
    trained = retrieval.get_config(f"{preset},source=photos")
    assert config.model.method == trained.model.method


def test_a_loss_with_proxies_is_no_ranking_loss():
    with pytest.raises(partrep.UserError, match="unknown value loss='arcface'; expected one of triplet"):
        retrieval.get_config("gem,loss=arcface")
