"""What notebooks show of datasets, models and comparisons: small tables, with every text escaped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape


def facts(title: str, rows: Mapping[str, str]) -> str:
    """A name and what is to be said of it, line by line.

    Examples:
        >>> facts("a<b", {"n": "1"})
        '<table><caption>a&lt;b</caption><tr><th>n</th><td>1</td></tr></table>'
    """
    lines = "".join(f"<tr><th>{escape(k)}</th><td>{escape(v)}</td></tr>" for k, v in rows.items())
    return f"<table><caption>{escape(title)}</caption>{lines}</table>"


def grid(caption: str, header: Sequence[str], rows: Sequence[Sequence[str]], below: Sequence[str] = ()) -> str:
    """A table with a head, and sentences below it."""
    head = "".join(f"<th>{escape(name)}</th>" for name in header)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    said = "".join(f"<p>{escape(line)}</p>" for line in below)
    return f"<table><caption>{escape(caption)}</caption><tr>{head}</tr>{body}</table>{said}"
