"""The page opened in a browser: its tables saved, printed, searched, on a narrow phone."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from test_report_axe import framed

from browser import document


@pytest.fixture(scope="module")
def opened(full_page: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The title after a script ran on the page, as wide as told."""

    def run(script: str, width: int = 1280) -> str:
        folder = tmp_path_factory.mktemp("opened")
        text = full_page.read_text(encoding="utf-8")
        shown = document(framed(text, folder, width, script))
        found = re.search(r"<title>(.*?)</title>", shown, re.DOTALL)
        assert found is not None
        return found.group(1).replace("&gt;", ">").replace("&lt;", "<").replace("&amp;", "&")

    return run


def test_every_table_is_saved_as_csv_that_no_spreadsheet_runs(opened: Any) -> None:
    script = """
      const parts = [];
      window.Blob = class { constructor(p) { parts.push(p.join("")); } };
      URL.createObjectURL = () => "data:,"; HTMLAnchorElement.prototype.click = () => {};
      const row = document.querySelector("table.board tbody tr th"); row.textContent = "=cmd|' /C calc'!A0";
      const buttons = document.querySelectorAll("button.csv");
      buttons.forEach((b) => b.click());
      const bare = Array.from(document.querySelectorAll("main table")).length;
      const board = parts.find((part) => part.includes("cmd|"));
      parent.done(JSON.stringify([buttons.length, bare, board, parts.length]));
    """
    buttons, tables, board, saved = json.loads(opened(script))
    assert buttons == saved
    assert 0 < buttons <= tables
    head, first = board.lstrip("\ufeff").split("\r\n")[:2]
    assert '"NDCG@10","NDCG@10 from","NDCG@10 to"' in head  # a figure with an interval is three cells
    assert first.startswith("\"'=cmd|' /C calc'!A0\"")
    assert re.search(r'"0\.\d+","0\.\d+","0\.\d+"', first)


def test_on_paper_everything_is_open_and_no_column_is_left_out(opened: Any, full_page: Path) -> None:
    script = """
      window.dispatchEvent(new Event("beforeprint"));
      const open = document.querySelectorAll("details:not([open])").length;
      window.dispatchEvent(new Event("afterprint"));
      parent.done(open + " closed, then " + document.querySelectorAll("details[open]").length + " open");
    """
    assert opened(script) == "0 closed, then 0 open"
    css = full_page.read_text(encoding="utf-8").partition("<style>")[2].partition("</style>")[0]
    hidden = [rule for rule in re.findall(r"@media ([^{]+)\{", css) if "max-width" in rule and "screen" not in rule]
    assert hidden == []  # what is hidden on narrow screens is not hidden on narrow paper
    paper = css[css.index("@media print") :]
    assert ".extra" not in paper


def test_a_customer_is_found_by_what_was_bought(opened: Any) -> None:
    script = """
      const box = document.getElementById("customer-search"), list = document.getElementById("customer");
      box.value = "no such thing"; box.dispatchEvent(new Event("input"));
      const none = Array.from(list.options).filter((o) => !o.hidden).length;
      box.value = "Customer 2"; box.dispatchEvent(new Event("input"));
      parent.done(none + " " + Array.from(list.options).filter((o) => !o.hidden).length + " " +
        document.querySelector(".shop-who strong").textContent);
    """
    assert opened(script) == "0 1 Customer 2"


@pytest.mark.parametrize("width", [390, 320])
def test_nothing_is_scrolled_sideways_on_a_narrow_phone_with_all_unfolded(opened: Any, width: int) -> None:
    script = """
      document.querySelectorAll("details").forEach((d) => { d.open = true; });
      parent.done(document.documentElement.scrollWidth + " of " + window.innerWidth);
    """
    assert opened(script, width) == f"{width} of {width}"
