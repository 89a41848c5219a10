"""The report: one self-contained HTML file that says which model, by how much, how sure, and for whom not.

`gather` turns the evaluated sections into figures (`figures`), `words` puts the answer into sentences, `charts` draws,
`page` fills the `templates/`. Opens without a network.
"""

from __future__ import annotations

from pathlib import Path

from shopkeeper.evaluation.report.figures import Report
from shopkeeper.files import write_text


def write_report(folder: Path, report: Report) -> Path:
    """Write `folder/report.html` from what `gather` found, and return its path."""
    from shopkeeper.evaluation.report.page import render  # brings Jinja2, which only a page needs

    path = Path(folder) / "report.html"
    write_text(path, render(report))
    return path


__all__ = ["write_report"]
