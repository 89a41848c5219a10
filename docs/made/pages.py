"""All pages that are made, by the place that they have in the site, and the parts that are made of written ones."""

from __future__ import annotations

import re
from collections.abc import Callable

from made import (
    benchmarks,
    commands,
    disclosure,
    elsewhere,
    errors,
    features,
    included,
    measured,
    metrics,
    models,
    settings,
    sources,
)

MADE: dict[str, Callable[[], str]] = {
    "reference/commands.md": commands.page,
    "reference/settings.md": settings.page,
    "reference/datasets.md": settings.datasets_page,
    "reference/sources.md": sources.page,
    "reference/models.md": models.page,
    "reference/features.md": features.page,
    "reference/metrics.md": metrics.page,
    "reference/errors.md": errors.page,
    "reference/benchmarks.md": benchmarks.page,
    "reference/disclosure.md": disclosure.page,
}
PARTS: dict[str, Callable[[], str]] = {
    "elsewhere cases": elsewhere.cases,
    "elsewhere tables": elsewhere.tables,
    "elsewhere versions": elsewhere.versions,
    "shops": measured.shops,
    "customers": measured.customers,
    "customers by log": measured.customers_by_log,
    "customers of a table": measured.customers_of_a_table,
}
"""What stands in a written page as `<!-- made: name -->`."""
MARK = re.compile(r"<!-- made: ([\w ]+) -->")
FIGURE = re.compile(r"<!-- figure: (\w+) \| ([^|]+?) -->")


def made_pages() -> dict[str, str]:
    """Place in the site -> text in Markdown."""
    return {uri: page() for uri, page in MADE.items()} | included.pages()


def with_parts(text: str) -> str:
    """A written page with its made parts; an unknown one is an error, so that no page has a hole."""
    text = MARK.sub(lambda mark: PARTS[mark[1]](), text)
    return FIGURE.sub(lambda mark: benchmarks.figure(mark[1], mark[2]), text)
