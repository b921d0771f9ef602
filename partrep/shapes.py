"""Shape checks with readable errors, for functions that take plain arrays."""

from __future__ import annotations

from typing import Any

import numpy as np


def check_shapes(function: str, **arrays: tuple[Any, str]) -> dict[str, int]:
    """Binds axis letters to sizes; a `ValueError` names the array that does not fit and the expected axes.

    Each keyword is `name=(array, "B K h w")`; a letter means the same size everywhere. A leading `...`
    stands for any axes, a None array is skipped.

    >>> check_shapes("area_mean", features=(np.ones((2, 4, 4, 8)), "B h w D"))["D"]
    8
    >>> check_shapes("mean", features=(np.ones((2, 4, 4, 8)), "B h w D"), maps=(np.ones((2, 3)), "B K h w"))
    Traceback (most recent call last):
    ...
    ValueError: mean: maps has shape (2, 3); expected [B,K,h,w] with B=2, h=4, w=4
    """
    sizes: dict[str, int] = {}
    for name, (array, axes) in arrays.items():
        if array is None:
            continue
        letters, shape = axes.split(), np.shape(array)
        tail = letters[1:] if letters[0] == "..." else letters
        last = shape[len(shape) - len(tail) :] if len(tail) < len(letters) else shape
        if len(tail) != len(last) or any(sizes.get(a, n) != n for a, n in zip(tail, last)):
            known = ", ".join(f"{a}={sizes[a]}" for a in tail if a in sizes)
            wanted = f"[{','.join(letters)}]" + (f" with {known}" if known else "")
            raise ValueError(f"{function}: {name} has shape {shape}; expected {wanted}")
        sizes.update(zip(tail, last))
    return sizes
