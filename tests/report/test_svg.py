"""Markup by hand: everything is escaped once, numbers are short."""

from __future__ import annotations

from markupsafe import Markup

from partrep.report.svg import element, joined, number, percent


def test_text_and_attributes_are_escaped():
    made = element("text", "<script>&", title='" onload="x')
    assert made == '<text title="&#34; onload=&#34;x">&lt;script&gt;&amp;</text>'


def test_markup_is_not_escaped_again():
    assert element("g", element("a", "<")) == "<g><a>&lt;</a></g>"
    assert joined([Markup("<b></b>"), element("i")]) == "<b></b><i></i>"


def test_attribute_names_and_absent_values():
    assert (
        element("path", class_="a b", stroke_width=1.0, fill=None)
        == '<path class="a b" stroke-width="1"></path>'
    )


def test_numbers():
    assert [number(v) for v in (2, 10.0, 0.005, -1.239, 100.0)] == ["2", "10", "0.01", "-1.24", "100"]
    assert percent(1) == "100%"
