"""Batches: pure in (seed, t), sliced by process, whole epochs; prefetching keeps order and errors."""

import numpy as np
import pytest

from partrep import UserError
from partrep.data.folder import FolderSource
from partrep.data.pipeline import EvalBatches, Prefetched, TrainBatches, prefetch
from partrep.data.source import ArraySource


@pytest.mark.parametrize("size, batch", [(10, 4), (3, 8), (12, 4)])
def test_every_epoch_covers_every_example_once_in_its_own_order(size, batch):
    batches = TrainBatches(size, batch, seed=1)
    stream = np.concatenate([batches[t]["index"] for t in range(size * 3 // batch + 1)])[: size * 3]
    epochs = stream.reshape(3, size)
    assert np.array_equal(np.sort(epochs, 1), np.tile(np.arange(size), (3, 1)))
    assert not np.array_equal(epochs[0], epochs[1]) and not np.array_equal(epochs[1], epochs[2])
    assert batches[0]["index"].dtype == np.int32 and len(batches[1]["index"]) == batch


def test_pure_function_of_seed_and_step():
    one, two = TrainBatches(100, 16, 3), TrainBatches(100, 16, 3)
    late = one[1234]["index"]
    [two[t] for t in range(30)]
    assert np.array_equal(late, two[1234]["index"])
    assert not np.array_equal(late, TrainBatches(100, 16, 4)[1234]["index"])


@pytest.mark.parametrize("kind", [TrainBatches, EvalBatches])
def test_slices_of_processes_concatenate(kind):
    seed = (7,) if kind is TrainBatches else ()
    whole = kind(10, 6, *seed)
    parts = [kind(10, 6, *seed, process_index=p, process_count=3) for p in range(3)]
    for t in range(2):
        for name in whole[t]:
            assert np.array_equal(whole[t][name], np.concatenate([part[t][name] for part in parts]))


def test_evaluation_covers_a_size_that_nothing_divides():
    batches = [EvalBatches(7, 4, p, 2) for p in range(2)]
    assert [len(b) for b in batches] == [2, 2]
    seen = np.concatenate([b[t]["index"][b[t]["valid"]] for t in range(2) for b in batches])
    assert seen.tolist() == list(range(7))
    assert batches[1][1]["valid"].tolist() == [True, False] and batches[1][1]["index"].tolist() == [6, 0]
    with pytest.raises(IndexError):
        batches[0][2]


def test_errors():
    with pytest.raises(UserError, match="batch size 6 with 4 processes"):
        TrainBatches(10, 6, 0, 0, 4)
    with pytest.raises(UserError, match="no example"):
        TrainBatches(0, 6, 0)


def test_sources_in_memory_and_in_files_agree(tmp_path, write_archive, encode):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 4, 4, 3)).astype(np.uint8)
    files = {f"{'ab'[i % 2]}/{i}.png": encode(pixels[i]) for i in range(5)}
    source = FolderSource(write_archive(tmp_path / "x.zip", files))
    order = [int(name[2]) for name in source.ids]
    memory = ArraySource(pixels[order], source.labels, source.classes)
    for t in range(3):
        of_files, of_memory = TrainBatches(source, 4, 0)[t], TrainBatches(memory, 4, 0)[t]
        assert of_files["image"].shape == (4, 4, 4, 3) and set(of_files) == {"index", "image", "label"}
        assert all(np.array_equal(of_files[name], of_memory[name]) for name in of_files)
    assert np.array_equal(source.labels[of_files["index"]], of_files["label"])


def test_images_of_several_sizes_are_refused(tmp_path, write_archive, encode):
    files = {f"a/{n}.png": encode(np.zeros((n, 4, 3), np.uint8)) for n in (3, 4)}
    source = FolderSource(write_archive(tmp_path / "x.zip", files))
    with pytest.raises(UserError, match=r"2 sizes in a batch \(\(3, 4, 3\)"):
        EvalBatches(source, 2)[0]


class Squares:
    """batches[t] = t * t, with an error at one step."""

    def __init__(self, bad=-1):
        self.bad = bad

    def __getitem__(self, t):
        if t == self.bad:
            raise UserError(f"bad.png at {t}")
        return np.array(t * t)


@pytest.mark.parametrize("threads, depth", [(1, 1), (3, 5)])
def test_prefetch_starts_anywhere_and_keeps_order(threads, depth):
    stream = prefetch(Squares(), start=1000, depth=depth, threads=threads)
    assert [int(next(stream)) for _ in range(20)] == [t * t for t in range(1000, 1020)]
    stream.close()


def test_prefetch_ends_with_the_batches_and_passes_errors_on():
    batches = EvalBatches(9, 4)
    assert [b["index"].tolist() for b in prefetch(batches)] == [
        b["index"].tolist() for b in map(batches.__getitem__, range(3))
    ]
    stream = prefetch(Squares(bad=5), start=3)
    assert [int(next(stream)), int(next(stream))] == [9, 16]
    with pytest.raises(UserError, match=r"bad\.png at 5"):
        next(stream)


def test_prefetched_batches_are_the_same_in_any_order_and_pass_errors_on():
    batches = Prefetched(Squares(bad=9))
    assert [int(batches[t]) for t in (3, 4, 5, 5, 2, 7, 8)] == [9, 16, 25, 25, 4, 49, 64]
    with pytest.raises(UserError, match=r"bad\.png at 9"):
        batches[9]


def test_prefetch_in_worker_processes():
    stream = prefetch(TrainBatches(50, 8, 0), start=4, workers=2)
    for t in range(4, 10):
        assert np.array_equal(next(stream)["index"], TrainBatches(50, 8, 0)[t]["index"])
    stream.close()
