"""Batches: batch t is a pure function of (seed, t), and P processes read P slices of it."""

from __future__ import annotations

from collections.abc import Iterator, Sized
from typing import Any, Protocol

import numpy as np

from partrep import UserError
from partrep.data.source import Source

ENDLESS = 2**40


class Batches(Protocol):
    """Anything with random access by step: `batches[t]`."""

    def __getitem__(self, t: int, /) -> Any: ...


class TrainBatches:
    """Endless shuffled batches of a source: `batches[t]` is this process's slice of batch t.

    Epochs are laid end to end, each in its own order, and cut into batches: every example comes once an
    epoch, no batch is short, and a batch may span two epochs. The slices of all processes in a row are the
    batch that one process alone would read.

    Args:
        source: number of examples, for batches {index i32[b]}; or a source, for {image, label, ..., index}.
        batch_size: B over all processes; b = B / process_count.
        seed: any int >= 0.

    Raises:
        UserError: no example; a batch size that the processes do not divide.

    >>> batches = TrainBatches(5, batch_size=4, seed=0)
    >>> sorted(np.concatenate([batches[t]["index"] for t in range(5)])) == sorted(list(range(5)) * 4)
    True
    """

    def __init__(
        self,
        source: int | Source,
        batch_size: int,
        seed: int,
        process_index: int = 0,
        process_count: int = 1,
    ):
        self.source, self.size = source, source if isinstance(source, int) else len(source)
        if self.size < 1:
            raise UserError("a training set of no example; expected at least one")
        self.batch_size, self.seed = batch_size, seed
        self.slice = process_slice(batch_size, process_index, process_count)
        self._orders: dict[int, np.ndarray] = {}

    def __getitem__(self, t: int) -> dict[str, np.ndarray]:
        return gather(self.source, self.indices(t)[self.slice])

    def indices(self, t: int) -> np.ndarray:
        """i32[B]: the examples of batch t, all processes together."""
        place = np.arange(t * self.batch_size, (t + 1) * self.batch_size)
        epoch, within = np.divmod(place, self.size)
        out = np.empty(self.batch_size, np.int32)
        for e in range(epoch[0], epoch[-1] + 1):
            out[epoch == e] = self._order(e)[within[epoch == e]]
        return out

    def _order(self, epoch: int) -> np.ndarray:
        """The shuffled examples of one epoch; the last few are kept."""
        order = self._orders.get(epoch)
        if order is None:
            order = np.random.default_rng([self.seed, epoch]).permutation(self.size).astype(np.int32)
            self._orders = dict([*self._orders.items()][-3:]) | {epoch: order}
        return order


class EvalBatches:
    """Every example once, in order: `batches[t]` is this process's slice of batch t, t < len(batches).

    The last batch is filled up with example 0, marked False in `valid` bool[b]; metrics leave those out.

    >>> batches = EvalBatches(5, batch_size=4)
    >>> [batches[t]["valid"].tolist() for t in range(len(batches))]
    [[True, True, True, True], [True, False, False, False]]
    """

    def __init__(self, source: int | Source, batch_size: int, process_index: int = 0, process_count: int = 1):
        self.source, self.size = source, source if isinstance(source, int) else len(source)
        self.batch_size = batch_size
        self.slice = process_slice(batch_size, process_index, process_count)

    def __len__(self) -> int:
        return -(-self.size // self.batch_size)

    def __getitem__(self, t: int) -> dict[str, np.ndarray]:
        if not 0 <= t < len(self):
            raise IndexError(f"batch {t} of {len(self)}")
        place = np.arange(t * self.batch_size, (t + 1) * self.batch_size, dtype=np.int32)[self.slice]
        valid = place < self.size
        return gather(self.source, np.where(valid, place, 0)) | {"valid": valid}


def process_slice(batch_size: int, process_index: int, process_count: int) -> slice:
    """The part of each batch that one process reads."""
    if batch_size < 1 or batch_size % process_count:
        raise UserError(
            f"batch size {batch_size} with {process_count} processes; expected a multiple of them"
        )
    share = batch_size // process_count
    return slice(process_index * share, (process_index + 1) * share)


def gather(source: int | Source, indices: np.ndarray) -> dict[str, np.ndarray]:
    """{index}, and of a source its columns at `indices` [b]: image u8[b,H,W,C], label i32[b], ..."""
    batch = {"index": indices}
    if isinstance(source, int):
        return batch
    if hasattr(source, "gather"):
        return batch | source.gather(indices)
    examples = [source[int(i)] for i in indices]
    shapes = {example["image"].shape for example in examples}
    if len(shapes) > 1:
        raise UserError(f"images of {len(shapes)} sizes in a batch ({min(shapes)}, ...); expected one")
    names = [name for name, value in examples[0].items() if not isinstance(value, str)]
    return batch | {name: np.stack([example[name] for example in examples]) for name in names}


def prefetch(
    batches: Batches, start: int = 0, depth: int = 2, threads: int = 1, workers: int = 0
) -> Iterator[Any]:
    """Yields batches[start], batches[start + 1], ..., made ahead in the background by Grain, in order.

    Stops at the end where the batches have one. Closing the iterator ends the threads and processes.

    Args:
        depth: batches made ahead (for each worker process).
        threads: that make them; decoding in Pillow runs in parallel.
        workers: processes that share the work, each with its threads (0: none). They need parsed absl flags.
    """
    import grain  # heavy; sets in memory can be read without it

    stop = len(batches) if isinstance(batches, Sized) else start + ENDLESS
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=depth)
    data = grain.MapDataset.range(start, stop).map(batches.__getitem__).to_iter_dataset(options)
    if workers:
        processes = grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=depth)
        data = data.mp_prefetch(processes)
    iterator = iter(data)
    try:
        yield from iterator
    finally:
        iterator.close()


class Prefetched:
    """The same batches, made ahead in the background by Grain while `t` goes up by one; any other `t` starts anew.

    >>> batches = Prefetched(TrainBatches(5, batch_size=4, seed=0))
    >>> all((batches[t]["index"] == TrainBatches(5, 4, 0)[t]["index"]).all() for t in (0, 1, 2, 7, 8))
    True
    """

    def __init__(self, batches: Batches):
        self._batches, self._stream, self._next = batches, iter(()), -1

    def __getitem__(self, t: int) -> Any:
        if t != self._next:
            self._stream, self._next = prefetch(self._batches, t), t
        self._next += 1
        return next(self._stream)
