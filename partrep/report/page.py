"""Writes the reports: one self-contained HTML page each, put in place whole or not at all."""

from __future__ import annotations

import functools
import json
import pathlib
from collections.abc import Mapping, Sequence

import jinja2

from partrep import __version__
from partrep.report import cards, curves, figures, palette, tables
from partrep.report.content import (
    ClassifyPage,
    ComparePage,
    Discovery,
    EpisodePicture,
    FewshotPage,
    MetricPage,
    OpensetPage,
    Page,
    RunPage,
)
from partrep.train.disk import replaced

OVERVIEW = 6  # images shown with all their parts above the gallery
MOST_PANELS = 9  # learning curves shown before "more"


def write_report(path: pathlib.Path, page: RunPage) -> pathlib.Path:
    """Writes the report of one run to `path` (through a temporary file beside it) and returns the path."""
    return write_page(path, render_report(page))


def write_compare(path: pathlib.Path, page: ComparePage) -> pathlib.Path:
    """Writes the comparison of presets and seeds to `path` and returns the path."""
    return write_page(path, render_compare(page))


def render_report(page: RunPage) -> str:
    """Returns the report of one run as HTML, by the kind of its page."""
    if isinstance(page, ClassifyPage):
        return render_classify(page)
    if isinstance(page, MetricPage):
        return render_metric(page)
    if isinstance(page, OpensetPage):
        return render_openset(page)
    assert isinstance(page, FewshotPage)
    return render_fewshot(page)


def render_metric(page: MetricPage) -> str:
    """Returns the report of metric learning as HTML."""
    return _render_run("metric.html.j2", page, matches=_cards(page.matches, False, page.part_names, "Query"))


def render_fewshot(page: FewshotPage) -> str:
    """Returns the few-shot report as HTML."""
    return _render_run("fewshot.html.j2", page, episodes=_cards(page.episodes, False, page.part_names, "Example"))


def render_classify(page: ClassifyPage) -> str:
    """Returns the report of a classifier as HTML."""
    predictions = _cards(page.predictions, False, page.part_names, "Image")
    tables = {name: _discovery(getattr(page, name)) for name in ("audit", "reliance", "localisation")}
    paintings = [cards.painted_card(painting, page.part_names) for painting in page.paintings]
    return _render_run("classify.html.j2", page, predictions=predictions, paintings=paintings, **tables)


def render_openset(page: OpensetPage) -> str:
    """Returns the report of open-set recognition as HTML."""
    tables = {name: _discovery(getattr(page, name)) for name in ("scores", "kinds")}
    names = page.part_names
    fooled = [(one.title, [cards.misjudged_card(image, names) for image in one.images]) for one in page.fooled]
    curves_of = _panels(curves.compare_panels(page.histories))
    return _render_run("openset.html.j2", page, curves_of=curves_of, fooled=fooled, **tables)


def _render_run(template: str, page: RunPage, **own: object) -> str:
    """The report of one run: what all of them show, and what is its task's own."""
    names = page.part_names
    return (
        _environment()
        .get_template(template)
        .render(
            page=page,
            results=_results(page),
            discovery=_discovery(page.discovery),
            panels=_panels(curves.panels(page.history)),
            stages=curves.stages(page.history),
            failures=_cards(page.failures, True, names, "Failure"),
            parts=cards.part_cards(page.gallery, names) if page.gallery else (),
            overview=cards.overview(page.gallery, OVERVIEW) if page.gallery else (),
            config=json.dumps(page.config, indent=2, default=str, ensure_ascii=False) if page.config else "",
            **own,
        )
    )


def _cards(drawn: Sequence[EpisodePicture], contrast: bool, names: tuple[str, ...], title: str) -> list[cards.Card]:
    return [cards.episode_card(one, contrast, names, f"{title} {i + 1}") for i, one in enumerate(drawn)]


def render_compare(page: ComparePage) -> str:
    """Returns the comparison as HTML."""
    return (
        _environment()
        .get_template("compare.html.j2")
        .render(
            page=page,
            results=_results(page),
            discovery=_discovery(page.discovery),
            sections=[(title, _discovery(table)) for title, table in page.sections],
            panels=_panels(curves.compare_panels(page.histories)),
            config="",
        )
    )


def write_page(path: pathlib.Path, html: str) -> pathlib.Path:
    """Writes `html` beside `path` and renames it into place, so that no reader meets half a page."""
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replaced(path) as unfinished:
        unfinished.write_text(html, encoding="utf-8")
    return path


@functools.cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(pathlib.Path(__file__).parent / "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.globals.update(
        version=__version__,
        part_colour=palette.part_colour,
        ink_on=palette.ink_on,
        curve=figures.curve,
    )
    environment.filters["plain"] = plain
    return environment


def plain(value: object) -> str:
    """Returns a value as a reader wants it: floats short, lists with commas, None as a dash.

    >>> plain(0.123456), plain([1, "a"]), plain(None), plain({"jax": "0.10"}), plain(12345)
    ('0.1235', '1, a', '–', 'jax 0.10', '12345')
    """
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {plain(inner)}" for key, inner in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(map(plain, value))
    return str(value)


def _results(page: Page) -> dict:
    """The results table: its rows beside their drawings, and the headings in use."""
    rows = page.results
    axis = figures.results_axis(rows, page.chance) if rows else None
    shown = page.chance if axis and page.chance is not None and axis.low <= page.chance <= axis.high else None
    return {
        "rows": [_result_row(row, axis, shown) for row in rows],
        "axis": figures.axis_labels(axis) if axis else "",
        "reference": tables.reference_name(rows),
        "details": tables.detail_columns(rows),
        "further": tables.further_columns(rows),
        "has_vectors": any(row.vectors is not None for row in rows),
        "has_seeds": any(row.seeds for row in rows),
        "has_differences": any(row.difference is not None for row in rows),
        "chance": None if page.chance is None else f"{100 * page.chance:.3g}",
        "chance_drawn": shown is not None,
    }


def _result_row(row, axis, chance) -> dict:
    return {
        "row": row,
        "value": tables.percent_with_interval(row.value, row.interval),
        "difference": tables.difference_text(row),
        "further": {heading: tables.further_text(row, heading) for heading in row.further},
        "further_differences": {heading: tables.further_difference_text(row, heading) for heading in row.further},
        "open": row.difference_interval is not None and not tables.excludes_zero(row.difference_interval),
        "seeds": " · ".join(f"{100 * seed:.1f}" for seed in row.seeds),
        "plot": figures.whisker(row, axis, chance),
    }


def _discovery(discovery: Discovery | None) -> dict | None:
    """The part discovery table: one cell a number, with its bar, and the best of each column marked."""
    if discovery is None or not discovery.rows:
        return None
    columns = [_score_column(discovery, column) for column in discovery.columns]
    return {
        "columns": discovery.columns,
        "lower": discovery.lower_is_better,
        "directionless": discovery.directionless,
        "rows_are": discovery.rows_are,
        "rows": [(row, [column[i] for column in columns]) for i, row in enumerate(discovery.rows)],
        "note": discovery.note,
        "descriptions": discovery.descriptions,
    }


def _score_column(discovery: Discovery, column: str) -> list[dict | None]:
    values = [row.values.get(column) for row in discovery.rows]
    known = [value for value in values if value is not None]
    axis = figures.Axis(min(0.0, *known, 0.0), max(*known, 1e-9, 0.0) * 1.02, ())
    best = min(known) if column in discovery.lower_is_better else max(known)
    marked = column not in discovery.directionless
    return [
        None
        if value is None
        else {
            "text": tables.number_with_interval(value, row.intervals.get(column), 3),
            "best": marked and value == best,
            "bar": figures.score_bar(value, axis, row.intervals.get(column)),
        }
        for row, value in zip(discovery.rows, values)
    ]


def _panels(made: tuple[curves.Panel, ...]) -> dict:
    return {"first": made[:MOST_PANELS], "more": made[MOST_PANELS:]}
