"""The page's parts and templates: Jinja2 with autoescaping, so that a name from the data is text wherever it stands.

Loaded where a page is written, not before: training needs no Jinja2.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from html import escape
from typing import TYPE_CHECKING, Any

from shopkeeper.evaluation.report import charts
from shopkeeper.evaluation.report.figures import label_of_model
from shopkeeper.evaluation.report.glossary import metric, term
from shopkeeper.evaluation.report.names import heading_of, label_of

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup


@dataclass(frozen=True)
class Section:
    """A part of the page with its place in the table of contents."""

    anchor: str
    name: str  # in the table of contents
    title: str
    lead: str
    content: Markup
    of: str = ""  # the part that it belongs to: it stands in that one's own list, not in that of the page


def fill(template: str, **values: Any) -> Markup:
    """A template of the folder `templates/` with its values; whatever is no markup is escaped."""
    from markupsafe import Markup

    return Markup(_environment().get_template(template).render(**values))


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    made = Environment(
        loader=PackageLoader(__package__), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    made.filters |= {
        "number": charts.number, "interval": charts.interval, "label": label_of, "heading": heading_of,
        "model": label_of_model, "code": code, "term": term, "metric": metric,
    }  # fmt: skip
    made.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}
    return made


def code(text: str) -> Markup:
    """What stands in `backticks` as code; a line break stays one. For text between tags, where quotes stay as they are:

    what is printed there is typed into a shell, also by whoever copies it from the file.
    """
    from markupsafe import Markup

    parts = [Markup(escape(part, quote=False)) for part in re.split(r"`([^`]+)`", text)]
    marked = (Markup("<code>{}</code>").format(part) if i % 2 else part for i, part in enumerate(parts))
    return Markup("").join(marked).replace("\n", Markup("<br>"))
