"""Records check themselves."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from partrep.metrics.intervals import Interval
from partrep.report.content import EpisodePicture, PartGallery, Result


def test_result_from_intervals():
    row = Result.measured("pooled", Interval(0.5, 0.4, 0.6), Interval(0.1, 0.05, 0.15), vectors=1)
    assert (row.value, row.interval, row.vectors) == (0.5, (0.4, 0.6), 1)
    assert (row.difference, row.difference_interval) == (0.1, (0.05, 0.15))
    assert Result.measured("alone", Interval(0.5, 0.4, 0.6)).difference is None


@pytest.mark.parametrize(
    "fields",
    [
        {"value": 72.4},
        {"value": 0.5, "interval": (0.6, 0.4)},
        {"value": 0.5, "interval": Interval(0.5, 0.4, 0.6)},
        {"value": float("nan")},
    ],
)
def test_unsound_results_are_refused(fields):
    with pytest.raises(ValueError, match="parts"):
        Result("parts", **fields)


def test_prediction_is_the_largest_logit(episode):
    assert episode.predicted == 1
    assert dataclasses.replace(episode, class_names=()).names == ("class 1", "class 2", "class 3")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("logits", np.zeros(2)),
        ("label", 3),
        ("contributions", np.zeros((3, 4))),
        ("terms", {"arrangement": np.zeros(2)}),
        ("class_names", ("a",)),
        ("query_assignment", np.zeros((4, 8, 8))),
        ("support", np.zeros((2, 16, 16, 3))),
    ],
)
def test_episodes_that_do_not_fit_are_refused(episode, field, value):
    with pytest.raises(ValueError, match="EpisodePicture"):
        dataclasses.replace(episode, **{field: value})


def test_galleries_that_do_not_fit_are_refused(gallery):
    with pytest.raises(ValueError, match="PartGallery"):
        PartGallery(gallery.images[:3], gallery.assignment, gallery.presence)
    with pytest.raises(ValueError, match="presence"):
        PartGallery(gallery.images, gallery.assignment, gallery.presence[:, :2])


def test_episode_is_frozen(episode):
    with pytest.raises(dataclasses.FrozenInstanceError):
        episode.label = 0
    assert isinstance(episode, EpisodePicture)
