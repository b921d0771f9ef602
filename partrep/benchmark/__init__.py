"""Benchmarks: each suite is `measure(settings) -> {name: number}` and says on the way what it measures."""

from partrep.benchmark import data, explain, levels, losses, parts, search, train

SUITES = {
    "train": train.measure,
    "data": data.measure,
    "parts": parts.measure,
    "levels": levels.measure,
    "explain": explain.measure,
    "losses": losses.measure,
    "search": search.measure,
}
