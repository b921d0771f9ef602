"""Cards: the numbers add up, the contrast is right, the crops are the strongest."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest

from partrep.report import cards


def value(text: str) -> float:
    return float(text.replace("−", "-"))


def card(episode, contrast=False, names=()):
    return cards.episode_card(episode, contrast, names, "Example 1")


def test_rows_sum_to_the_logits(episode):
    made = card(episode)
    assert made.correct and made.predicted == "robin"
    for column in range(3):
        total = sum(value(row.cells[column]) for row in made.rows)
        assert total == pytest.approx(value(made.total[column]), abs=0.03)
    assert value(made.total[0]) == pytest.approx(2.3, abs=0.01)


def test_others_are_the_mean_of_the_other_classes(episode):
    first = card(episode).rows[0]
    assert first.name == "part 1"
    assert [value(c) for c in first.cells] == pytest.approx([2.25, 0.30, 1.95])


def test_parts_are_sorted_by_how_much_they_decided(episode):
    assert [row.part for row in card(episode).rows] == [0, 1, 2, None]
    assert card(episode).rows[-1].name == "arrangement"


def test_contrast_sets_predicted_against_true(episode):
    made = card(dataclasses.replace(episode, label=2), contrast=True)
    assert not made.correct
    assert made.columns == ("predicted", "true", "difference")
    assert [role for _, _, role in made.pairs] == ["predicted", "true"]
    assert [value(c) for c in made.rows[0].cells] == pytest.approx([2.25, 0.1, 2.15])
    strong = [set(re.findall(r'class="link" data-part="(\d)"', str(drawing))) for drawing, _, _ in made.pairs]
    assert strong == [{"0", "1"}, {"2"}]


def test_what_parts_do_not_explain_is_said(episode):
    made = card(dataclasses.replace(episode, logits=episode.logits + 0.5))
    assert made.rows[-1].name == cards.UNCREDITED
    assert made.rows[-1].cells == ("+0.50", "+0.50", "0.00")
    assert made.rows[-1].bar == ""


def test_without_contributions_only_the_regions_are_drawn(episode):
    made = card(dataclasses.replace(episode, contributions=None, terms={}))
    assert made.rows == () and made.total == () and len(made.pairs) == 1


def test_many_parts_share_a_row(episode, quadrants):
    parts = 40
    contributions = np.random.default_rng(0).normal(size=(3, parts))
    many = dataclasses.replace(
        episode,
        support_assignment=quadrants(3, parts),
        query_assignment=quadrants(1, parts)[0],
        contributions=contributions,
        logits=contributions.sum(1),
        terms={},
    )
    made = card(many)
    assert len(made.rows) == cards.MOST_ROWS
    assert made.rows[-1].name == f"{parts - cards.MOST_ROWS + 1} other parts"
    total = sum(value(row.cells[0]) for row in made.rows)
    assert total == pytest.approx(value(made.total[0]), abs=0.1)


def test_parts_without_a_region_are_marked(episode):
    hidden = episode.query_assignment.copy()
    hidden[1] = 0
    made = card(dataclasses.replace(episode, query_assignment=hidden))
    assert {row.part: row.seen for row in made.rows if row.part is not None} == {0: True, 1: False, 2: True}


def test_probabilities_are_a_softmax(episode):
    made = card(episode)
    expected = np.exp(episode.logits) / np.exp(episode.logits).sum()
    np.testing.assert_allclose([c.probability for c in made.candidates], expected)
    assert [c.is_predicted for c in made.candidates] == [False, True, False]


def test_probabilities_that_are_given_are_shown(episode):
    given = np.array([0.125, 0.5, 0.0625])  # the rest goes to classes that are not shown
    made = card(dataclasses.replace(episode, probabilities=given))
    assert [c.probability for c in made.candidates] == given.tolist()
    with pytest.raises(ValueError, match=r"EpisodePicture.probabilities \(2,\), expected \(3,\)"):
        dataclasses.replace(episode, probabilities=given[:2])


def test_huge_logits_do_not_overflow(episode):
    shares = [
        c.probability for c in card(dataclasses.replace(episode, logits=episode.logits * 1e4)).candidates
    ]
    assert np.isfinite(shares).all() and sum(shares) == pytest.approx(1)


def test_crops_come_from_the_strongest_images_of_different_classes(gallery):
    order = cards._strongest(gallery, 0)
    assert sorted(gallery.labels[order[:4]]) == [0, 1, 2, 3]
    assert order[0] == int(np.argmax(gallery.presence[:, 0]))
    unlabelled = dataclasses.replace(gallery, labels=None)
    assert cards._strongest(unlabelled, 0) == list(np.argsort(-gallery.presence[:, 0]))


def test_part_cards(gallery):
    made = cards.part_cards(gallery, ("wing",))
    assert [c.name for c in made] == ["Wing", "Part 2", "Part 3"]
    assert [len(c.crops) for c in made] == [cards.CROPS] * 3
    assert made[0].presence == pytest.approx(gallery.presence[:, 0].mean())
    assert made[0].area == pytest.approx(0.9 / 4)


def test_a_part_that_wins_nowhere_has_no_crops(gallery):
    silent = gallery.assignment.copy()
    silent[:, 1] = 0
    made = cards.part_cards(dataclasses.replace(gallery, assignment=silent), ())
    assert [len(c.crops) for c in made] == [cards.CROPS, 0, cards.CROPS]


def test_overview(gallery):
    assert len(cards.overview(gallery, 3)) == 3
    assert len(cards.overview(gallery, 30)) == 8


def test_greyscale_images(episode):
    grey = dataclasses.replace(episode, support=episode.support[..., :1], query=episode.query[..., :1])
    assert len(card(grey).candidates) == 3


def test_a_painting_shows_its_largest_parts_in_their_order_and_the_background_last(classify):
    many, few = (cards.painted_card(painting, ("beak",)) for painting in classify.paintings)
    assert [part for part, _, _ in many.layers] == [*range(2, 18), None]  # all but the two least wide
    assert [(part, name) for part, _, name in few.layers] == [(0, "beak"), (1, "part 2"), (None, "background")]


def test_a_painting_is_of_one_shape(classify):
    with pytest.raises(ValueError, match=r"Painting.layers \(3, 2, 4, 3\), expected \(2, 2, 4, 3\)"):
        dataclasses.replace(classify.paintings[1], shares=classify.paintings[1].shares[:2])
