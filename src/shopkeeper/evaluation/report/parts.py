"""What the sections of the page have in common. HTML strings."""

from __future__ import annotations

import re
from html import escape

from shopkeeper.evaluation.report.charts import axis_row

Section = tuple[str, str, str]  # anchor, name in the table of contents, HTML


def section(anchor: str, title: str, lead: str, content: str) -> str:
    """A section with its heading; `lead` and `content` are HTML."""
    lead = f'<p class="lead">{lead}</p>' if lead else ""
    heading = f'<h2 id="{anchor}-h">{escape(title)}</h2>'
    return f'<section id="{anchor}" aria-labelledby="{anchor}-h">{heading}{lead}{content}</section>'


def axis_cells(axis: tuple[float, float], after: int = 1) -> str:
    """The numbers under a table's plots; `after` columns follow."""
    cells = f'<td></td><td class="wide">{axis_row(axis)}</td><td colspan="{after}"></td>'
    return f'<tr class="axis-row" aria-hidden="true">{cells}</tr>'


def check_table(found: list[tuple[str, str, str]]) -> str:
    """Checks with their findings and signs; text in `backticks` is code, a line break stays one.

    Quotes stay as they are: they are part of what is typed.
    """
    signs = {"good": "✓", "note": "•", "bad": "✗"}

    def text(finding: str) -> str:
        return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(finding, quote=False)).replace("\n", "<br>")

    rows = "".join(
        f'<tr class="{state}"><td class="sign" aria-hidden="true">{signs[state]}</td>'
        f'<th scope="row">{escape(check)}</th><td>{text(finding)}</td></tr>'
        for check, finding, state in found
    )
    return (
        '<table class="audit"><thead class="visually-hidden"><tr><td></td><th scope="col">Check</th>'
        f'<th scope="col">Found</th></tr></thead><tbody>{rows}</tbody></table>'
    )
