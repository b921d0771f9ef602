"""The one-shot evaluation's own pieces: the flat table."""

from partrep.evaluate.readers import Choice
from partrep.metrics.intervals import Interval
from partrep.tasks.oneshot_evaluation import flat


def test_flat_names_every_reader_and_leaves_out_what_was_not_measured():
    tables = {"parts": {"oneshot_error": 7.0, "oneshot_trials": 20.0}, "global pooling": {"oneshot_error": 9.0}}
    heads = {"parts": Choice("x", None, None, 0.9), "global pooling": Choice("y", None, None, float("nan"))}
    strokes = {"model": {"stroke_ami": 0.3}}
    leads = {"global pooling": Interval(-2.0, -3.5, -0.5), "fixed grid": None}
    assert flat(tables, strokes, heads, "parts", leads) == {
        "oneshot_error": 7.0,
        "oneshot_trials": 20.0,
        "oneshot_error/parts": 7.0,
        "oneshot_error/global_pooling": 9.0,
        "oneshot_error_minus/global_pooling": -2.0,
        "oneshot_error_minus/global_pooling_low": -3.5,
        "oneshot_error_minus/global_pooling_high": -0.5,
        "validation_error/parts": 100 * (1 - 0.9),
        "strokes/model/stroke_ami": 0.3,
    }
