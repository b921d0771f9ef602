"""The pages: self-contained, complete, well-formed, escaped, written whole or not at all."""

from __future__ import annotations

import dataclasses
import html.parser
import itertools
import re
import time

import numpy as np
import pytest

from partrep.report import page
from partrep.report.content import ClassifyPage, FewshotPage, PartGallery

VOID = {"meta", "link", "br", "img", "hr", "input"}


class Checker(html.parser.HTMLParser):
    """Raises where tags do not nest; collects tags, ids and whatever would be loaded."""

    def __init__(self, text: str):
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing, at {self.getpos()}"

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture
def full(fewshot) -> str:
    return page.render_fewshot(fewshot)


def test_pages_are_well_formed(full, comparison):
    for text in (full, page.render_compare(comparison)):
        checker = Checker(text)
        assert len(checker.all("h1")) == 1
        ids = [attributes["id"] for _, attributes in checker.tags if "id" in attributes]
        assert len(ids) == len(set(ids))


def test_nothing_is_loaded_from_elsewhere(full, comparison):
    for text in (full, page.render_compare(comparison)):
        for tag, attributes in Checker(text).tags:
            assert tag not in ("link", "iframe", "object", "base")
            for name in ("src", "href", "srcset", "xlink:href", "poster", "action"):
                assert attributes.get(name, "#").startswith(("data:", "#")), (tag, attributes)
        assert not re.search(r"@import|url\(|https?://|fetch\(", text)
        assert "default-src 'none'" in text


def test_links_of_the_contents_lead_somewhere(full):
    checker = Checker(full)
    ids = {attributes.get("id") for _, attributes in checker.tags}
    targets = [a["href"][1:] for a in checker.all("a")]
    assert len(targets) == 8 and set(targets) <= ids


def test_every_picture_has_a_text(full):
    checker = Checker(full)
    assert all(attributes.get("alt") for attributes in checker.all("img"))
    for attributes in checker.all("svg"):
        assert attributes.get("aria-label") or attributes.get("aria-hidden") == "true"


def test_headings_do_not_skip_levels(full):
    levels = [int(tag[1]) for tag, _ in Checker(full).tags if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))


def test_every_number_shows(full):
    for text in (
        "72.4 ± 0.8", "68.3 ± 0.9", "71.9 [70.9, 72.7]", "+4.1 ± 1.0", "+0.5 ± 0.8", "includes zero", "256",
        "600", "71.0 · 72.5 · 73.7", "0.512 ± 0.012", "0.371", "0.081", "0.121", "+2.25", "−0.40", "+2.30",
        "221.5", "jax 0.10.2", "seed", "1 of 3.", "One seed.", "mostly the wing",
        "launch.main --config=configs/fewshot.py", "own training run", "agreement of partitions",
    ):  # fmt: skip
        assert text in full, text
    assert "&#34;parts&#34;: 8" in full


def test_a_column_without_direction_has_no_arrow_and_no_best(classify):
    rows = [dataclasses.replace(row, values={**row.values, "slope": 2.0}) for row in classify.audit.rows]
    audit = dataclasses.replace(classify.audit, rows=tuple(rows), directionless=frozenset({"slope"}))
    text = page.render_classify(dataclasses.replace(classify, audit=audit))
    heads = re.findall(r'<th scope="col">((?:correctness|spill|slope).*?)</th>', text)
    assert [re.sub(r"<.*?>", "", head) for head in heads] == [
        "correctness ↑(higher is better)", "spill ↓(lower is better)", "slope"
    ]  # fmt: skip
    bests = text.count('class="best"')
    directed = page.render_classify(dataclasses.replace(classify, audit=dataclasses.replace(audit, directionless=frozenset())))
    assert directed.count('class="best"') == bests + len(rows)


def test_true_and_predicted_are_named(full):
    assert "Correct:</span> <b>robin</b>" in full
    assert "took <b>finch</b> for <b>robin</b>" in full


def test_further_settings_are_columns_of_the_results(fewshot):
    first, *others = fewshot.results
    row = dataclasses.replace(first, further={"hard": (0.512, 0.502, 0.522)})
    text = page.render_fewshot(dataclasses.replace(fewshot, results=(row, *others)))
    assert text.count('class="num">hard</th>') == 1 and text.count('data-label="hard">51.2 ± 1.0</td>') == 1
    assert text.count('data-label="hard">–</td>') == len(others)


def test_names_are_escaped(fewshot):
    nasty = '<script>alert("x")</script>'
    row = dataclasses.replace(
        fewshot.results[0], name=nasty, note=nasty, details={nasty: nasty}, further={nasty: (0.5, 0.4, 0.6)}
    )
    episode = dataclasses.replace(fewshot.episodes[0], class_names=(nasty,) * 3, title=nasty)
    text = page.render_fewshot(
        dataclasses.replace(
            fewshot,
            title=nasty,
            conclusion=nasty,
            results=(row,),
            facts={nasty: nasty},
            history=[{"step": s, nasty: float(s), "stage": nasty} for s in range(3)],
            episodes=(episode,),
            part_names=(nasty,) * 3,
            level=nasty,
            notes=(nasty,),
            provenance={nasty: nasty},
            config={nasty: nasty},
            command=nasty,
        )
    )
    assert "<script>alert" not in text and "alert" in text
    assert len(Checker(text).all("script")) == 1


def test_sections_without_content_are_left_out(fewshot):
    bare = page.render_fewshot(FewshotPage("A title", "A sentence."))
    assert "<section" not in bare and "<script" not in bare
    Checker(bare)
    empty = {
        "results": ((), "results"), "episodes": ((), "episodes"), "failures": ((), "failures"),
        "gallery": (None, "parts"), "discovery": (None, "discovery"), "history": ((), "curves"),
    }  # fmt: skip
    for field, (nothing, section) in empty.items():
        text = page.render_fewshot(dataclasses.replace(fewshot, **{field: nothing}))
        Checker(text)
        assert f'id="{section}"' not in text and f'href="#{section}"' not in text
        assert text.count("<section") == 7


def test_error_pages_say_that_lower_is_better(fewshot):
    text = page.render_fewshot(dataclasses.replace(fewshot, measure="error", lower_is_better=True, shots=5))
    assert "lower is better" in text and "5 support images" in text


def test_write_makes_folders_and_replaces_the_page(tmp_path, fewshot):
    path = page.write_report(tmp_path / "report" / "index.html", fewshot)
    assert path == tmp_path / "report" / "index.html"
    first = path.read_text(encoding="utf-8")
    page.write_report(path, dataclasses.replace(fewshot, title="Another"))
    assert path.read_text(encoding="utf-8") != first
    assert [p.name for p in path.parent.iterdir()] == ["index.html"]


def test_a_failed_write_leaves_the_old_page_and_no_litter(tmp_path, comparison, monkeypatch):
    path = page.write_compare(tmp_path / "index.html", comparison)
    before = path.read_text(encoding="utf-8")

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full_disk)
    with pytest.raises(OSError, match="space"):
        page.write_compare(path, dataclasses.replace(comparison, title="Another"))
    assert path.read_text(encoding="utf-8") == before
    assert [p.name for p in tmp_path.iterdir()] == ["index.html"]


def test_rendering_is_deterministic(fewshot):
    assert page.render_fewshot(fewshot) == page.render_fewshot(fewshot)


def test_a_large_page_is_quick_and_small(fewshot, quadrants):
    random = np.random.default_rng(0)
    photos = random.random((128, 16, 16, 3)).repeat(4, 1).repeat(4, 2)
    episode = dataclasses.replace(
        fewshot.episodes[0],
        support=photos[:3],
        query=photos[3],
        support_assignment=random.dirichlet(np.ones(17), (3, 16, 16)).transpose(0, 3, 1, 2)[:, :16],
        query_assignment=random.dirichlet(np.ones(17), (16, 16)).transpose(2, 0, 1)[:16],
        contributions=random.normal(size=(3, 16)),
        terms={},
    )
    assignment = random.dirichlet(np.ones(17), (128, 16, 16)).transpose(0, 3, 1, 2)[:, :16]
    gallery = PartGallery(photos, assignment, random.random((128, 16)))
    started = time.process_time()
    text = page.render_fewshot(
        dataclasses.replace(fewshot, episodes=(episode,) * 6, failures=(episode,) * 4, gallery=gallery)
    )
    assert time.process_time() - started < 10  # under 5 s on an idle core
    assert len(text) < 3e6


def test_comparison_shows_seeds_and_curves(comparison):
    text = page.render_compare(comparison)
    assert "Each seed" in text and "71.0 · 72.5 · 73.7" in text
    assert 'id="curves"' in text and "pooled" in text


SECTIONS = {
    "results": ("results", ()), "predictions": ("predictions", ()), "failures": ("failures", ()),
    "audit": ("audit", None), "parts": ("gallery", None), "discovery": ("discovery", None), "curves": ("history", ()),
    "reliance": ("reliance", None), "paintings": ("paintings", ()),
}  # fmt: skip


def test_the_page_of_a_classifier_has_every_section(classify):
    text = page.render_classify(classify)
    checker = Checker(text)
    ids = [attributes["id"] for tag, attributes in checker.tags if tag == "section"]
    assert ids == [
        "results", "predictions", "failures", "audit", "reliance", "parts", "paintings", "discovery", "curves", "notes",
        "provenance",
    ]  # fmt: skip
    assert [a["href"] for a in checker.all("a")] == [f"#{name}" for name in ids]
    assert len(checker.all("h1")) == 1 and all(attributes.get("alt") for attributes in checker.all("img"))
    levels = [int(tag[1]) for tag, _ in checker.tags if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1 and all(after - before <= 1 for before, after in itertools.pairwise(levels))
    for shown in (
        "classification report", "72.4 ± 0.8", "0.731 ± 0.031", "0.125", "0.412", "0.0875", "+2.25", "−0.40",
        "share that no sum over parts explains", "rank correlation with exact Shapley values", "Image 1", "Failure 1",
        "Birds are rendered again with one thing changed.", "took <b>finch</b> for <b>robin</b>", "mostly the wing",
    ):  # fmt: skip
        assert shown in text, shown
    said = re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)
    assert said.count("one thing changed") == 1 and "Example image" in said and "Support image" not in said
    assert not re.search(r"@import|url\(|https?://|fetch\(", text)
    for _, attributes in checker.tags:
        for name in ("src", "href"):
            assert attributes.get(name, "#").startswith(("data:", "#")), attributes


@pytest.mark.parametrize("section", SECTIONS)
def test_a_classifiers_section_without_content_is_left_out(classify, section):
    field, nothing = SECTIONS[section]
    text = page.render_classify(dataclasses.replace(classify, **{field: nothing}))
    Checker(text)
    assert f'id="{section}"' not in text and f'href="#{section}"' not in text and text.count("<section") == 10


def test_a_table_that_ranks_parts_calls_no_number_better(classify):
    text = page.render_classify(dataclasses.replace(classify, audit=None, discovery=None))
    assert '<th scope="col">Part</th>' in text and text.index("part 2") < text.index("0.875") < text.index("part 1</th>")
    assert "is better)" not in text and 'class="best"' not in text


def test_a_bare_classifier_is_a_title_and_a_sentence(tmp_path):
    bare = page.render_classify(ClassifyPage("A title", "A sentence."))
    assert "<section" not in bare and "<script" not in bare and "A sentence." in bare
    Checker(bare)
    path = page.write_report(tmp_path / "index.html", ClassifyPage("A title", "A sentence."))
    assert path.read_text(encoding="utf-8") == bare


def test_failures_alone_bring_the_legend_of_the_drawings(classify):
    both, alone = (page.render_classify(dataclasses.replace(classify, **each)) for each in ({}, {"predictions": ()}))
    assert both.count('class="legend"') == alone.count('class="legend"') == 1


def test_further_tables_of_a_comparison_are_shown(comparison, classify):
    text = page.render_compare(dataclasses.replace(comparison, sections=(("The <models>", classify.audit),)))
    Checker(text)
    assert "The &lt;models&gt;" in text and "0.731 ± 0.031" in text and "one thing changed" in text
