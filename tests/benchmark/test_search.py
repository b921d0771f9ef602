"""The suite `search` on few vectors: every number is there, and what is compared agrees."""

from __future__ import annotations

import importlib.util

from partrep.benchmark import search
from partrep.benchmark.timing import Settings


def test_every_engine_is_measured_and_agrees_with_exact_search():
    said = []
    made = search.measure(Settings(pairs=2, search_rows=(300,), say=said.append))
    others = ["sklearn", *(["faiss"] if importlib.util.find_spec("faiss") else [])]
    for count in search.QUERIES:
        at = f"search/300x128/{count}"
        assert made[f"{at}/exact/milliseconds"] > 0
        for name in others:
            assert made[f"{at}/{name}/same_ids"] == 1.0 and made[f"{at}/{name}/median_ratio"] > 0
    assert made["search/peak_process_bytes"] > 0
    assert said[0].startswith("search/300x128/1: exact, ") and said[1].startswith("round 1 of 2: exact ")
