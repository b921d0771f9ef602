"""The presets of the metric learning config: one budget for all, and losses that exist."""

import json

import pytest

import partrep
from configs import metric
from partrep.models.comparisons import COMPARISONS
from partrep.tasks.metric import PAIR_LOSSES, PROXY_LOSSES
from partrep.tasks.metric_check import check_loss


def test_all_losses_are_known_and_take_their_settings():
    assert set(metric.LOSSES) == {*PAIR_LOSSES, *PROXY_LOSSES} and set(metric.PROXIES) == set(PROXY_LOSSES)
    for name, settings in metric.LOSSES.items():
        check_loss({"name": name, **settings})


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
    assert made["global"].model.bottleneck.width == 8 * first.model.bottleneck.width == 8 * made["dense"].model.bottleneck.width


def test_proxies_learn_fast_where_there_are_some():
    rates = {loss: metric.get_config(f"global,loss={loss}").stages.metric.optimizer.multipliers for loss in metric.LOSSES}
    assert rates == {loss: ((("proxies", 10.0),) if loss in metric.PROXIES else ()) for loss in metric.LOSSES}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(name="arcface", sharpness=3.0), "config.loss has 'sharpness', which 'arcface' does not take; expected margin"),
        (dict(name="soft_triple"), "soft_triple without centres"),
        (dict(name="wish"), "loss"),
    ],
)
def test_mistakes_in_a_loss_are_named(settings, message):
    with pytest.raises(partrep.UserError, match=message):
        check_loss(settings)
