"""How the benchmarks measure: interleaved rounds, medians, ratios within a round, compile time and memory."""

from __future__ import annotations

import dataclasses
import resource
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from partrep import UserError
from partrep.train.loop import Settings as LoopSettings
from partrep.train.loop import Variables, first_state
from partrep.train.sharding import put_batch
from partrep.train.stages import Stage
from partrep.train.step import make_step

Numbers = dict[str, float]


@dataclasses.dataclass(frozen=True)
class Settings:
    """What the suites are told; the defaults are those of the reported numbers.

    Attributes:
        pairs: rounds of the interleaved measurements.
        batch, image: batch size, and side of the images in pixels, of the suite `parts`.
        backbone: fields of ResNet-18 that differ from the reported ones.
        seconds: how long each number of the suite `data` is measured; of `explain`, a quarter of it in each round, and
            of `losses` a fortieth.
        configs: presets by name, for the suite `train`; the last is the one without a part method.
        levels: fields of `levels.Amounts` that differ from the reported ones.
        explained: the classification whose model the suite `explain` explains.
        explained_images: how many images it explains at once.
        search_rows: how many vectors the suite `search` searches, one size after the other.
        loss_batches: the batch sizes of the suite `losses`.
        say: called with a line on what was measured.
    """

    pairs: int = 20
    batch: int = 32
    image: int = 224
    backbone: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    seconds: float = 2.0
    configs: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    levels: Mapping[str, int] = dataclasses.field(default_factory=dict)
    explained: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    explained_images: int = 64
    search_rows: tuple[int, ...] = (10_000, 100_000, 1_000_000)
    loss_batches: tuple[int, ...] = (256, 4096)
    say: Callable[[str], None] = print

    def __post_init__(self):
        for name, least in (("pairs", 1), ("batch", 1), ("image", 16), ("seconds", 0.0), ("explained_images", 1)):
            if getattr(self, name) < least:
                raise UserError(f"{name} is {getattr(self, name)}; expected at least {least}")


class Program:
    """A jitted function, compiled for arguments like these before it is measured; calling it runs it."""

    def __init__(self, function: Any, *arguments: Any):
        start = time.perf_counter()
        lowered = function.lower(*arguments)
        self.trace_seconds = time.perf_counter() - start
        start = time.perf_counter()
        self._compiled = lowered.compile()
        self.compile_seconds = time.perf_counter() - start

    def __call__(self, *arguments: Any) -> Any:
        return self._compiled(*arguments)

    def numbers(self) -> Numbers:
        """Seconds to trace and compile, and bytes the program needs beside what it is given."""
        made = {"trace_seconds": self.trace_seconds, "compile_seconds": self.compile_seconds}
        memory = self._compiled.memory_analysis()
        if memory is not None:
            made["program_bytes"] = float(memory.temp_size_in_bytes)
        return made


class Ready:
    """A compiled function and its arguments; calling it runs it `runs` times, one after the other, for `seconds`."""

    def __init__(self, seconds: float, function: Callable[..., Any], *arguments: Any):
        self.arguments, self.runs = arguments, 1
        self.program = Program(jax.jit(function), *arguments)
        self()  # warms up
        start = time.perf_counter()
        self()
        self.runs = max(1, round(seconds / (time.perf_counter() - start)))

    def __call__(self) -> None:
        """Runs the function, each time waiting for what it makes."""
        for _ in range(self.runs):
            jax.block_until_ready(self.program(*self.arguments))


class Steps:
    """The training step of a stage, compiled before it is measured; calling it runs one step on the next batch."""

    def __init__(self, stage: Stage, variables: Variables):
        self._state = first_state([stage], variables, LoopSettings())
        self._stage, self._t = stage, 0
        step = make_step([stage], 0, self._state.params, seed=0, ema=0.0)
        self._step = Program(step, self._state, put_batch(stage.batches[0]))
        self.compile_seconds = self._step.compile_seconds

    def __call__(self) -> None:
        """Runs one step, its batch made on the host included, and waits for it."""
        self._state, report = self._step(self._state, put_batch(self._stage.batches[self._t]))
        self._t += 1
        jax.block_until_ready((self._state, report))

    def numbers(self) -> Numbers:
        """As those of its program."""
        return self._step.numbers()


def interleaved(
    calls: Mapping[str, Callable[[], Any]], rounds: int, say: Callable[[str], None] = lambda _: None
) -> dict[str, np.ndarray]:
    """Seconds of every call in every round, f64 [rounds]; each round runs all calls, in an order that rotates.

    What slows the machine for a while then slows all of them alike. A first round warms up and is not counted.

    >>> sorted(interleaved({"a": list, "b": dict}, rounds=3))
    ['a', 'b']
    """
    names = list(calls)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for number in range(-1, rounds):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            start = time.perf_counter()
            calls[name]()
            if number >= 0:
                seconds[name].append(time.perf_counter() - start)
        if number >= 0:
            shown = ", ".join(f"{name} {1000 * times[-1]:.4g} ms" for name, times in seconds.items())
            say(f"round {number + 1} of {rounds}: {shown}")
    return {name: np.array(times) for name, times in seconds.items()}


def ratios(times: Sequence[float] | np.ndarray, base: Sequence[float] | np.ndarray) -> Numbers:
    """How many times as long as the base: by medians, and by the median and quartiles of each round's own ratio.

    >>> ratios([2.0, 3.0, 8.0], [1.0, 2.0, 2.0])["ratio_of_medians"]
    1.5
    """
    times, base = np.asarray(times, np.float64), np.asarray(base, np.float64)
    low, middle, high = np.quantile(times / base, [0.25, 0.5, 0.75])
    return {
        "ratio_of_medians": float(np.median(times) / np.median(base)),
        "median_ratio": float(middle),
        "median_ratio_low": float(low),
        "median_ratio_high": float(high),
    }


def rate(call: Callable[[], Any], amount: int, seconds: float) -> float:
    """`amount` over the median time of a call, repeated for at least `seconds` and three times; the first warms up."""
    call()
    times: list[float] = []
    while sum(times) < seconds or len(times) < 3:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return amount / float(np.median(times))


def peak_bytes() -> Numbers:
    """The most memory that this process has held so far, and the device where it has memory of its own."""
    unit = 1 if sys.platform == "darwin" else 1024
    made = {"peak_process_bytes": float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)}
    device = jax.local_devices()[0].memory_stats() or {}
    if "peak_bytes_in_use" in device:
        made["peak_device_bytes"] = float(device["peak_bytes_in_use"])
    return made


def prefixed(prefix: str, numbers: Mapping[str, float]) -> Numbers:
    """The numbers with `prefix/` before their names."""
    return {f"{prefix}/{name}": value for name, value in numbers.items()}
