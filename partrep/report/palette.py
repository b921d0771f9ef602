"""One colour a part, the same everywhere on a page; the first eight serve colour-blind eyes as well."""

from __future__ import annotations

# Blue, orange, green, vermilion, pink, sky and yellow are those of Okabe and Ito (2008), made for
# colour-blind readers; the rest were added one by one, each as far as possible (in OKLab, under simulated
# protanopia, deuteranopia and tritanopia) from those before it.
PART_COLOURS = (
    "#0072b2",
    "#e69f00",
    "#009e73",
    "#d55e00",
    "#cc79a7",
    "#56b4e9",
    "#4a3aa8",
    "#f0e442",
    "#7a3b12",
    "#a9d18e",
    "#b2182b",
    "#01665e",
    "#7f6bff",
    "#c51b7d",
    "#e8c1d6",
    "#5c6470",
)


def part_colour(part: int) -> str:
    """Returns the colour of part `part` (from 0) as `#rrggbb`; after the sixteenth the colours repeat.

    >>> part_colour(0), part_colour(16)
    ('#0072b2', '#0072b2')
    """
    return PART_COLOURS[part % len(PART_COLOURS)]


def luminance(colour: str) -> float:
    """Returns the relative luminance of `#rrggbb` in [0, 1] (WCAG 2.2).

    >>> luminance("#ffffff"), luminance("#000000")
    (1.0, 0.0)
    """
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return round(0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2], 6)


def contrast(first: str, second: str) -> float:
    """Returns the WCAG contrast ratio of two colours, in [1, 21].

    >>> contrast("#000000", "#ffffff")
    21.0
    """
    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


def ink_on(colour: str) -> str:
    """Returns near-black or white, whichever is easier to read on `colour`.

    >>> ink_on("#f0e442"), ink_on("#4a3aa8")
    ('#111111', '#ffffff')
    """
    return max(("#111111", "#ffffff"), key=lambda ink: contrast(ink, colour))
