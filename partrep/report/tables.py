"""Numbers as text: per cent with their intervals, and the results table of the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from partrep.report.content import Discovery, Interval, Result, Score


def percent_with_interval(value: float, interval: Interval | None, signed: bool = False) -> str:
    """Returns a share in per cent with its interval: `± half` where that says it all, else `[low, high]`.

    >>> percent_with_interval(0.712, (0.702, 0.722)), percent_with_interval(0.712, (0.69, 0.72))
    ('71.2 ± 1.0', '71.2 [69.0, 72.0]')
    >>> percent_with_interval(-0.031, (-0.042, -0.02), signed=True)
    '−3.1 ± 1.1'
    """
    scaled = None if interval is None else (100 * interval[0], 100 * interval[1])
    return number_with_interval(100 * value, scaled, 1, signed)


def number_with_interval(value: float, interval: Interval | None, decimals: int, signed: bool = False) -> str:
    """Returns a number with its interval, as `percent_with_interval` does.

    >>> number_with_interval(0.5, (0.48, 0.52), 3)
    '0.500 ± 0.020'
    """
    text = _number(value, decimals, signed)
    if interval is None:
        return text
    below, above = (round(abs(value - bound), decimals) for bound in interval)
    if abs(below - above) < 1.1 * 10**-decimals:
        return f"{text} ± {(interval[1] - interval[0]) / 2:.{decimals}f}"
    low, high = (_number(bound, decimals, signed) for bound in interval)
    return f"{text} [{low}, {high}]"


def _number(value: float, decimals: int, signed: bool = False) -> str:
    return f"{value:{'+' if signed else ''}.{decimals}f}".replace("-", "−")


def excludes_zero(interval: Interval | None) -> bool:
    """Returns True where the whole interval lies on one side of zero.

    >>> excludes_zero((0.01, 0.03)), excludes_zero((-0.01, 0.03)), excludes_zero(None)
    (True, False, False)
    """
    return interval is not None and (interval[0] > 0 or interval[1] < 0)


def difference_text(row: Result) -> str:
    """Returns the paired difference in percentage points, or a dash where there is none."""
    if row.difference is None:
        return "–"
    return percent_with_interval(row.difference, row.difference_interval, signed=True)


def reference_name(rows: Sequence[Result]) -> str | None:
    """Returns the name of the row from which differences are taken, or None."""
    return next((row.name for row in rows if row.reference), None)


def detail_columns(rows: Sequence[Result]) -> tuple[str, ...]:
    """Returns the headings of the rows' further columns, in order."""
    return tuple(dict.fromkeys(heading for row in rows for heading in row.details))


def further_columns(rows: Sequence[Result]) -> tuple[str, ...]:
    """Returns the headings of the rows' further settings, in order."""
    return tuple(dict.fromkeys(heading for row in rows for heading in row.further))


def further_text(row: Result, heading: str) -> str:
    """Returns the measure in a further setting with its interval, or a dash where there is none."""
    if heading not in row.further:
        return "–"
    value, low, high = row.further[heading]
    return percent_with_interval(value, (low, high))


def further_difference_text(row: Result, heading: str) -> str:
    """Returns the paired difference in a further setting in percentage points, or nothing where there is none."""
    if heading not in row.further_differences:
        return ""
    value, low, high = row.further_differences[heading]
    return percent_with_interval(value, (low, high), signed=True)


def format_table(rows: Sequence[Result], measure: str = "accuracy", width: int = 96) -> str:
    """Returns the results as an aligned table for a terminal; long names are cut to keep within `width`.

    >>> print(format_table([Result("parts", 0.712, (0.702, 0.722), 8, reference=True),
    ...                     Result("pooled", 0.68, (0.67, 0.69), 1, 0.032, (0.021, 0.043))]))
    method  accuracy, % (95 %)  vectors  parts minus this
    -----------------------------------------------------
    parts           71.2 ± 1.0        8                 –
    pooled          68.0 ± 1.0        1        +3.2 ± 1.1
    """
    columns = _columns(rows, measure)
    widths = [max(map(len, column)) for column in columns]
    widths[0] = min(widths[0], max(8, width - sum(w + 2 for w in widths[1:])))
    lines = [_line(cells, widths) for cells in zip(*columns)]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def format_scores(table: Discovery) -> str:
    """Returns a table of scores as aligned text for a terminal; a dash where a method has none.

    >>> print(format_scores(Discovery((Score("a", {"AMI": 0.5}, {"AMI": (0.4, 0.6)}), Score("b", {"level": 2.0})))))
                 AMI  level
    -----------------------
    a  0.500 ± 0.100      –
    b              –  2.000
    """
    columns = [["", *(row.name for row in table.rows)]]
    columns += [[name, *(_score(row, name) for row in table.rows)] for name in table.columns]
    widths = [max(map(len, column)) for column in columns]
    lines = [_line(cells, widths) for cells in zip(*columns)]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def _score(row: Score, column: str) -> str:
    if column not in row.values:
        return "–"
    return number_with_interval(row.values[column], row.intervals.get(column), 3)


def _columns(rows: Sequence[Result], measure: str) -> list[list[str]]:
    """The cells of the terminal table by column, heading first; columns that nobody fills are left out."""
    columns = [["method", *(row.name for row in rows)]]
    columns.append(
        [f"{measure}, % (95 %)", *(percent_with_interval(row.value, row.interval) for row in rows)]
    )
    if any(row.seeds for row in rows):
        columns.append(["seeds", *(" ".join(_number(100 * s, 1) for s in row.seeds) or "–" for row in rows)])
    if any(row.vectors is not None for row in rows):
        columns.append(["vectors", *("–" if row.vectors is None else str(row.vectors) for row in rows)])
    for heading in detail_columns(rows):
        columns.append([heading, *(str(row.details.get(heading, "–")) for row in rows)])
    for heading in further_columns(rows):
        known = (row.further.get(heading) for row in rows)
        columns.append([heading, *("–" if one is None else _number(100 * one[0], 1) for one in known)])
    if any(row.difference is not None for row in rows):
        columns.append([f"{reference_name(rows) or 'reference'} minus this", *map(difference_text, rows)])
    return columns


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first = cells[0] if len(cells[0]) <= widths[0] else cells[0][: widths[0] - 1] + "…"
    return "  ".join([first.ljust(widths[0]), *(c.rjust(w) for c, w in zip(cells[1:], widths[1:]))]).rstrip()
