"""Settings as frozen dataclasses, read from plain mappings (a ConfigDict, a dict of a JSON file)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

from ml_collections import ConfigDict

from partrep import UserError

T = TypeVar("T")


def from_mapping(cls: type[T], values: Any) -> T:
    """Returns the settings dataclass `cls` filled from a mapping, lists as tuples; an instance passes through.

    >>> @dataclasses.dataclass(frozen=True)
    ... class Pace:
    ...     steps: int = 10
    >>> from_mapping(Pace, {"steps": 3})
    Pace(steps=3)
    """
    if isinstance(values, cls):
        return values
    if not isinstance(values, Mapping | ConfigDict):
        raise UserError(f"{cls.__name__} settings: found {type(values).__name__}; expected a mapping")
    known = {field.name for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    unknown = sorted(set(values) - known)
    if unknown:
        raise UserError(f"{cls.__name__} settings: unknown {unknown[0]!r}; known: {', '.join(sorted(known))}")
    # JSON knows no tuples, and only these can be hashed.
    return cls(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})
