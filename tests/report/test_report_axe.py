"""axe-core finds nothing on the page, at three widths, in light and in dark, folded and unfolded.

axe-core comes from npm, pinned (`make axe`). Without it a test skips with the reason; with CI=true that is a failure.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from browser import document

AXE = Path(__file__).parent / "axe" / "node_modules" / "axe-core" / "axe.min.js"


def framed(text: str, folder: Path, width: int, script: str) -> Path:
    """A file that shows a page in a frame of some width, and runs a script in it; `done(words)` sets the title."""
    # A window of Chromium's is at least 500 pixels wide, whatever it is asked for; a frame is as narrow as a phone.
    inside = json.dumps(text.replace("</body>", f"<script>{script}</script></body>")).replace("<", "\\u003c")
    frame = f'<iframe id="f" style="width:{width}px;height:900px;border:0"></iframe>'
    done = "window.done = (words) => { document.title = words; };"
    file = folder / "framed.html"
    file.write_text(
        f'<!doctype html><meta charset="utf-8"><title>not yet</title>{frame}'
        f"<script>{done} f.srcdoc = {inside}</script>",
        encoding="utf-8",
    )
    return file


def found(page: Path, folder: Path, width: int, dark: bool, script: str = "") -> list[str]:
    """Rules that axe finds broken, each with the first place."""
    if not AXE.is_file():
        reason = "no axe-core: `make axe` installs it (needs npm)"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    text = page.read_text(encoding="utf-8")
    if dark:  # as if the reader preferred it
        text = re.sub(r"@media screen and \(prefers-color-scheme: dark\)", "@media screen", text)
    run = (
        f"{script}; const s = document.createElement('script'); s.textContent = {json.dumps(AXE.read_text('utf-8'))};"
        "document.body.append(s); axe.run(document, {resultTypes: ['violations']}).then((r) => parent.done("
        "JSON.stringify(r.violations.map((v) => v.id + ': ' + v.nodes[0].html.slice(0, 150)))));"
    )
    said = document(framed(text, folder, width, run.replace("</script", "<\\/script")), budget=20_000)
    title = re.search(r"<title>(.*?)</title>", said, re.DOTALL)
    assert title is not None
    words = title.group(1).replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    assert words != "not yet", "axe did not finish"
    rules: list[str] = json.loads(words)
    return rules


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390, 320])
def test_axe_finds_nothing(full_page: Path, tmp_path: Path, width: int, dark: bool) -> None:
    opened = "document.querySelectorAll('details').forEach((d) => { d.open = true; })"
    assert "\n".join(found(full_page, tmp_path, width, dark, opened)) == ""


def test_axe_would_notice_a_picture_without_words(full_page: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.html"
    text = full_page.read_text(encoding="utf-8").replace('role="img" aria-label="', 'role="img" data-label="')
    broken.write_text(text, encoding="utf-8")
    assert any(rule.startswith("svg-img-alt") for rule in found(broken, tmp_path, 1280, False))
