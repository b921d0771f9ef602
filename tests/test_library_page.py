"""The README's section on losses and metrics: its examples run as they stand, and its table has every such loss."""

import contextlib
import inspect
import io
import pathlib
import re
import subprocess
import sys

import pytest

from partrep import losses
from partrep.benchmark import losses as measured

README = (pathlib.Path(__file__).resolve().parents[1] / "README.md").read_text()
SECTION = re.search(r"^## A library of losses and metrics\n(.*?)^## ", README, re.S | re.M).group(1)
TRAIN, PARTS, METRICS = re.findall(r"^```python\n(.*?)^```", SECTION, re.S | re.M)
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in re.findall(r"^\| `.*$", SECTION, re.M)]


def run(code):
    """What is left of the names of an example, and what it printed."""
    names = {}
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(compile(code, "README.md", "exec"), names)
    return names, printed.getvalue()


def test_an_embedding_is_trained(hasty):
    names, printed = run(TRAIN)
    before, after = map(float, printed.split())
    assert before < 0.4 and after > 0.9
    real = [names["padded"](names["rows"][start : start + 128])[2].sum() for start in range(0, 320, 128)]
    assert real == [128, 128, 64]


def test_parts_are_compared(hasty):
    names, printed = run(PARTS)
    assert float(printed.split()[0]) == float(names["value"]) > 0
    assert all(float(abs(names[name]).max()) > 0 for name in ("to_vectors", "to_presence"))
    assert names["similarities"].shape == (12, 12)


def test_arrays_are_scored_without_jax():
    code = f"{METRICS}\nimport sys\nassert not {{'jax', 'flax', 'torch'}} & set(sys.modules)"
    lines = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.splitlines()
    for line in lines[:2]:
        scores = eval(line)
        assert list(scores) == ["recall@1", "recall@5", "precision@1", "r_precision", "map@r", "queries"]
        assert scores["queries"] == 200 and scores["recall@1"] > 0.8
    assert len(lines) == 3 and eval(lines[2])["auroc"] > 0.9 > eval(lines[2])["fpr95"]


def test_the_table_has_every_loss_of_metric_learning():
    names = [row[0].strip("`") for row in ROWS]
    known = {name for name in measured.PAIRS if not name.startswith("triplet_")} | {"triplet", *measured.PROXIES}
    assert len(set(names)) == len(names) and set(names) == known | {"soft_triple", "reciprocal_points", "superfeature_contrastive"}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0].strip("`"))
def test_the_table_names_what_a_loss_takes_and_its_arguments(row):
    function = losses.LOSSES[row[0].strip("`")]
    arguments = inspect.signature(function).parameters
    assert ("block" in arguments) is ("a class" not in row[1])
    assert ("per example [B]" in row[2]) is ("f32 [B]" in function.__doc__)
    if "normalised_softmax" not in row[3]:
        assert set(re.findall(r"`(\w+)=", row[3])) <= set(arguments)
