"""Elements of SVG and HTML written by hand: attributes and text escaped, numbers short."""

from __future__ import annotations

from markupsafe import Markup, escape


def number(value: float, decimals: int = 2) -> str:
    """Returns a coordinate with at most two decimals, or as many as given.

    >>> number(3.0), number(0.126), number(-0.0001)
    ('3', '0.13', '0')
    """
    text = f"{float(value):.{decimals}f}".rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text


def percent(share: float) -> str:
    """Returns a share of the width as an SVG length.

    >>> percent(0.125)
    '12.5%'
    """
    return f"{number(100 * share)}%"


def element(name: str, *children: object, **attributes: object) -> Markup:
    """Returns `<name ...>children</name>`: `_` in an attribute's name becomes `-`, `None` leaves it out.

    >>> element("text", "a < b", class_="tick", x=1.5, data_part=3, y=None)
    Markup('<text class="tick" x="1.5" data-part="3">a &lt; b</text>')
    """
    parts = []
    for key, value in attributes.items():
        if value is not None:
            text = number(value) if isinstance(value, float) else str(value)
            parts.append(f' {key.rstrip("_").replace("_", "-")}="{escape(text)}"')
    inner = "".join(escape(child) for child in children)
    return Markup(f"<{name}{''.join(parts)}>{inner}</{name}>")


def joined(pieces) -> Markup:
    """Returns pieces of markup as one."""
    return Markup("").join(pieces)
