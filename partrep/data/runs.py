"""The official Omniglot within-alphabet one-shot runs: twenty training and twenty test drawings each."""

from __future__ import annotations

import os
import pathlib
import re
from typing import NamedTuple

import numpy as np

from partrep import UserError
from partrep.data.archives import Archive
from partrep.data.omniglot import SIDE, decode_drawings

# Two runs an alphabet. Runs 1-10: every one of their 400 drawings is pixel-equal to exactly one drawing of
# images_evaluation.zip, all of one run in this alphabet (tests/data/test_runs.py repeats the match). Runs
# 11-20 continue in the alphabetical order of the ten alphabets, which the first ten follow (not checked).
RUN_ALPHABETS = {
    1: "Atlantean",
    2: "Atlantean",
    3: "Ge_ez",
    4: "Ge_ez",
    5: "Glagolitic",
    6: "Glagolitic",
    7: "Gurmukhi",
    8: "Gurmukhi",
    9: "Kannada",
    10: "Kannada",
    11: "Malayalam",
    12: "Malayalam",
    13: "Manipuri",
    14: "Manipuri",
    15: "Old_Church_Slavonic",
    16: "Old_Church_Slavonic",
    17: "Tengwar",
    18: "Tengwar",
    19: "Tibetan",
    20: "Tibetan",
}


class Run(NamedTuple):
    """One run: `train`, `test` u8[20,size,size,1] (ink 0, paper 255); `truth` i32[20], the row of `train`
    that has the class of each test drawing; the run's number; its alphabet."""

    train: np.ndarray
    test: np.ndarray
    truth: np.ndarray
    number: int
    alphabet: str


class OneShotRuns:
    """The runs in `all_runs.zip` or `runs*.zip`: `len(runs)`, `runs[i] -> Run`, and iteration.

    Args:
        path: such a zip, the folder unpacked from one, or a folder that holds some of them.
        size: side of the images in pixels (105 as drawn).
    """

    def __init__(self, path: str | os.PathLike, size: int = SIDE):
        self.runs: list[Run] = []
        seen: set[int] = set()
        for archive in run_archives(pathlib.Path(path)):
            for label_file in (n for n in archive.names if re.search(r"run\d+/class_labels\.txt$", n)):
                run = read_run(archive, label_file, size)
                if run.number not in seen:
                    self.runs.append(run)
                    seen.add(run.number)
        if not self.runs:
            raise UserError(f"no one-shot run in {path}; expected runNN/class_labels.txt with its drawings")
        self.runs.sort(key=lambda run: run.number)

    def __len__(self) -> int:
        return len(self.runs)

    def __getitem__(self, index: int) -> Run:
        return self.runs[index]

    @property
    def alphabets(self) -> list[str]:
        """The alphabet of each run: the groups of a bootstrap over alphabets."""
        return [run.alphabet for run in self.runs]


def run_archives(path: pathlib.Path) -> list[Archive]:
    """`path` itself where it holds runs, else the `all_runs.zip` or all `runs*.zip` in it."""
    if not path.exists():
        raise UserError(f"{path} does not exist; expected a folder with all_runs.zip or runs*.zip")
    if path.is_file() or list(path.glob("run*/class_labels.txt")):
        return [Archive(path)]
    names = ["all_runs.zip", "all_runs", "runs*.zip"]
    found = [sorted(path.glob(name)) for name in names]
    archives = next((paths for paths in found if paths), [])
    if not archives:
        raise UserError(f"no all_runs.zip or runs*.zip in {path}; expected one of the two")
    return [Archive(archive) for archive in archives]


def read_run(archive: Archive, label_file: str, size: int) -> Run:
    """Reads one run; `class_labels.txt` pairs each test drawing with the training drawing of its class."""
    folder = label_file.removesuffix("class_labels.txt")
    root = folder.removesuffix(folder.rstrip("/").rpartition("/")[2] + "/")
    pairs = [line.split() for line in archive.read(label_file).decode(errors="replace").splitlines() if line.strip()]
    if any(len(pair) != 2 for pair in pairs):
        raise UserError(f"{archive.path}: {label_file}; expected two file names a line")
    tests, classes = [root + pair[0] for pair in pairs], [root + pair[1] for pair in pairs]
    train = sorted(name for name in archive.names if name.startswith(folder + "training/"))
    if set(classes) - set(train) or len(set(tests)) != len(tests):
        raise UserError(f"{archive.path}: {label_file} names drawings that are not in {folder}training")
    number = int(re.findall(r"run(\d+)/$", folder)[0])
    return Run(
        decode_drawings([(archive, name) for name in train], size),
        decode_drawings([(archive, name) for name in tests], size),
        np.array([train.index(name) for name in classes], np.int32),
        number,
        RUN_ALPHABETS.get(number, f"run{number:02d}"),
    )
