"""The presets of the metric learning config: one budget for all, and losses that exist."""

import inspect
import json

import pytest

import partrep
from configs import metric
from partrep import losses
from partrep.models.comparisons import COMPARISONS
from partrep.tasks.metric import LOCAL_LOSSES, PAIR_LOSSES, PROXY_LOSSES
from partrep.tasks.metric_check import check_loss, check_settings


def test_all_losses_are_known_and_take_their_settings():
    assert set(metric.LOSSES) == {*PAIR_LOSSES, *PROXY_LOSSES, *LOCAL_LOSSES} and set(metric.PROXIES) == set(PROXY_LOSSES)
    for name, settings in metric.LOSSES.items():
        check_loss({"name": name, **settings})


def test_settings_are_those_of_the_functions_but_for_what_is_said():
    for name, settings in metric.LOSSES.items():
        usual = {key: each.default for key, each in inspect.signature(losses.LOSSES[name]).parameters.items()}
        for key, value in settings.items():
            if key not in ("block", "centres", "centre_spread", "mining"):
                assert usual[key] == value, (name, key)
        numbers = {key for key, default in usual.items() if isinstance(default, int | float | str)}
        assert numbers <= set(settings), name


@pytest.mark.parametrize("preset, comparison", [("parts", "joined"), ("joined", "joined"), ("global", "embedding"), ("dense", "best_match")])
def test_losses_with_proxies_train_one_vector_an_image(preset, comparison):
    config = metric.get_config(f"{preset},loss=arcface")
    assert config.comparison == comparison
    check_settings(config)


def test_a_loss_with_proxies_cannot_train_aligned_parts():
    config = metric.get_config("parts,loss=arcface")
    config.comparison = "aligned"
    with pytest.raises(partrep.UserError, match="arcface with comparison 'aligned'; expected one of one vector"):
        check_settings(config)


def test_a_loss_of_parts_that_match_needs_parts():
    check_settings(metric.get_config("dense,loss=superfeature_contrastive"))
    with pytest.raises(partrep.UserError, match="superfeature_contrastive with comparison 'embedding'; expected one that keeps"):
        check_settings(metric.get_config("global,loss=superfeature_contrastive"))


@pytest.mark.parametrize("source", metric.SOURCES)
def test_presets_have_one_budget_and_codes_of_one_length(source):
    made = {preset: metric.get_config(f"{preset},source={source}") for preset in metric.PRESETS}
    first = made["parts"]
    for preset, config in made.items():
        assert json.loads(config.to_json())["preset"] == preset and config.comparison in COMPARISONS
        assert (config.data, config.evaluation, config.train) == (first.data, first.evaluation, first.train)
        stage, other = config.stages.metric, first.stages.metric
        assert (stage.steps, stage.classes, stage.examples) == (other.steps, other.classes, other.examples)
        assert config.model.get("backbone") == first.model.get("backbone")
    assert made["global"].model.bottleneck.width == 8 * first.model.bottleneck.width == made["dense"].model.bottleneck.width


def test_proxies_learn_fast_where_there_are_some():
    rates = {loss: metric.get_config(f"global,loss={loss}").stages.metric.optimizer.multipliers for loss in metric.LOSSES}
    assert rates == {loss: ((("proxies", 10.0),) if loss in metric.PROXIES else ()) for loss in metric.LOSSES}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(name="arcface", sharpness=3.0), "config.loss has 'sharpness', which 'arcface' does not take; expected margin"),
        (dict(name="soft_triple"), "soft_triple without centres"),
        (dict(name="triplet", mining="foo"), "config.loss: triplet: mining is 'foo'; expected one of all, semi_hard, hard"),
        (dict(name="cosface", scale=-1.0), "config.loss: cosface: scale is -1.0"),
        (dict(name="wish"), "loss"),
    ],
)
def test_mistakes_in_a_loss_are_named(settings, message):
    with pytest.raises(partrep.UserError, match=message):
        check_loss(settings)
