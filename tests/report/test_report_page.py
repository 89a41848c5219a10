"""The report says the right thing first, holds what it promises, and opens in a browser without a word of complaint."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from figured import NASTY, recommenders

from browser import console_errors, document, screenshot
from shopkeeper.data.prepared import Prepared
from shopkeeper.data.split import Split
from shopkeeper.evaluation.report import write_report
from shopkeeper.evaluation.report.charts import scatter, span, ticks
from shopkeeper.evaluation.report.figures import Model, Value
from shopkeeper.evaluation.report.gather import gather
from shopkeeper.evaluation.report.page import render
from shopkeeper.evaluation.settings import Report


def test_a_name_in_a_chart_does_not_hide_a_mark_or_another_name() -> None:
    points = [(Model(f"m{i}", {}, i), Value(0.9 + i / 50), Value(0.30 - i / 100)) for i in range(4)]
    names = [m.at for m in scatter(points, "x", "y").marks if m.at["class"] == "name"]
    height = sorted(320 * float(at["y"].rstrip("%")) / 100 + float(at["dy"]) for at in names)
    assert len(height) == 4
    assert min(np.diff(height)) >= 14


def test_the_page_asks_no_network_and_stays_small(page: Path) -> None:
    html = page.read_text(encoding="utf-8")
    assert not re.search(r"""(?:src|href|action)\s*=\s*["']?(?:https?:)?//""", html)
    assert "default-src 'none'" in html
    assert page.stat().st_size < 2_000_000


def test_names_from_the_data_cannot_become_markup(page: Path) -> None:
    html = page.read_text(encoding="utf-8")
    assert NASTY not in html
    assert html.count("</script>") == 2


EVIL = """it's <img src=x onerror=alert(1)> & "`</script><b>`'"""


class Text(HTMLParser):
    """Every tag with its attributes, and the text in between."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: dict[str, set[str]] = {}
        self.text: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attributes:
            self.attributes.setdefault(name, set()).add(str(value))

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_models_titles_kinds_and_customers_may_be_called_anything(shop: tuple[Prepared, Split]) -> None:
    found = recommenders(shop, {EVIL: 0.7, "item_knn": 0.4, "popularity": 0.0})
    named = np.where(np.arange(len(found["tables"][EVIL])) % 2, EVIL, "tea")
    for name, table in found["tables"].items():
        at = table.column_names.index("slice:category")
        found["tables"][name] = table.set_column(at, "slice:category", pa.array(named))
    found["configs"] = {name: {"dataset": {"title": EVIL, "licence": EVIL}} for name in found["tables"]}
    found["sanity"] = {"alarms": [EVIL]}
    report = gather({"next_item": found}, Report(customers=3, resamples=100))
    assert report.window is not None
    report.window["cases"][0]["user"] = EVIL
    calm = Text(
        render(
            gather({"next_item": recommenders(shop, {"a": 0.7, "popularity": 0.0})}, Report(customers=3, resamples=100))
        )
    )
    wild = Text(render(report))
    assert wild.tags - calm.tags <= {"code", "em"}  # no img, and no b where none was meant
    assert not [name for name in wild.attributes if name.startswith("on")]
    text = "".join(wild.text)
    assert text.count(EVIL) > 10  # title, licence, kind of request, leaderboard, legend, comparisons, …
    assert any(EVIL in said for said in wild.attributes["aria-label"])
    data = next(json.loads(t) for t in wild.text if t.startswith('{"models"'))
    assert data["cases"][0]["user"] == EVIL


def test_only_a_page_brings_jinja() -> None:
    code = (
        "import sys, shopkeeper.evaluation.report.figures; before = set(sys.modules); "
        "import shopkeeper.evaluation.report.page; print('jinja2' in before, 'jinja2' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


class Shape(HTMLParser):
    """Collects what accessibility rests on."""

    def __init__(self) -> None:
        super().__init__()
        self.headings: list[int] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.bare_headers = 0
        self.unnamed_pictures = 0

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        found = dict(attributes)
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        if "id" in found:
            self.ids.append(str(found["id"]))
        if tag == "a":
            self.links.append(str(found.get("href")).removeprefix("#"))
        if tag == "th" and "scope" not in found:
            self.bare_headers += 1
        if tag == "svg" and found.get("aria-hidden") != "true" and not found.get("aria-label"):
            self.unnamed_pictures += 1


def test_headings_tables_and_pictures_can_be_read_out(page: Path) -> None:
    shape = Shape()
    shape.feed(page.read_text(encoding="utf-8"))
    assert shape.headings.count(1) == 1
    assert shape.headings[0] == 1
    assert shape.bare_headers == 0
    assert shape.unnamed_pictures == 0
    assert len(shape.ids) == len(set(shape.ids))
    assert set(shape.links) <= set(shape.ids)


def test_parts_of_two_tasks_about_customers_have_names_of_their_own(full: dict[str, Any], tmp_path: Path) -> None:
    """As axe's `landmark-unique` has it; a shop asks who leaves and who buys."""
    both = {"churn": full["churn"], "propensity": {**full["churn"], "task": "propensity"}}
    text = write_report(tmp_path, gather(both, Report(resamples=100))).read_text(encoding="utf-8")
    title = dict(re.findall(r'<h2 id="([^"]+)">(.*?)</h2>', text))
    names = [
        " ".join(title[i] for i in ids.split())
        for ids in re.findall(r'<section id="[^"]+" aria-labelledby="([^"]+)"', text)
    ]
    assert len(names) > 12
    assert len(set(names)) == len(names)


def test_every_promised_part_is_there(page: Path) -> None:
    html = page.read_text(encoding="utf-8")
    for anchor in ("answer", "board-next_item", "coverage", "slices-next_item", "board-churn", "slices-churn",
                   "reliability-churn", "shop", "protocol"):  # fmt: skip
        assert f'id="{anchor}"' in html, anchor
    assert "target_hash" not in html
    assert "Git commit" in html
    assert "CC0" in html


def test_axes_hold_their_values_and_ticks_are_round() -> None:
    axis = span([Value(0.2, 0.1, 0.35), Value(0.31)])
    assert axis[0] == 0
    assert axis[1] > 0.35
    assert ticks(0, 0.4) == [0, 0.1, 0.2, 0.3, 0.4]
    assert ticks(0.513, 0.7) == [0.55, 0.6, 0.65, 0.7]
    assert ticks(1, 1) == [1]


@pytest.mark.parametrize("width", [1280, 390])
def test_it_opens_in_a_browser_without_a_console_message(page: Path, width: int) -> None:
    assert console_errors(page, width) == []


def test_a_console_message_would_be_noticed(page: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.html"
    broken.write_text(page.read_text(encoding="utf-8").replace("show(0);", "shw(0);"), encoding="utf-8")
    assert any("shw is not defined" in message for message in console_errors(broken))


def pressed(page: Path, copy: Path, script: str) -> str:
    """The document after a script ran on the finished page."""
    text = page.read_text(encoding="utf-8")
    copy.write_text(text.replace("</body>", f"<script>{script}</script></body>"), encoding="utf-8")
    return document(copy)


def test_the_shop_window_turns_with_the_arrow_keys_and_fills_in_text_as_text(page: Path, tmp_path: Path) -> None:
    before = document(page)
    assert '<p class="shop-who" aria-live="polite"><strong>u7</strong>' in before
    assert "1 of 12" in before
    key = "new KeyboardEvent('keydown', {key: 'ArrowRight', bubbles: true})"
    after = pressed(page, tmp_path / "key.html", f"document.querySelector('.shop-bar button').dispatchEvent({key})")
    assert "2 of 12" in after
    assert "<strong>u7</strong>" not in after
    assert "&lt;b&gt;Co&lt;/b&gt;" in before


@pytest.mark.parametrize("opened", [False, True], ids=["as it opens", "all unfolded"])
def test_nothing_sticks_out_of_a_phones_screen(page: Path, tmp_path: Path, opened: bool) -> None:
    # A window of Chromium's is at least 500 pixels wide, whatever it is asked for; a frame is as narrow as a phone.
    text = page.read_text(encoding="utf-8")
    if opened:
        unfold = "<script>document.querySelectorAll('details').forEach(d => d.open = true)</script>"
        text = text.replace("</body>", f"{unfold}</body>")
    copy = tmp_path / "phone.html"
    measure = "document.title = f.contentDocument.documentElement.scrollWidth + ' of ' + f.contentWindow.innerWidth"
    inside = json.dumps(text).replace("<", "\\u003c")
    copy.write_text(
        f'<!doctype html><title>not yet</title><iframe id="f" style="width:390px;height:800px;border:0"></iframe>'
        f"<script>f.onload = () => {{ {measure} }}; f.srcdoc = {inside}</script>",
        encoding="utf-8",
    )
    assert "<title>390 of 390</title>" in document(copy)


def test_a_picture_can_be_taken(page: Path, tmp_path: Path) -> None:
    png = screenshot(page, tmp_path / "page.png", 800, 600)
    assert png.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_halves_and_what_was_asked_for_stand_beneath_the_first_table(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    board = text[text.index('id="board-next_item"') :]
    board = board[: board.index("</section>")]
    assert "of what was taken had been taken before" in board
    assert board.index('class="board"') < board.index("Repeat half of NDCG@10") < board.index("Every pair compared")
    assert "Explore half of NDCG@10" in board
    assert "Revenue@10" not in board  # this shop has no prices
