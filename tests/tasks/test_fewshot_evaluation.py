"""What a few-shot run makes of its scores: rows, flat numbers and the sentence above the table."""

import numpy as np
import pytest

from partrep.evaluate.fewshot import EpisodeScores
from partrep.evaluate.readers import Reading
from partrep.metrics.intervals import mean_interval
from partrep.tasks.fewshot_evaluation import conclusion, flat, result_rows, slug
from partrep.tasks.readers import PARTS, POOLED, RAW

SETTINGS = {"shots": 1, "ways": 5}


def _scores(accuracy, fingerprint: str = "same") -> EpisodeScores:
    accuracy = np.asarray(accuracy, np.float64)
    return EpisodeScores(accuracy, mean_interval(accuracy), fingerprint)


def _made(pooled):
    scores = {RAW: _scores([0.2, 0.4]), PARTS: _scores([0.8, 0.6]), POOLED: _scores(pooled)}
    readings = {
        name: Reading(f"head of {name}", None, None, vectors, 0.9, scores[name], {"hard": _scores(hard)})
        for name, vectors, hard in ((PARTS, 8, [0.6, 0.4]), (POOLED, 1, [0.2, 0.2]))
    }
    return scores, readings


def test_rows_carry_the_paired_difference_to_the_main_reader():
    scores, readings = _made([0.5, 0.5])
    rows = {row.name: row for row in result_rows(scores, readings, PARTS)}
    assert rows[PARTS].reference and rows[PARTS].difference is None
    assert rows[PARTS].value == pytest.approx(0.7) and rows[PARTS].vectors == 8
    assert rows[POOLED].difference == pytest.approx(0.2)  # (0.8 - 0.5 + 0.6 - 0.5) / 2
    assert rows[RAW].vectors is None and rows[RAW].details == {}
    assert rows[POOLED].details == {"head": f"head of {POOLED}"}
    assert rows[POOLED].further == {"hard": pytest.approx((0.2, 0.2, 0.2))} and not rows[RAW].further


def test_flat_names_every_number_once():
    scores, readings = _made([0.5, 0.5])
    numbers = flat(scores, readings, PARTS, {"model": {"ami": 0.3}})
    assert numbers["novel/parts/accuracy"] == pytest.approx(0.7)
    assert numbers["novel/parts_minus_global_pooling"] == pytest.approx(0.2)
    assert numbers["novel/global_pooling/vectors"] == 1 and numbers["validation/parts/accuracy"] == 0.9
    assert numbers["discovery/model/ami"] == 0.3
    assert numbers["novel/parts/hard_accuracy"] == pytest.approx(0.5)
    assert numbers["novel/parts_minus_global_pooling/hard"] == pytest.approx(0.3)
    assert "validation/raw_pixels/accuracy" not in numbers and slug(RAW) == "raw_pixels"


@pytest.mark.parametrize(
    ("pooled", "verdict"), [([0.5, 0.3], "better than"), ([1.0, 0.8], "worse than"), ([1.0, 0.4], "about as well as")]
)
def test_the_conclusion_follows_the_interval(pooled, verdict):
    scores, readings = _made(pooled)
    assert f"{verdict} {POOLED} (1 vector an image" in conclusion(result_rows(scores, readings, PARTS), SETTINGS)


def test_scores_of_other_episodes_do_not_pair():
    scores, readings = _made([0.5, 0.5])
    scores[POOLED] = _scores([0.5, 0.5], "other")
    with pytest.raises(Exception, match="same episodes"):
        result_rows(scores, readings, PARTS)
