"""What exact search costs beside a flat index of FAISS and the brute force of scikit-learn, in the same rounds."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable

import numpy as np
from sklearn.neighbors import NearestNeighbors

from partrep.benchmark.timing import Numbers, Settings, interleaved, peak_bytes, prefixed, ratios
from partrep.search.engines import Searcher, faiss
from partrep.search.exact import Exact

WIDTH, NEAREST = 128, 10
QUERIES = (1, 100)

Call = Callable[[], tuple[np.ndarray, np.ndarray]]
"""Searches, and gives values and ids."""


def measure(settings: Settings) -> Numbers:
    """Milliseconds to find the ten nearest of unit vectors of 128 numbers by dot product, for one query and for 100.

    With the ratios of the others to this package's search, above one where they take longer, and the share of ids in
    which they agree with it. FAISS is left out where it is not installed.
    """
    made: Numbers = {}
    for rows in settings.search_rows:
        database = vectors(rows, 0)
        ready = engines(database)
        for count in QUERIES:
            queries = vectors(count, 1)
            calls = {name: bind(search, queries) for name, search in ready.items()}
            prefix = f"search/{rows}x{WIDTH}/{count}"
            settings.say(f"{prefix}: {', '.join(calls)}")
            made |= prefixed(prefix, compared(calls, settings.pairs, settings.say))
    return made | prefixed("search", peak_bytes())


def vectors(count: int, seed: int) -> np.ndarray:
    """f32 [count,128], each of length one."""
    drawn = np.random.default_rng(seed).normal(size=(count, WIDTH)).astype(np.float32)
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


def engines(database: np.ndarray) -> dict[str, Searcher]:
    """What searches the database, by name; `exact` comes first."""
    made: dict[str, Searcher] = {"exact": Exact.build(database, "dot").search}
    if importlib.util.find_spec("faiss") is not None:
        made["faiss"] = faiss(database)
    made["sklearn"] = functools.partial(_kneighbors, NearestNeighbors(algorithm="brute").fit(database))
    return made


def _kneighbors(fitted: NearestNeighbors, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    distances, ids = fitted.kneighbors(queries, k)
    return distances, ids


def bind(search: Searcher, queries: np.ndarray) -> Call:
    """The search for these queries."""
    return lambda: search(queries, NEAREST)


def compared(calls: dict[str, Call], rounds: int, say: Callable[[str], None]) -> Numbers:
    """Milliseconds of each, and ratios and agreement with `exact`."""
    ids = calls["exact"]()[1]
    agreement = {name: float((call()[1] == ids).mean()) for name, call in calls.items()}
    times = interleaved(calls, rounds, say)
    made: Numbers = {}
    for name, seconds in times.items():
        made[f"{name}/milliseconds"] = 1000 * float(np.median(seconds))
        if name != "exact":
            made |= prefixed(name, {**ratios(seconds, times["exact"]), "same_ids": agreement[name]})
    return made
