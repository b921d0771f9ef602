"""The page of photos found, as text and in a real browser."""

from __future__ import annotations

import re

import numpy as np

from partrep.report.explained import jpeg
from partrep.report.pictures import reading_regions
from partrep.report.retrieved import Photo, Query, RetrievedPage, render_retrieved, write_retrieved

NASTY = 'a "b" <img src=x onerror=alert(1)> </script> Müller 写真.jpg'


def photo(name, gone=False):
    maps = np.zeros((2, 4, 4))
    maps[0, :, :2], maps[1, :, 2:] = 1.0, 1.0
    picture = None if gone else jpeg(np.full((30, 40, 3), 90, np.uint8))
    regions = () if gone else tuple(reading_regions(maps, (0, 1)))
    return Photo(name, picture, (30, 40), (0.0, 0.125, 1.0, 0.875), regions, "It was changed." if gone else "")


def page(queries=2, **changes):
    ranked = ((0, 1.0, np.array([0.6, 0.4])), (1, 0.75, np.array([0.85, -0.125])), (2, 0.5, np.array([0.25, 0.25])))
    made = tuple(Query(photo(f"query {n}.jpg"), (0, 1), ranked) for n in range(queries))
    fields = {
        "queries": made,
        "photos": (photo("same.jpg"), photo(NASTY), photo("gone.jpg", gone=True)),
        "skipped": (("notes <b>.txt", "no image format is recognised"),),
        "indexed": 600,
        "left_out": 0,
        "parts": 3,
    }
    return RetrievedPage(**{**fields, **changes})


def test_names_with_markup_stay_text_and_the_page_loads_nothing():
    text = render_retrieved(page())
    assert "<img" not in text and "notes &lt;b&gt;.txt" in text and "1 file could not be read" in text
    assert text.count("</script>") == text.count("<script")
    assert "default-src 'none'" in text and not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text)
    assert not re.search(r"<(link|iframe)|<script[^>]*\ssrc=", text)
    assert "2 queries, searched among 600 photos." in text
    assert "3 queries, searched among 600 photos. The first 2 are shown." in render_retrieved(page(left_out=1))


PROBE = """
<script>
const seen = {}, at = (css) => document.querySelector(css), all = (css) => [...document.querySelectorAll(css)];
const text = (css) => at(css).textContent, first = "#query-0 ";
const enter = (target) => target.dispatchEvent(new PointerEvent("pointerover", {bubbles: true}));
const press = (key) => document.activeElement.dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true}));
const lit = () => all(first + ".veil").map((each) => each.getAttribute("d").length > 20);
const said = () => all(first + ".one").map((each) => each.textContent);
const values = () => all(first + ".adds button").map((each) => each.getAttribute("aria-label"));
seen.queries = all(".query").length;
seen.sum = text(first + ".sum");
seen.values = values();
seen.others = text(first + ".others");
seen.names = all(first + ".ranked .choose").map((each) => each.textContent);
seen.gone = all(first + ".gone").length;
seen.note = text(first + ".gone");
seen.rest = [lit(), said()];
enter(at(first + '.ranked svg [data-part="1"] .outline'));
seen.pointed = [lit(), said(), all(first + ".adds .on").map((each) => each.dataset.part)];
at("#query-0").dispatchEvent(new PointerEvent("pointerleave"));
seen.left = [lit(), said()];
at(first + ".adds button").focus();
press("ArrowDown");
seen.arrow = [document.activeElement.dataset.part, said()];
document.activeElement.click();
seen.kept = [all(first + '.adds [aria-pressed="true"]').map((each) => each.dataset.part), location.hash];
all(first + ".choose")[2].focus(); press("ArrowRight");
document.activeElement.click();
seen.chosen = [text(first + ".sum"), values(), all(first + ".ranked .on").length];
seen.still = lit();
seen.unlabelled = all("button").filter((each) => !each.textContent.trim() && !each.getAttribute("aria-label")).length;
seen.alts = all(first + "svg[role=img]").map((each) => each.getAttribute("aria-label"));
seen.wide = document.documentElement.scrollWidth > innerWidth;
seen.pager = at(".pager").hidden;
if (!at(".pager").hidden) {
  at("#after").click();
  seen.later = [text("#place"), all(".query")[0].id];
  at("#find").value = "query 3"; at("#find").dispatchEvent(new Event("input"));
  seen.found = text("#count");
}
document.body.innerHTML = ""; document.body.append(JSON.stringify(seen));
</script>
"""


def test_pointing_and_keys_light_a_part_in_the_query_and_in_all_photos_found(tmp_path, in_browser):
    seen = in_browser(write_retrieved(tmp_path / "page.html", page()), PROBE)
    assert seen["queries"] == 2 and seen["gone"] == 1 and seen["note"] == "It was changed."
    assert seen["sum"] == f"0.75 with {NASTY}, rank 2"  # the first is the query itself
    assert seen["values"] == ["Part 1, adds +0.85", "Part 2, adds −0.13"]
    assert seen["others"] == "all other parts together: +0.03"
    assert seen["names"] == ["1. 1.00 same.jpg", f"2. 0.75 {NASTY}", "3. 0.50 gone.jpg"]
    assert seen["rest"] == seen["left"] == [[False] * 3, ["", "", ""]]
    assert seen["pointed"] == [[True] * 3, ["part 2: +0.40", "part 2: −0.13", "part 2: +0.25"], ["1"]]
    assert seen["arrow"] == ["1", ["part 2: +0.40", "part 2: −0.13", "part 2: +0.25"]]
    assert seen["kept"] == [["1"], "#query-0-part-2"]
    assert seen["chosen"] == ["1.00 with same.jpg, rank 1", ["Part 1, adds +0.60", "Part 2, adds +0.40"], 1]
    assert seen["still"] == [True] * 3
    assert seen["unlabelled"] == 0 and seen["alts"] == ["Query: query 0.jpg", "Rank 1: same.jpg, similarity 1.00", f"Rank 2: {NASTY}, similarity 0.75"]
    assert seen["pager"] is True and not seen["wide"]


def test_a_hundred_queries_on_a_phone(tmp_path, in_browser):
    seen = in_browser(write_retrieved(tmp_path / "page.html", page(100)), PROBE, anchor="#query-0-part-2", width=500)
    assert seen["queries"] == 4 and seen["pager"] is False and not seen["wide"]
    assert seen["later"] == ["5 to 8 of 100", "query-4"]
    assert seen["found"] == "11 of 100 queries"
    assert seen["rest"][1] == ["part 2: +0.40", "part 2: −0.13", "part 2: +0.25"]
