"""The one-shot evaluation's own pieces: episodes over the images they use, and the flat table."""

import numpy as np

from partrep.evaluate.fewshot import Episodes
from partrep.evaluate.readers import Choice
from partrep.tasks.oneshot_evaluation import compact, flat


def test_compact_episodes_name_the_same_images():
    rng = np.random.default_rng(0)
    images = rng.permutation(1000)[:30].astype(np.int32).reshape(3, 10)
    support, query = images[:, :6].reshape(3, 3, 2), images[:, 6:]
    labels = np.zeros((3, 4), np.int32)
    used, episodes = compact(Episodes(support, query, labels, np.ones((3, 3, 2), bool)))
    assert len(used) == 30 and episodes.support.dtype == np.int32
    np.testing.assert_array_equal(used[episodes.support], support)
    np.testing.assert_array_equal(used[episodes.query], query)
    assert episodes.query_label is labels


def test_flat_names_every_reader_and_leaves_out_what_was_not_measured():
    tables = {"parts": {"oneshot_error": 7.0, "oneshot_trials": 20.0}, "global pooling": {"oneshot_error": 9.0}}
    heads = {"parts": Choice("x", None, None, 0.9), "global pooling": Choice("y", None, None, float("nan"))}
    strokes = {"model": {"stroke_ami": 0.3}}
    assert flat(tables, strokes, heads, "parts") == {
        "oneshot_error": 7.0,
        "oneshot_trials": 20.0,
        "oneshot_error/parts": 7.0,
        "oneshot_error/global_pooling": 9.0,
        "validation_error/parts": 100 * (1 - 0.9),
        "strokes/model/stroke_ami": 0.3,
    }
