"""The search for settings, with the trainings replaced: what it tries, keeps, refuses and writes."""

from __future__ import annotations

import json

import pytest

import partrep
from configs import classify as presets
from configs import metric as metric_presets
from configs import photos
from launch import runner, tune
from partrep.tasks import classify, classify_check, metric, metric_check

CLASSIFY = "configs/classify.py"


@pytest.fixture(autouse=True)
def in_checkout(monkeypatch, request):
    monkeypatch.chdir(request.config.rootpath)


@pytest.fixture
def tried(monkeypatch):
    """What was trained: (argument, world, setting as the command line gives it, overrides)."""
    made = []

    def accuracy(argument, axis, world, setting, overrides):
        assert axis == "data.world"
        made.append((argument, world, tune.named(setting), tuple(overrides)))
        return 0.1 * world + 0.01 * len(made)

    monkeypatch.setattr(tune, "validation_score", accuracy)
    return made


def call(tmp_path, *argv):
    arguments = [f"--config={CLASSIFY}:smoke,level=easy", "--presets=gap,slots", f"--out={tmp_path / 'found' / 'tuned.json'}"]
    tune.main(runner.parse_flags(tune.FLAGS, ["tune", *arguments, *argv]))
    return json.loads((tmp_path / "found" / "tuned.json").read_text())


def test_six_settings_of_each_preset_in_each_world(tried, tmp_path, capsys):
    found = call(tmp_path, "--worlds=0,3", "--config.seed=4")
    provenance, of = found.pop("provenance"), found.pop("of")
    assert of == {"config": f"{CLASSIFY}:smoke,level=easy", "backbone": "", "overrides": ["--config.seed=4"]}
    assert provenance["device"] and provenance["date"] and "launch.tune" in provenance["command"]
    assert list(found) == ["gap", "slots"] and len(tried) == len(set(tried)) == 2 * 2 * 6
    for preset, settings in found.items():
        assert list(settings) == sorted(tune.named(setting) for setting in tune.settings(presets.SEARCH[preset]))
        assert all(set(worlds) == {"0", "3"} for worlds in settings.values())
        arguments = {each[0] for each in tried if each[2] in settings}
        assert f"{CLASSIFY}:{preset},smoke,level=easy" in arguments
    assert {each[3] for each in tried} == {("--config.seed=4",)}
    # The last of each preset's settings scored best in both worlds.
    printed = capsys.readouterr().out.splitlines()
    best = list(tune.settings(presets.SEARCH["gap"]))[-1]
    assert f"gap: {tune.named(best)}, {(0.06 + 0.3 + 0.12) / 2:.3f}" in printed
    assert printed[-1] == f"tuning: {tmp_path / 'found' / 'tuned.json'}"


def test_what_was_found_is_kept(tried, tmp_path):
    first = call(tmp_path, "--presets=gap", "--worlds=0")
    tried.clear()
    again = call(tmp_path, "--worlds=0,1")
    assert [(argument.partition(":")[2].partition(",")[0], world) for argument, world, *_ in tried] == [
        *[("gap", 1)] * 6, *[("slots", 0)] * 6, *[("slots", 1)] * 6
    ]  # fmt: skip
    for setting, worlds in first["gap"].items():
        assert again["gap"][setting]["0"] == worlds["0"]


def test_a_file_of_another_config_is_refused(tried, tmp_path):
    call(tmp_path, "--presets=gap", "--worlds=0")
    with pytest.raises(partrep.UserError, match="holds a search of .* or another --out"):
        call(tmp_path, "--presets=gap", "--worlds=0", "--config.seed=1")


def test_a_search_that_is_cut_off_has_written_what_it_found(tried, tmp_path, monkeypatch):
    def stop(*_):
        if len(tried) == 3:
            raise KeyboardInterrupt
        tried.append(1)
        return 0.5

    monkeypatch.setattr(tune, "validation_score", stop)
    with pytest.raises(KeyboardInterrupt):
        call(tmp_path)
    saved = json.loads((tmp_path / "found" / "tuned.json").read_text())
    assert len([worlds for worlds in saved["gap"].values() if worlds == {"0": 0.5}]) == 3


@pytest.mark.parametrize("worlds", ["100", "0,117", "-1", "a", ""])
def test_worlds_to_report_on_are_refused(tried, tmp_path, worlds):
    with pytest.raises(partrep.UserError, match="expected numbers under 100, worlds that are not reported on"):
        call(tmp_path, f"--worlds={worlds}")
    assert not tried and not (tmp_path / "found").exists()


@pytest.mark.parametrize("argument", ["--config=", "--presets=", "--out="])
def test_what_is_missing_is_named(tried, tmp_path, argument):
    with pytest.raises(partrep.UserError, match="expected --config=configs/TASK.py, --presets=a,b and --out=FILE.json"):
        call(tmp_path, argument)


def test_an_unknown_preset_lists_those_of_the_config(tried, tmp_path):
    with pytest.raises(partrep.UserError, match="unknown preset 'petals'; expected one of landmarks, landmarks_tv"):
        call(tmp_path, "--presets=petals")


def scores(monkeypatch, task, check, number, value):
    """What a task whose trainings are replaced is given; its score on validation data is the value."""
    seen = {}
    monkeypatch.setattr(task, "make", lambda config: seen.setdefault("config", config))
    monkeypatch.setattr(task, "train", lambda task, workdir: seen.setdefault("workdir", workdir))
    monkeypatch.setattr(task, "validate", lambda task, state: {number: value})
    monkeypatch.setattr(check, "check_task", lambda task: None)
    return seen


def test_a_setting_reaches_the_config_of_its_world(monkeypatch):
    seen = scores(monkeypatch, classify, classify_check, "validation/accuracy", 0.25)
    runner.parse_flags(tune.FLAGS, ["tune", "--backbone=runs/gap-0-world{world}"])
    setting = list(tune.settings(presets.SEARCH["slots"]))[-1]
    assert tune.validation_score(f"{CLASSIFY}:slots,smoke", "data.world", 7, setting, ["--config.seed=2"]) == 0.25
    config = seen["config"]
    assert (config.data.world, config.seed, config.backbone_from) == (7, 2, "runs/gap-0-world7")
    assert (config.losses.spread, config.stages.joint.optimizer.learning_rate) == (0.5, 2e-2)
    assert seen["workdir"] is None


def test_metric_learning_is_tuned_by_map_at_r_with_one_search_for_all_presets(monkeypatch):
    seen = scores(monkeypatch, metric, metric_check, "validation/map@r", 0.125)
    runner.parse_flags(tune.FLAGS, ["tune", "--config=configs/metric.py:smoke"])
    axes = tune.axes_of(metric_presets.SEARCH, "dense")
    assert axes == tune.axes_of(metric_presets.SEARCH, "parts") == metric_presets.SEARCH["birds"]
    tried = list(tune.settings(axes))
    assert tune.validation_score("configs/metric.py:dense,smoke", "data.world", 1, tried[0], []) == 0.125
    assert seen["config"].data.world == 1 and seen["config"].stages.metric.optimizer.learning_rate == 2e-3
    assert runner.parse_config("configs/fewshot.py:smoke").task not in tune.SCORES


def test_photos_are_tuned_by_seed_on_photos_that_are_not_trained_on(monkeypatch):
    seen = scores(monkeypatch, classify, classify_check, "validation/accuracy", 0.5)
    runner.parse_flags(tune.FLAGS, ["tune", "--seeds=3,4"])
    config = runner.load_config("configs/photos.py:linear,smoke,fit=all")
    assert tune.repeated(config) == ("seed", [3, 4])
    setting = next(tune.settings(photos.SEARCH["linear"]))
    assert tune.validation_score("configs/photos.py:linear,smoke,fit=all", "seed", 3, setting, []) == 0.5
    assert (seen["config"].data.fit, seen["config"].seed) == ("part", 3)
    runner.parse_flags(tune.FLAGS, ["tune", "--worlds=0,1"])
    with pytest.raises(partrep.UserError, match="--worlds with photos; expected --seeds"):
        tune.repeated(config)
    runner.parse_flags(tune.FLAGS, ["tune", "--seeds=a"])
    with pytest.raises(partrep.UserError, match="--seeds=a; expected whole numbers from 0"):
        tune.repeated(config)


def test_a_file_without_a_search_is_refused(tried, tmp_path):
    (tmp_path / "found").mkdir()
    (tmp_path / "found" / "tuned.json").write_text("{}")
    with pytest.raises(partrep.UserError, match="holds no search"):
        call(tmp_path, "--presets=gap", "--worlds=0")
    with pytest.raises(partrep.UserError, match="has no SEARCH"):
        call(tmp_path, "--config=configs/fewshot.py", "--presets=gap", "--worlds=0")
    assert not tried


def test_the_best_is_of_the_worlds_asked_for(tried, tmp_path, capsys):
    """A world that an earlier call tried, and this one does not ask for, has no part in the choice."""
    call(tmp_path, "--presets=gap", "--worlds=0")
    call(tmp_path, "--presets=gap", "--worlds=1")
    best = list(tune.settings(presets.SEARCH["gap"]))[-1]
    assert f"gap: {tune.named(best)}, {0.1 + 0.12:.3f}" in capsys.readouterr().out.splitlines()
