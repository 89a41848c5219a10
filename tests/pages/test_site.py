"""The site is built strictly: every link leads somewhere. Its pages work from the disk and ask nobody for anything."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from browser import console_errors, document

ROOT = Path(__file__).parents[2]
FETCHED = {"script": "src", "link": "href", "img": "src", "iframe": "src", "source": "src", "video": "src"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(place)]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return place


class Asked(HTMLParser):
    """What a page has its browser fetch, and the words that it shows."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.headings = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.headings += tag == "h1"
        told = dict(attrs)
        if tag in FETCHED and told.get(FETCHED[tag]) and told.get("rel") not in ("canonical", "prev", "next"):
            self.fetched.append(str(told[FETCHED[tag]]))


def test_pages_fetch_nothing_from_elsewhere_and_what_they_fetch_is_there(site: Path):
    pages = [path for path in site.rglob("*.html") if path.name != "404.html"]  # which stands for any address
    assert len(pages) > 25
    for path in pages:
        page = Asked()
        page.feed(path.read_text(encoding="utf-8"))
        assert page.headings == 1, f"{path}: {page.headings} titles"
        elsewhere = [one for one in page.fetched if re.match(r"(https?:)?//", one)]
        assert not elsewhere, f"{path} fetches {elsewhere}"
        there = [(path.parent / one.partition("?")[0].partition("#")[0]).is_file() for one in page.fetched]
        assert all(there), f"{path}: {page.fetched}"
    styles = "".join(path.read_text(encoding="utf-8") for path in site.rglob("*.css"))
    assert not re.search(r"(@import|url\()\s*[\"']?(https?:)?//", styles)


def test_nothing_of_a_page_is_left_unmade(site: Path):
    for path in site.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        left = [mark for mark in ("<!-- made:", "<!-- figure:", ":math:", ".. math::") if mark in text]
        assert not left, path


class Silent(SimpleHTTPRequestHandler):
    def log_message(self, *words: object) -> None:
        pass


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    """The site behind HTTP."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Silent, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_browser_shows_the_pages_without_a_complaint(address: str):
    assert console_errors(f"{address}/index.html") == []
    assert console_errors(f"{address}/reference/metrics.html", width=390) == []
    assert "<mfrac>" in document(f"{address}/reference/metrics.html")


def test_the_search_knows_made_pages(site: Path):
    index = json.loads((site / "search" / "search_index.json").read_text(encoding="utf-8"))
    assert any(one["location"] == "reference/models.html#ease" for one in index["docs"])
