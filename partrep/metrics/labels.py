"""Labels as integers: what metrics that count classes or clusters accept."""

from __future__ import annotations

import numpy as np

from partrep import UserError


def whole_numbers(values, name: str) -> np.ndarray:
    """Labels as int64, of the same shape; no copy of what is int64 already.

    Args:
        values: integers or booleans of any shape, or floats that are equal to their rounding.
        name: what the error calls them.

    Raises:
        UserError: another type, a fraction, NaN or an infinite value.

    Example:
        >>> whole_numbers([0.0, 2.0], "labels").tolist()
        [0, 2]
    """
    values = np.asarray(values)
    if values.dtype.kind not in "biuf":
        raise UserError(f"{name} of type {values.dtype}; expected integers")
    if values.dtype.kind == "f":
        broken = values[~np.isfinite(values) | (values != np.rint(values))]
        if broken.size:
            raise UserError(f"{name} with {broken[0]:g} among them; expected integers")
    return values.astype(np.int64, copy=False)
