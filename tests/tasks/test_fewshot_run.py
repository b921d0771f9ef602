"""Preparing a run and running it: what is called when, on a task that is not trained."""

import pytest

from partrep import UserError
from partrep.tasks import fewshot_run


class Task:
    """A task with or without novel classes."""

    def __init__(self, novel):
        self.data = type("Data", (), {"novel": novel})


@pytest.fixture
def calls(monkeypatch):
    made = []

    def note(name, result):
        def call(*arguments):
            made.append(name)
            return result

        return call

    task = Task("novel")
    monkeypatch.setattr(fewshot_run, "check_settings", note("settings", None))
    monkeypatch.setattr(fewshot_run, "check_task", note("task", None))
    monkeypatch.setattr(fewshot_run.fewshot, "make", note("make", task))
    monkeypatch.setattr(fewshot_run.fewshot, "train", note("train", "state"))
    monkeypatch.setattr(fewshot_run, "evaluate", note("evaluate", "few-shot"))
    monkeypatch.setattr(fewshot_run, "evaluate_oneshot", note("evaluate one-shot", "one-shot"))
    return made, task


def test_everything_is_checked_before_the_workdir_is_known(calls, tmp_path):
    made, _ = calls
    job = fewshot_run.prepare({})
    assert made == ["settings", "make", "task"]
    assert job(tmp_path) == "few-shot" and made[3:] == ["train", "evaluate"]
    assert list(tmp_path.iterdir()) == []


def test_without_novel_classes_the_official_runs_are_scored(calls, tmp_path):
    _, task = calls
    task.data.novel = None
    assert fewshot_run.run(task, tmp_path) == "one-shot"


def test_wrong_settings_stop_before_the_data_is_read(calls, monkeypatch):
    made, _ = calls

    def refuse(config):
        raise UserError("no")

    monkeypatch.setattr(fewshot_run, "check_settings", refuse)
    with pytest.raises(UserError):
        fewshot_run.prepare({})
    assert made == []
