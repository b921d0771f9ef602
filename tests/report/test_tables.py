"""Numbers with intervals, and the terminal table."""

from __future__ import annotations

import pytest

from partrep.report.content import Result
from partrep.report.tables import difference_text, excludes_zero, format_table, percent_with_interval


@pytest.mark.parametrize(
    ("value", "interval", "text"),
    [
        (0.5, None, "50.0"),
        (0.5, (0.49, 0.51), "50.0 ± 1.0"),
        (0.0975, (0.07, 0.13), "9.8 [7.0, 13.0]"),
        (1.0, (1.0, 1.0), "100.0 ± 0.0"),
    ],
)
def test_percent_with_interval(value, interval, text):
    assert percent_with_interval(value, interval) == text


def test_differences_are_signed():
    row = Result("a", 0.5, difference=-0.28, difference_interval=(-0.33, -0.24))
    assert difference_text(row) == "−28.0 [−33.0, −24.0]"
    assert difference_text(Result("a", 0.5)) == "–"


def test_intervals_that_touch_zero_do_not_exclude_it():
    assert not excludes_zero((0.0, 0.1))
    assert excludes_zero((-0.2, -0.1))


def test_columns_line_up(results):
    lines = format_table(results).splitlines()
    assert len(lines) == 2 + len(results)
    assert len(lines[1]) == len(lines[0]) == max(map(len, lines))
    ends = {line.index("minus this") + len("minus this") for line in lines[:1]}
    assert ends == {len(lines[3])} == {len(lines[4])}
    for text in ("72.4 ± 0.8", "68.3 ± 0.9", "+4.1 ± 1.0", "256", "71.0 72.5 73.7", "augmented"):
        assert text in format_table(results)


def test_columns_that_nobody_fills_are_left_out():
    assert format_table([Result("a", 0.5)]).splitlines()[0].split() == [
        "method",
        "accuracy,",
        "%",
        "(95",
        "%)",
    ]


def test_long_names_are_cut_to_the_width():
    rows = [
        Result("parts", 0.5, (0.4, 0.6), 3, reference=True),
        Result("y" * 200, 0.5, None, 3, 0.1, (0.0, 0.2)),
    ]
    table = format_table(rows, width=80)
    assert "y…" in table
    assert max(map(len, table.splitlines())) <= 80


def test_further_settings_are_columns_without_intervals():
    rows = [Result("a", 0.5, further={"R@1": (0.625, 0.5, 0.75)}), Result("b", 0.25)]
    assert [line.split()[-1] for line in format_table(rows).splitlines() if line[0] != "-"] == ["R@1", "62.5", "–"]
