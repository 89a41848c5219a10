"""Pages of the repository that are read there, too: as they are, with links that lead on within the site."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = {
    "CONTRIBUTING.md": "project/contributing.md",
    "CHANGELOG.md": "project/changelog.md",
    "docs/design.md": "project/design.md",
    "docs/leaderboard.md": "reference/leaderboard.md",
    "docs/records.md": "reference/records.md",
    "docs/recbole.md": "reference/recbole.md",
    "docs/formats.md": "reference/tables.md",
    "clients/javascript/README.md": "reference/javascript.md",
    **{f"docs/decisions/{path.name}": f"project/decisions/{path.name.replace('README', 'index')}"
       for path in sorted((ROOT / "docs" / "decisions").glob("*.md"))},
}  # fmt: skip
"""File of the repository -> page of the site."""
FOLDERS = {"docs/decisions": "project/decisions/index.md"}
LINK = re.compile(r"(!?\[[^\]]*\])\(([^)\s#]*)(#[^)\s]*)?\)")


def pages() -> dict[str, str]:
    """Every such page."""
    return {uri: linked((ROOT / path).read_text(encoding="utf-8"), path) for path, uri in PAGES.items()}


def linked(text: str, path: str) -> str:
    """The text of a file of the repository, as the page that it becomes.

    A link to another such file leads to its page; of one to a file that is no page its words alone stay.
    """
    folder = posixpath.dirname(path)

    def changed(match: re.Match[str]) -> str:
        words, target, anchor = match[1], match[2], match[3] or ""
        if not target or "://" in target:
            return match[0]
        meant = posixpath.normpath(posixpath.join(folder, target))
        if meant.startswith("docs/site/"):
            uri: str | None = meant.removeprefix("docs/site/")
        else:
            uri = PAGES.get(meant) or FOLDERS.get(meant)
        if uri is None:
            return words.lstrip("!").strip("[]")
        return f"{words}({posixpath.relpath(uri, posixpath.dirname(PAGES[path]) or '.')}{anchor})"

    return LINK.sub(changed, text)
