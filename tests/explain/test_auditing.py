"""The scores of explanations on effects made by hand: images are numbers, parts are rows, models are sums."""

from __future__ import annotations

import dataclasses
import warnings

import numpy as np
import pytest

from partrep import UserError
from partrep.data import birds
from partrep.explain.auditing import LOWER_IS_BETTER, POOLED, SCORES, Audit, contrast, regression, score, way_agreement
from partrep.explain.credit import PARTS, REGIONS
from partrep.explain.effects import Effects
from partrep.metrics.intervals import Interval
from partrep.tasks.classify_evaluation import OF_THE_MODEL

CODES = np.array([[0, 1, 2, -1, 3, 4], [0, 1, 5, -1, 6, 6], [1, 2, 3, -1, 3, 0], [2, 0, 5, -1, 1, 4]])
INFORMATIVE = CODES[0] >= 0
ROWS = np.repeat(np.arange(REGIONS)[:, None], 8, 1)  # the mask of every image: region r is row r
SUBSETS = birds.interventions.subsets()


def make(each=2, seed=0, **changes):
    """Effects of an additive model on `each` images of four classes; image i is filled with i, swapped ones with more."""
    rng = np.random.default_rng(seed)
    n = 4 * each
    part, _, surroundings = rng.normal(size=(3, n, PARTS))
    number = np.arange(n, dtype=np.float32)
    turn = np.arange(n) % PARTS
    swapped = number + (1 + turn) / 8
    values = {
        "images": np.broadcast_to(number[:, None, None, None], (n, 8, 8, 3)),
        "masks": np.broadcast_to(ROWS, (n, 8, 8)),
        "labels": np.repeat(np.arange(4), each),
        "predicted": np.repeat(np.arange(4), each),
        "rivals": np.repeat([1, 0, 0, 0], each),
        "classes": CODES,
        "subsets": 3.0 + SUBSETS @ part.T,
        "swap": 1.5 * part,
        "swapped": np.broadcast_to(swapped[:, None, None, None], (n, 8, 8, 3)),
        "swapped_masks": np.broadcast_to(ROWS, (n, 8, 8)),
        "swapped_part": turn,
        "remove": part,
        "hide": 0.5 * part + 1,
        "alone": np.ones((n, PARTS), bool),
        "background": surroundings[:, 0],
        "recolour": 0.25 * part,
        "ring": surroundings[:, 1],
        "twin": 3.0 + SUBSETS @ part.T,
        "extrapolated": False,
    }
    values |= {"subsets": values["subsets"].T, "twin": values["twin"].T}
    return Effects(**values | changes)


def rows(credit):
    """Credit of the regions [n,8] -> maps [n,8,1]: a row of eight pixels is one cell."""
    return np.asarray(credit, float)[..., None]


def number_of(images):
    """Which image it is, and whether a swap changed it: index [n], and the part swapped, -1 for none."""
    value = np.asarray(images)[:, 0, 0, 0]
    return value.astype(int), np.round(8 * (value % 1)).astype(int) - 1


def explain_by(table):
    """An explanation that gives image i the credit table[i] [8], whatever the class."""
    return lambda images, classes: rows(table[number_of(images)[0]])


def with_parts(credit, around=0.0, body=0.0):
    """Credit of all regions [n,8] from that of the parts."""
    ones = np.ones((len(credit), 1))
    return np.concatenate([around * ones, body * ones, credit], 1)


def scores_of(effects, table, informative=INFORMATIVE):
    return score(effects, {"it": explain_by(table)}, informative).scores["it"]


def test_credit_that_is_the_shapley_values_agrees_in_everything():
    effects = make()
    found = scores_of(effects, with_parts(effects.shapley))
    for name in ("correctness", "swap", "explained", "slope"):
        assert found[name] == pytest.approx((1, 1, 1), abs=1e-5), name
    assert found["outside"].mean == 0


def test_negated_credit_orders_everything_the_other_way():
    effects = make()
    found = scores_of(effects, with_parts(-3 * effects.shapley))
    assert found["correctness"].mean == found["swap"].mean == -1
    assert found["slope"].mean == pytest.approx(-1 / 3) and found["explained"].mean == pytest.approx(1)


def test_credit_at_random_agrees_with_nothing():
    effects = make(each=200)
    rng = np.random.default_rng(5)
    audit = score(effects, {"it": explain_by(rng.normal(size=(800, REGIONS)))}, INFORMATIVE)
    for found in (audit.scores["it"], audit.scores["random"]):
        for name in ("correctness", "swap", "background"):  # a rank correlation of six deviates by 0.45, of n by n^-1/2
            assert abs(found[name].mean) < 0.05, name
        assert found["explained"].mean < 0.01
        assert found["correctness"].low < 0 < found["correctness"].high
    assert abs(audit.scores["it"]["contrast"].mean) == 0  # the same for both classes: nothing for one against the other


def test_equal_credit_orders_nothing_and_the_oracle_everything():
    audit = score(make(), {}, INFORMATIVE)
    for name in ("equal parts", "visible area", "whole image"):
        assert audit.scores[name]["correctness"] == (0, 0, 0) and audit.scores[name]["explained"].mean == 0
    assert audit.scores["oracle"]["correctness"].mean == 1
    assert audit.scores["oracle"]["explained"].mean == pytest.approx(1)
    assert not {"spill", "contrast"} & set(audit.scores["oracle"])  # it is the same for every class


def spilling(swapped, others):
    """Credit 1 everywhere, and after a swap of part i that much more on part i, and on every other region."""

    def explain(images, classes):
        _, part = number_of(images)
        here = np.arange(REGIONS) == 2 + part[:, None]
        return rows(1 + (part >= 0)[:, None] * np.where(here, swapped, others))

    return explain


@pytest.mark.parametrize(
    "swapped, others, expected", [(2.0, 0.0, 0.0), (0.0, -1.0, 1.0), (7.0, 1.0, 0.5), (-7.0, 3.0, 0.75)]
)
def test_spill_is_the_share_of_the_change_that_other_regions_get(swapped, others, expected):
    found = score(make(), {"it": spilling(swapped, others)}, INFORMATIVE).scores["it"]
    assert found["spill"].mean == pytest.approx(expected)


def test_swaps_that_change_no_credit_have_no_spill():
    def explain(images, classes):
        index, part = number_of(images)
        credit = np.ones((len(index), REGIONS))
        credit[part == 0, 2] += 1  # images 0 and 6: clean
        credit[part == 3, 0] += 1  # image 3: all of it spilled; the others never change
        return rows(credit)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = score(make(), {"it": explain}, INFORMATIVE).scores["it"]
    assert found["spill"].mean == pytest.approx(1 / 3)
    constant = score(make(), {"it": lambda images, classes: np.ones((len(images), 8, 8))}, INFORMATIVE).scores["it"]
    assert "spill" not in constant


def test_credit_of_parts_that_say_nothing_is_a_share_of_the_sizes():
    credit = with_parts(np.tile([1.0, -2.0, 0.0, -3.0, 2.0, 0.0], (8, 1)), around=4.0, body=100.0)
    found = scores_of(make(), credit)
    assert found["irrelevant"].mean == pytest.approx(3 / 8)  # of the parts' credit
    assert found["outside"].mean == pytest.approx(4 / 112)  # of all
    assert "irrelevant" not in scores_of(make(), credit, np.ones(PARTS, bool))


def test_contrast_by_hand():
    difference = np.array([[5.0, 1.0, 3.0, 3.0, 0.0, 9.0]] * 4)
    differ = np.array(
        [
            [1, 0, 0, 0, 0, 1],  # above all four others
            [0, 0, 1, 0, 1, 0],  # 3 beats one, ties with one and loses to two; 0 loses to four: -1 - 4 of 8
            [1, 1, 1, 1, 1, 1],
            [0, 0, 0, 0, 0, 0],
        ],
        bool,
    )
    found = contrast(difference, differ)
    np.testing.assert_allclose(found, [1.0, -5 / 8, np.nan, np.nan])
    np.testing.assert_allclose(contrast(-difference, differ), -found)


def test_contrast_is_of_the_class_against_its_rival():
    effects = make()
    differ = CODES[effects.predicted] != CODES[effects.rivals]
    assert differ.tolist()[0] == [False, False, True, False, True, True]

    def explain(images, classes):
        """Credit for what is the class's own: more where its rival differs, for the predicted class alone."""
        index, _ = number_of(images)
        own = (classes == effects.predicted[index])[:, None]
        return rows(with_parts(np.where(own == differ[index], 1.0, 0.5)))

    found = score(effects, {"it": explain}, INFORMATIVE).scores["it"]["contrast"]
    assert found.mean == 1
    opposite = score(effects, {"it": lambda x, c: -explain(x, c)}, INFORMATIVE).scores["it"]["contrast"]
    assert opposite.mean == -1


def test_images_of_classes_that_differ_everywhere_have_no_contrast():
    codes = np.array([[0, 0, 0, 0, 0, 0], [1, 1, 1, 0, 1, 1], [2] * 6, [3] * 6])  # only 0 and 1 share a part
    effects = make(classes=codes, rivals=np.repeat([1, 0, 3, 2], 2))

    def explain(images, classes):
        index, _ = number_of(images)
        credit = np.zeros((len(index), PARTS))
        credit[:, 0] = np.where((classes == effects.predicted[index]) & (index < 2), 1.0, 0.0)
        return rows(with_parts(credit))

    found = score(effects, {"it": explain}, INFORMATIVE).scores["it"]["contrast"]
    assert found.mean == pytest.approx((0.2 + 0.2 + 0 + 0) / 4)  # one of five pairs of images 0 and 1; four images


@pytest.mark.parametrize("sign", [1, -1])
def test_credit_outside_the_bird_goes_with_the_effect_of_the_habitat(sign):
    effects = make()
    credit = with_parts(effects.shapley)
    credit[:, 0] = sign * np.exp(effects.background)  # its order is what counts
    found = scores_of(effects, credit)
    assert found["background"] == (sign, sign, sign)
    assert abs(scores_of(effects, with_parts(effects.shapley, body=1.0))["background"].mean) == 0


def test_images_where_a_score_is_not_defined_are_left_out():
    effects = make()
    table = with_parts(effects.shapley, around=1.0)
    table[3] = 0.0  # no credit anywhere, so no share of it outside
    sizes = np.abs(table).sum(1)
    expected = np.delete(1 / np.where(sizes, sizes, 1), 3)
    found = scores_of(effects, table)
    assert found["outside"].mean == pytest.approx(np.mean(expected))
    assert found["outside"].low < found["outside"].mean < found["outside"].high
    assert found["correctness"].mean == pytest.approx(7 / 8)  # a map without order agrees as chance does


def test_intervals_are_over_classes():
    """All images of a class alike: the interval is as wide as that of one image a class."""
    credit = np.array([1.0, 1.0, -1.0, -1.0])
    widths = []
    for each in (1, 50):
        effects = make(each)
        found = scores_of(effects, with_parts(effects.shapley * np.repeat(credit, each)[:, None]))["correctness"]
        assert found.mean == pytest.approx(0)
        widths.append(found.high - found.low)
    assert widths[0] == pytest.approx(widths[1], abs=0.1) and widths[0] > 1


def test_the_model_s_own_numbers():
    predicted = np.repeat(np.arange(4), 2)
    predicted[0] = 3
    twin = make(seed=7)
    pair = SUBSETS[:, 0] & SUBSETS[:, 1]
    effects = make(predicted=predicted, twin=twin.subsets, subsets=np.tile(4.0 * pair, (8, 1)))
    found = score(effects, {}, INFORMATIVE).model
    assert set(found) == {"accuracy", *OF_THE_MODEL}  # what the page says, beside its table of accuracy
    assert found["accuracy"] == 7 / 8
    # The product of two independent halves: of its variance 3/16 no sum explains 1/16.
    assert found["interaction"] == pytest.approx(1 / 3, abs=1e-4)
    assert found["part_effect"] == pytest.approx(np.abs(effects.swap).mean())
    assert found["recolour_effect"] == pytest.approx(found["part_effect"] / 6)
    assert found["background_effect"] == pytest.approx(np.abs(effects.background).mean())
    assert found["ring_effect"] == pytest.approx(np.abs(effects.ring).mean())
    same = make()
    assert score(same, {}, INFORMATIVE).model["ceiling"] == 1
    assert score(dataclasses.replace(same, twin=-same.twin), {}, INFORMATIVE).model["ceiling"] == -1
    assert abs(found["ceiling"]) < 1


def test_the_ways_agree_by_their_worst_pair():
    effects = make()
    assert way_agreement(effects) == pytest.approx(1)
    opposed = dataclasses.replace(effects, hide=-effects.hide)
    assert way_agreement(opposed) == pytest.approx(-1)
    assert score(effects, {}, INFORMATIVE).valid and not score(opposed, {}, INFORMATIVE).valid
    # Where a branch hides two parts it is another intervention.
    alone = np.arange(PARTS) < 3
    half = dataclasses.replace(
        effects, hide=np.where(alone, effects.hide, -9.0), alone=np.broadcast_to(alone, effects.alone.shape)
    )
    assert way_agreement(half) == pytest.approx(1)
    assert way_agreement(dataclasses.replace(effects, alone=effects.alone & False)) == 0


def test_the_table_shows_every_score_or_that_none_is_valid():
    effects = make()
    audit = score(effects, {"it": spilling(1.0, 1.0)}, INFORMATIVE)
    lines = audit.table().splitlines()
    assert len({len(line) for line in lines}) == 1
    assert lines[0].split() == list(SCORES)
    cells = {line[:12].strip(): line[12:].split() for line in lines[1:]}
    assert list(cells) == [*audit.scores] and "it" in cells and "equal parts" in cells
    by_name = dict(zip(SCORES, cells["oracle"]))
    assert by_name["correctness"] == "1.00" and by_name["contrast"] == by_name["spill"] == "–"
    broken = Audit({"agreement": 0.314}, audit.scores, audit.correctness, False, False)
    assert broken.table() == "not valid: swap, remove and hide agree by 0.314; expected 0.8"
    some = Audit({}, {"a": {"swap": Interval(0.25, 0, 1)}, "long name": {}}, {}, True, False)
    assert some.table() == "                  swap\na                 0.25\nlong name            –"


def test_the_scores_and_their_directions_are_known():
    audit = score(make(), {"it": spilling(1.0, 1.0)}, INFORMATIVE)
    assert set(audit.scores["it"]) == set(SCORES)
    assert set(POOLED) < set(SCORES) and set(LOWER_IS_BETTER) < set(SCORES)
    assert not audit.extrapolated and score(make(extrapolated=True), {}, INFORMATIVE).extrapolated


@pytest.mark.parametrize("name", ["random", "oracle", "equal parts"])
def test_a_name_that_is_a_baseline_s_is_refused(name):
    with pytest.raises(UserError, match=f"an explanation is named '{name}', as a baseline is; expected another name"):
        score(make(), {name: explain_by(np.zeros((8, REGIONS)))}, INFORMATIVE)


def test_an_explanation_of_another_shape_is_refused():
    with pytest.raises(UserError, match=r"an explanation has shape \(8, 3, 3\)"):
        score(make(), {"it": lambda images, classes: np.zeros((8, 3, 3))}, INFORMATIVE)


def test_regression_by_hand():
    assert regression(np.array([0.0, 0.0, 2.0, 2.0]), np.array([0.0, 2.0, 4.0, 6.0])) == pytest.approx((2.0, 0.8))
    assert regression(np.ones(4), np.arange(4.0)) == regression(np.arange(4.0), np.ones(4)) == (0.0, 0.0)
