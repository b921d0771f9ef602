"""Turns named arrays of another library into the variables of a backbone, by a table of names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
from flax import traverse_util

from partrep import UserError

Path = tuple[str, ...]
WRAPPING = re.compile(r"^(module\.)?(backbone\.)?")  # of DataParallel, and of DINO's training checkpoints
AXES = {
    "same": lambda x: x,
    "flat": lambda x: x.reshape(-1),
    "transposed": lambda x: x.T,
    "HWIO": lambda x: x.transpose(2, 3, 1, 0),  # from OIHW; of a depthwise convolution [C,1,h,w] -> [h,w,1,C]
    "patch": lambda x: x.transpose(2, 3, 1, 0).reshape(-1, len(x)),  # OIHW -> [H*W*I,O]
}
DIMENSIONS = {"transposed": 2, "HWIO": 4, "patch": 4}
# By kind of layer: the name of an array there -> collection and name here, axes.
KINDS: dict[str, dict[str, tuple[str, str, str]]] = {
    "conv": {"weight": ("params", "kernel", "HWIO"), "bias": ("params", "bias", "same")},
    "linear": {"weight": ("params", "kernel", "transposed"), "bias": ("params", "bias", "same")},
    "patches": {"weight": ("params", "kernel", "patch"), "bias": ("params", "bias", "same")},
    "norm": {"weight": ("params", "scale", "same"), "bias": ("params", "bias", "same")},
    "batch norm": {
        "weight": ("params", "scale", "same"),
        "bias": ("params", "bias", "same"),
        "running_mean": ("batch_stats", "mean", "same"),
        "running_var": ("batch_stats", "var", "same"),
    },
}


class Row(NamedTuple):
    """One line of a table of names.

    Attributes:
        pattern: regular expression for the whole name of a layer (without `.weight`), or of a single array.
        path: ours, with `/`; `{n}` stands for the rank of the numbers that the pattern's named groups caught,
            among all that groups of these names caught in the file. None: known, and not needed.
        kind: of layer, a key of `KINDS`; or, for a single array, of axes, a key of `AXES`.
    """

    pattern: str
    path: str | None
    kind: str


class Named(NamedTuple):
    """An array with our order of axes, and the name that it had."""

    name: str
    array: np.ndarray


Table = tuple[Row, ...]


def unwrapped(weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays by names without the prefixes of wrappers; the counters of batches are left out.

    >>> list(unwrapped({"module.conv1.weight": np.ones(1), "bn1.num_batches_tracked": np.ones(())}))
    ['conv1.weight']
    """
    kept = {name: array for name, array in weights.items() if not name.endswith("num_batches_tracked")}
    return {WRAPPING.sub("", name): array for name, array in kept.items()}


def leftover(names: Iterable[str], table: Table) -> list[str]:
    """The names that no row of the table knows."""
    return [name for name in names if _match(name, table) is None]


def renamed(weights: Mapping[str, np.ndarray], table: Table) -> dict[Path, Named]:
    """Arrays by our path, collection first, with our order of axes.

    Arguments:
        weights: arrays by name, from `unwrapped`.
        table: the rows; of several that match a name, the first counts.

    Raises:
        UserError: names that the table does not know, arrays with another number of axes.

    >>> found = renamed({"fc.weight": np.ones((2, 3))}, (Row("fc", "head", "linear"),))
    >>> {path: named.array.shape for path, named in found.items()}
    {('params', 'head', 'kernel'): (3, 2)}

    Source: own.
    """
    if unknown := leftover(weights, table):
        raise UserError(f"found {some(unknown)}; expected names of the network alone")
    places = _places(weights, table)
    wrong = [n for n, (_, axes) in places.items() if weights[n].ndim != DIMENSIONS.get(axes, weights[n].ndim)]
    if wrong:
        reasons = [f"{n} {weights[n].shape} (expected {DIMENSIONS[places[n][1]]} axes)" for n in wrong]
        raise UserError(f"shapes do not fit: {some(reasons)}")
    return {path: Named(name, AXES[axes](weights[name])) for name, (path, axes) in places.items()}


def fitted(found: Mapping[Path, Named], shapes: Any) -> dict[str, Any]:
    """The arrays as variables of the structure of `shapes`, float32.

    Arguments:
        found: from `renamed`.
        shapes: the variables of a backbone as arrays or `jax.ShapeDtypeStruct`.

    Raises:
        UserError: variables without an array, arrays without a variable, other shapes.

    >>> fitted({("params", "a"): Named("x", np.ones(2))}, {"params": {"a": np.zeros(2)}})["params"]["a"].tolist()
    [1.0, 1.0]

    Source: own.
    """
    expected = {path: tuple(leaf.shape) for path, leaf in traverse_util.flatten_dict(shapes).items()}
    if missing := ["/".join(path) for path in expected if path not in found]:
        raise UserError(f"nothing found for {some(missing)}; expected an array for each variable")
    if extra := [named.name for path, named in found.items() if path not in expected]:
        raise UserError(f"found {some(extra)}; expected a network of another size")
    if wrong := [path for path, named in found.items() if named.array.shape != expected[path]]:
        reasons = [f"{found[p].name} {found[p].array.shape} (expected {expected[p]})" for p in wrong]
        raise UserError(f"shapes do not fit, in our order of axes: {some(reasons)}")
    return traverse_util.unflatten_dict({path: _contiguous(named.array) for path, named in found.items()})


def some(names: list[str]) -> str:
    """The first few names, and how many there are.

    >>> some(["a", "b", "c", "d", "e"])
    'a, b, c and 2 more (5 in all)'
    """
    more = f" and {len(names) - 3} more ({len(names)} in all)" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def _contiguous(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array, np.float32)


def _match(name: str, table: Table) -> tuple[Row, str, re.Match] | None:
    """The row for an array, the array's name in its layer ("" where the row is for the array) and the match."""
    layer, _, leaf = name.rpartition(".")
    for row in table:
        if row.kind not in KINDS and (match := re.fullmatch(row.pattern, name)):
            return row, "", match
        if leaf in KINDS.get(row.kind, ()) and (match := re.fullmatch(row.pattern, layer)):
            return row, leaf, match
    return None


def _places(names: Iterable[str], table: Table) -> dict[str, tuple[Path, str]]:
    """Path and axes of each array; known ones that are not needed are left out."""
    matches = {name: match for name in names if (match := _match(name, table)) and match[0].path is not None}
    caught = {name: _numbers(match) for name, (_, _, match) in matches.items()}
    ranks = {groups: sorted({c[1] for c in caught.values() if c[0] == groups}) for groups, _ in caught.values()}
    places = {}
    for name, (row, leaf, _) in matches.items():
        groups, numbers = caught[name]
        path = tuple(str(row.path).format(n=ranks[groups].index(numbers)).split("/"))
        collection, *last, axes = KINDS[row.kind][leaf] if leaf else ("params", row.kind)
        places[name] = (collection, *path, *last), axes
    return places


def _numbers(match: re.Match) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """The names of a match's groups, and the numbers that they caught."""
    return tuple(match.groupdict()), tuple(int(number) for number in match.groupdict().values())
