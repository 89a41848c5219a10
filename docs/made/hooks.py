"""What mkdocs calls: pages that are made from the code join those that are written (`mkdocs.yml`, `hooks`)."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]
PICTURES = ("study.png", "mlflow.png")
sys.path[:0] = [str(ROOT / "docs")]

from made.pages import made_pages, with_parts  # noqa: E402 (found by the line before)


def on_files(files: Files, config: Any) -> Files:
    """Add the made pages."""
    for uri, text in made_pages().items():
        files.append(File.generated(config, uri, content=text))
    for name in PICTURES:  # which README and the repository's pages show, too
        files.append(File.generated(config, f"pictures/{name}", abs_src_path=str(ROOT / "docs" / name)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Put the made parts into a written page."""
    return with_parts(markdown)
