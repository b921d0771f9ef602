"""The page that explains a person's photos, as text and in a real browser."""

from __future__ import annotations

import dataclasses
import html.parser
import json
import re

import numpy as np
import pytest

from partrep.report.explained import (
    ExplainedPage,
    PartSeen,
    PhotoSeen,
    jpeg,
    render_explained,
    write_explained,
)
from partrep.report.pictures import reading_regions

NASTY = 'a "b" <img src=x onerror=alert(1)> Müller 写真.jpg'


def halves():
    """Regions of two parts, the left half of a photo and the right."""
    maps = np.zeros((2, 4, 4))
    maps[0, :, :2], maps[1, :, 2:] = 1.0, 1.0
    return reading_regions(maps, (0, 1))


def photo(name, chance=0.9, label=0, truth=None):
    left, right = halves()
    image = np.full((30, 40, 3), 90, np.uint8)
    parts = (
        PartSeen(0, left, 0.5, 1.25, (1, 0.6), (0, 1)),
        PartSeen(1, right, 0.5, 0.5, (0, 0.7), (1,)),
        PartSeen(2, None, 0.0, -0.1, (0, 0.95), (0,)),
    )
    likely = (label, chance), (1, 1 - chance)
    return PhotoSeen(name, jpeg(image), (30, 40), (0.0, 0.125, 1.0, 0.875), likely, truth, 2.5, ((0, 1), (1, 0.7)), parts)


def page(photos=None, **changes):
    fields = {
        "photos": tuple(photos or [photo("one.jpg"), photo(NASTY, 0.6, truth=1)]),
        "skipped": (("notes <b>.txt", "no image format is recognised"),),
        "classes": ("daisy", 'tulip </script><i id="injected">'),
        "patches": ((np.zeros((72, 72, 3), np.uint8), 0), (np.full((72, 72, 3), 200, np.uint8), 1)),
        "about": "2 photos, named by a model.",
        "level": "Level 2: exact.",
        "additive": True,
    }
    return ExplainedPage(**{**fields, **changes})


class Tags(html.parser.HTMLParser):
    """Collects the elements of a page, (tag, attributes), and the text of its data islands."""

    def __init__(self, text):
        super().__init__()
        self.found, self.islands, self._inside = [], {}, None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.found.append((tag, attributes))
        self._inside = attributes.get("id") if attributes.get("type") == "application/json" else None

    def handle_endtag(self, tag):
        self._inside = None

    def handle_data(self, text):
        if self._inside:
            self.islands[self._inside] = self.islands.get(self._inside, "") + text


def test_a_name_with_markup_stays_text():
    tags = Tags(render_explained(page()))
    ids = [attributes.get("id") for _, attributes in tags.found]
    assert "injected" not in ids
    assert not [tag for tag, attributes in tags.found if "onerror" in attributes]
    assert json.loads(tags.islands["shared"])["index"][1][0] == NASTY
    assert json.loads(tags.islands["shared"])["classes"][1] == page().classes[1]


def test_the_page_loads_nothing():
    text = render_explained(page())
    tags = Tags(text)
    assert not [a for tag, a in tags.found if tag in ("link", "img", "iframe") or (tag == "script" and "src" in a)]
    (policy,) = [a["content"] for _, a in tags.found if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none'")
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text)


def test_numbers_of_a_part_are_those_given():
    islands = Tags(render_explained(page())).islands
    first, _, third = json.loads(islands["data-0"])["parts"]
    assert (first["says"], first["without"], first["like"]) == (1.25, [1, 0.6], [0, 1])
    assert first["area"] == pytest.approx(0.5, abs=0.05)
    assert "d" not in third and third["says"] == -0.1


def test_parts_of_a_model_that_does_not_add_up_have_no_numbers():
    plain = photo("one.jpg")
    silent = tuple(dataclasses.replace(part, says=None, without=None) for part in plain.parts)
    made = dataclasses.replace(plain, lead=None, turn=None, parts=silent)
    text = render_explained(page([made], additive=False, level="None: the classifier is not a sum over parts."))
    assert "says" not in json.loads(Tags(text).islands["data-0"])["parts"][0]
    assert "The sums are exact" not in text and "speaks for the answer" not in text


@pytest.mark.parametrize(
    "truths, said",
    [
        ((None, None), None),
        ((0, None), "all of these 1 answers are right"),
        ((0, 1), "1 of these 2 answers is wrong</button>"),
        ((1, 1), "2 of these 2 answers are wrong"),
    ],
)
def test_folders_say_what_is_wrong(truths, said):
    text = render_explained(page([photo(f"{i}.jpg", truth=truth) for i, truth in enumerate(truths)]))
    assert ("Going by the names" in text) == (said is not None) and (said is None or said in text)
    assert ("mistakes first" in text) == (said is not None and "wrong" in said)


def test_files_that_are_no_photos_are_listed():
    text = render_explained(page())
    assert "notes &lt;b&gt;.txt" in text and "1 file could not be read" in text
    assert "could not be read" not in render_explained(page(skipped=()))


PROBE = """
<script>
const seen = {}, at = (css) => document.querySelector(css), all = (css) => [...document.querySelectorAll(css)];
const text = (css) => at(css).textContent;
const enter = (target) => target.dispatchEvent(new PointerEvent("pointerover", {bubbles: true}));
const press = (key) => document.activeElement.dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true}));
const on = () => all("#photo-0 .adds .on").map((button) => button.getAttribute("aria-label"));
seen.cards = all(".photo").length;
seen.answer = text("#photo-0 .answer");
seen.names = all(".photo figcaption").map((each) => each.textContent);
seen.rest = text("#photo-0 .told");
seen.patches = all("#photo-0 .patches li").map((each) => each.textContent);
seen.veil = at("#photo-0 .veil").getAttribute("d");
seen.folded = [text("#photo-0 .elsewhere summary"), at("#photo-0 .elsewhere").open];
seen.sums = all("#photo-0 .sums dd").map((each) => each.textContent);
seen.turn = text("#photo-0 .turn");
seen.pieces = all("#photo-0 .adds img").length;
seen.stops = all("#photo-0 button").filter((each) => each.tabIndex === 0).length;
seen.verdicts = all(".photo").map((each) => each.querySelector(".truth")?.textContent || "");
enter(at('#photo-0 svg [data-part="1"] .outline'));
seen.pointed = text("#photo-0 .told");
seen.pointed_veil = at("#photo-0 .veil").getAttribute("d");
seen.pointed_on = on();
at("#photo-0").dispatchEvent(new PointerEvent("pointerleave"));
seen.left = text("#photo-0 .told");
at('#photo-0 button[data-part="0"]').focus();
press("ArrowDown");
seen.arrow = on();
press("ArrowUp"); press("ArrowUp");
seen.wrapped = on();
seen.unfolded = at("#photo-0 .elsewhere").open;
document.activeElement.click();
seen.kept = all('#photo-0 [aria-pressed="true"]').map((each) => each.dataset.part);
seen.hash = location.hash;
seen.unlabelled = all("button").filter((each) => !each.textContent.trim() && !each.getAttribute("aria-label")).length;
seen.alts = all("svg[role=img]").map((each) => each.getAttribute("aria-label"));
seen.wide = document.documentElement.scrollWidth > innerWidth;
seen.pager = at(".pager").hidden && getComputedStyle(at(".pager")).display === "none";
if (!at(".pager").hidden) {
  at("#after").click();
  seen.later = [text("#place"), all(".photo")[0].id, at("#before").disabled];
  at("#find").value = "photo 3"; at("#find").dispatchEvent(new Event("input"));
  seen.found = text("#count");
  at("#find").value = ""; at("#order").value = "unsure"; at("#order").dispatchEvent(new Event("input"));
  seen.unsure = all(".photo")[0].id;
  at("#mistakes").click();
  seen.wrong = all(".photo").slice(0, 2).map((each) => each.id);
}
document.body.innerHTML = ""; document.body.append(JSON.stringify(seen));
</script>
"""


def test_pointing_and_keys_light_a_part(tmp_path, in_browser):
    seen = in_browser(write_explained(tmp_path / "page.html", page()), PROBE)
    assert seen["cards"] == 2 and seen["names"] == ["one.jpg", NASTY]
    assert seen["answer"] == "daisy 90 %"
    assert seen["rest"].startswith("Part 1 was mostly read from 50 % of what the model saw. It speaks for daisy over tulip")
    assert ", by 1.3." in seen["rest"]
    assert "the answer would be tulip" in seen["rest"] and "60 % sure" in seen["rest"]
    assert seen["patches"] == ["daisy", page().classes[1]]
    assert len(seen["veil"]) > 20 and len(seen["pointed_veil"]) > 20 and seen["veil"] != seen["pointed_veil"]
    assert seen["folded"] == ["1 not in this photo, or spread thinly", False] and seen["unfolded"]
    assert seen["sums"] == ["−0.1", "+0.9", "+2.5"]  # 1.25 + 0.5 - 0.1 + 0.85
    assert seen["turn"].startswith("Without parts 1 and 2 together it would be tulip") and seen["pieces"] == 3
    assert seen["stops"] == 1 and seen["verdicts"][0] == "" and seen["verdicts"][1].startswith("✗ wrong: its folder says tulip")
    assert seen["pointed"].startswith("Part 2 was mostly read from") and "still daisy, 70 % sure in place of 90 %" in seen["pointed"]
    assert seen["pointed_on"] == ["Part 2, +0.5 for daisy"]
    assert seen["left"] == seen["rest"]
    assert seen["arrow"] == ["Part 2, +0.5 for daisy"]
    assert seen["wrapped"] == ["Part 3, not in the photo, −0.1 for daisy"]
    assert seen["kept"] == ["2"] and seen["hash"] == "#photo-0-part-3"
    assert seen["unlabelled"] == 0 and seen["alts"][0] == "one.jpg, taken for daisy"
    assert seen["pager"] is True and not seen["wide"]


def test_a_thousand_photos_on_a_phone(tmp_path, in_browser):
    many = [photo(f"photo {i}.jpg", 0.5 + 0.4 * ((i * 7) % 1000) / 1000, i % 2, i % 2 if i in (3, 7) else 1 - i % 2 if i == 500 else None) for i in range(1000)]
    seen = in_browser(write_explained(tmp_path / "page.html", page(many)), PROBE, anchor="#photo-2-part-2", width=500)
    assert seen["cards"] == 12 and seen["pager"] is False and not seen["wide"]
    assert seen["later"] == ["13 to 24 of 1000", "photo-12", False]
    assert seen["found"] == "111 of 1000 photos"
    assert seen["unsure"] == "photo-0"
    assert seen["wrong"] == ["photo-500", "photo-0"]
