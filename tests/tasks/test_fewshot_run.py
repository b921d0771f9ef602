"""Preparing a run and running it: what is called when, on a task that is not trained."""

import dataclasses

import pytest

from partrep import UserError
from partrep.tasks import fewshot_run, outcome


@dataclasses.dataclass
class State:
    """What a run reads of the state it trained."""

    step: int = 6
    best_step: int = -1
    eval_variables: str = "last"


class Task:
    """A task with or without novel classes."""

    def __init__(self, novel):
        self.data = type("Data", (), {"novel": novel})


@pytest.fixture
def calls(monkeypatch):
    made, seen = [], {}

    def note(name, result):
        def call(*arguments):
            made.append(name)
            seen[name] = arguments
            return result

        return call

    task = Task("novel")
    monkeypatch.setattr(fewshot_run, "check_settings", note("settings", None))
    monkeypatch.setattr(fewshot_run, "check_task", note("task", None))
    monkeypatch.setattr(fewshot_run.fewshot, "make", note("make", task))
    monkeypatch.setattr(fewshot_run.fewshot, "train", note("train", State()))
    monkeypatch.setattr(outcome, "load_variables", lambda folder, step: (f"{folder.name} {step}", step))
    monkeypatch.setattr(outcome.sharding, "replicate", lambda variables: variables)
    monkeypatch.setattr(fewshot_run, "evaluate", note("evaluate", "few-shot"))
    monkeypatch.setattr(fewshot_run, "evaluate_oneshot", note("evaluate one-shot", "one-shot"))
    return made, task, seen


def test_everything_is_checked_before_the_workdir_is_known(calls, tmp_path):
    made, _, _ = calls
    job = fewshot_run.prepare({})
    assert made == ["settings", "make", "task"]
    assert job(tmp_path) == "few-shot" and made[3:] == ["train", "evaluate"]
    assert list(tmp_path.iterdir()) == []


def test_without_novel_classes_the_official_runs_are_scored(calls, tmp_path):
    _, task, _ = calls
    task.data.novel = None
    assert fewshot_run.run(task, tmp_path) == "one-shot"


@pytest.mark.parametrize("best, variables", [(-1, "last"), (6, "last"), (4, "checkpoints 4")])
def test_the_best_validated_state_is_evaluated_where_one_is_recorded(best, variables, calls, monkeypatch, tmp_path):
    _, task, seen = calls
    monkeypatch.setattr(fewshot_run.fewshot, "train", lambda *_: State(best_step=best))
    fewshot_run.run(task, tmp_path)
    assert seen["evaluate"][:2] == (task, variables)


def test_wrong_settings_stop_before_the_data_is_read(calls, monkeypatch):
    made, _, _ = calls

    def refuse(config):
        raise UserError("no")

    monkeypatch.setattr(fewshot_run, "check_settings", refuse)
    with pytest.raises(UserError):
        fewshot_run.prepare({})
    assert made == []
