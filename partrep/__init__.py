"""partrep: image representations made of parts, and what each part contributed to every prediction."""

from __future__ import annotations

__version__ = "0.1.0"


class UserError(Exception):
    """A mistake the user can mend: the message names, in one line, what was found and what was expected."""


def lookup(table: dict, name: str, kind: str):
    """Returns `table[name]`; an unknown name raises a `UserError` that lists the known ones.

    >>> lookup({"gap": 1, "slots": 2}, "slots", "part method")
    2
    """
    if name not in table:
        raise UserError(f"unknown {kind} {name!r}; known: {', '.join(sorted(map(str, table)))}")
    return table[name]
