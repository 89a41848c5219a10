"""The report: one self-contained HTML file that says which model, by how much, how sure, and for whom not.

`gather` turns the evaluated sections into figures (`figures`), `words` puts the answer into sentences, `charts` draws,
`page` fills the `templates/`. Opens without a network.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from shopkeeper.evaluation.report.gather import gather
from shopkeeper.files import write_text


def write_report(
    folder: Path, sections: Mapping[str, Mapping[str, Any]], options: Mapping[str, Any] | None = None
) -> Path:
    """Write `folder/report.html` and return its path.

    Args:
        folder: of the report.
        sections: per task what `pipeline.evaluate` has gathered; see `gather`.
        options: `customers` in the shop window, `chosen` (external ids shown first), `seed`, `resamples` for slices.
    """
    from shopkeeper.evaluation.report.page import render  # brings Jinja2, which only a page needs

    path = Path(folder) / "report.html"
    write_text(path, render(gather(sections, options or {})))
    return path


__all__ = ["write_report"]
