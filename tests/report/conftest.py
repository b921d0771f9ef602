"""Small records that stand for a run: four images of two quadrants, three parts."""

from __future__ import annotations

import dataclasses
import html
import json
import pathlib
import re
import shutil
import subprocess

import numpy as np
import pytest

from partrep.report.content import (
    ClassifyPage,
    ComparePage,
    Discovery,
    EpisodePicture,
    FewshotPage,
    Painting,
    PartGallery,
    Result,
    Score,
)


def make_quadrants(count: int, parts: int = 3, cells: int = 8) -> np.ndarray:
    """Assignments [n,K,h,w]: part k holds 0.9 of a quadrant of its own, the fourth quadrant is background."""
    half = cells // 2
    maps = np.zeros((count, parts, cells, cells))
    for k in range(parts):
        y, x = divmod(k % 4, 2)
        maps[:, k, y * half : (y + 1) * half, x * half : (x + 1) * half] = 0.9
    return maps


@pytest.fixture
def in_browser(tmp_path):
    """A function from a page, and a script that puts what it saw there in the page's place, to what it saw in Chromium."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium on this machine to open the page in")

    def see(page: pathlib.Path, probe: str, anchor: str = "", width: int = 1280):
        page.write_text(page.read_text().replace("</body>", probe + "</body>"))
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
        options += [f"--user-data-dir={tmp_path / 'profile'}", f"--window-size={width},900", "--dump-dom"]
        command = [chromium, *options, f"file://{page}{anchor}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        body = re.search(r"<body>(.*)</body>", done.stdout, re.S)
        assert body, done.stdout[-500:]
        return json.loads(html.unescape(body.group(1)))

    return see


@pytest.fixture
def quadrants():
    """The function above, for tests that vary its arguments."""
    return make_quadrants


@pytest.fixture
def episode() -> EpisodePicture:
    """Class 1 of three is predicted, and is the true one; parts and one term sum to the logits."""
    random = np.random.default_rng(0)
    contributions = np.array([[0.5, 0.1, -0.2], [2.25, 0.5, -0.4], [0.1, 0.2, 0.3]])
    arrangement = np.array([0.0, -0.05, 0.2])
    return EpisodePicture(
        support=random.random((3, 16, 16, 3)),
        query=random.random((16, 16, 3)),
        support_assignment=make_quadrants(3),
        query_assignment=make_quadrants(1)[0],
        logits=contributions.sum(1) + arrangement,
        label=1,
        contributions=contributions,
        terms={"arrangement": arrangement},
        class_names=("wren", "robin", "finch"),
    )


@pytest.fixture
def gallery() -> PartGallery:
    """Eight images of four classes."""
    random = np.random.default_rng(1)
    return PartGallery(
        images=random.random((8, 16, 16, 3)),
        assignment=make_quadrants(8),
        presence=random.random((8, 3)),
        labels=np.arange(8) % 4,
        captions=("mostly the wing", "mostly the tail", "no true part"),
    )


@pytest.fixture
def results() -> tuple[Result, ...]:
    """Three methods; the second differs for sure, the third does not."""
    return (
        Result("parts", 0.7241, (0.7161, 0.7321), 8, reference=True, seeds=(0.71, 0.725, 0.737)),
        Result("pooled", 0.6832, (0.6742, 0.6922), 1, 0.0409, (0.0309, 0.0509), note="own training run"),
        Result("dense", 0.7188, (0.709, 0.727), 256, 0.0053, (-0.0027, 0.0133), details={"augmented": "no"}),
    )


@pytest.fixture
def fewshot(results, episode, gallery) -> FewshotPage:
    """A page with every section."""
    history = [
        {"step": s, "stage": "a" if s < 5 else "b", "train/loss": 2.0 / (1 + s), "val/accuracy": 0.3 + s / 40}
        for s in range(10)
    ]
    scores = Discovery(
        rows=(
            Score("parts", {"NMI": 0.512, "keypoint error": 0.081}, {"NMI": (0.5, 0.524)}, reference=True),
            Score("k-means", {"NMI": 0.371, "keypoint error": 0.121}),
        ),
        lower_is_better=frozenset({"keypoint error"}),
        descriptions={"NMI": "agreement of partitions"},
        note="On 12 images.",
    )
    wrong = EpisodePicture(
        episode.support,
        episode.query,
        episode.support_assignment,
        episode.query_assignment,
        episode.logits,
        label=2,
        contributions=episode.contributions,
        class_names=episode.class_names,
    )
    return FewshotPage(
        title="Five-way one-shot",
        conclusion="Parts recognise 72.4 % of new birds.",
        results=results,
        facts={"episodes": 600},
        chance=0.2,
        history=history,
        discovery=scores,
        episodes=(episode,),
        failures=(wrong,),
        gallery=gallery,
        part_names=("wing", "tail", "leaf"),
        level="1 of 3.",
        notes=("One seed.",),
        provenance={"seed": 7, "wall_time": 221.456, "versions": {"jax": "0.10.2"}},
        config={"model": {"parts": 8}},
        command="python -m launch.main --config=configs/fewshot.py",
    )


@pytest.fixture
def classify(fewshot) -> ClassifyPage:
    """A page with every section."""
    audit = Discovery(
        rows=(
            Score("contributions", {"correctness": 0.731, "spill": 0.125}, {"correctness": (0.7, 0.762)}, reference=True),
            Score("occlusion", {"correctness": 0.412}),
        ),
        lower_is_better=frozenset({"spill"}),
        descriptions={"correctness": "rank correlation with exact Shapley values"},
        note="Birds are rendered again with one thing changed.",
    )
    reliance = Discovery(
        rows=(Score("part 2", {"reliance": 0.875}), Score("part 1", {"reliance": 0.125})),
        note="Ranked without labels.",
        directionless=frozenset({"reliance"}),
        rows_are="Part",
    )
    names = [field.name for field in dataclasses.fields(ClassifyPage) if hasattr(fewshot, field.name)]
    same = {name: getattr(fewshot, name) for name in names}
    facts = {"share that no sum over parts explains": 0.0875}
    more = {"predictions": fewshot.episodes, "reliance": reliance, "paintings": (painting_of(18), painting_of(2))}
    return ClassifyPage(**same, audit=audit, model_facts=facts, **more)


def painting_of(parts: int) -> Painting:
    """An image painted by parts that have a column of pixels each, the first the least wide, and a background."""
    widths = np.arange(1, parts + 1)
    owner = np.concatenate([np.repeat(np.arange(parts), widths), [parts]])
    shares = np.broadcast_to(owner == np.arange(parts + 1)[:, None, None], (parts + 1, 2, len(owner))).astype(float)
    layers = np.broadcast_to(np.linspace(0, 1, parts + 1)[:, None, None, None], (*shares.shape, 3))
    return Painting(np.zeros((2, len(owner), 3)), (shares[..., None] * layers).sum(0), shares, layers)


@pytest.fixture
def comparison(results, fewshot) -> ComparePage:
    """Two presets of two runs each."""
    return ComparePage(
        "Presets",
        "Parts lead.",
        results,
        histories={"parts": [fewshot.history, fewshot.history], "pooled": [fewshot.history]},
    )
