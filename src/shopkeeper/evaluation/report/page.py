"""The page: one HTML file with its styles, script and data inside. It asks nothing of any network."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from html import unescape
from importlib import resources
from typing import TYPE_CHECKING, Any

from shopkeeper import __version__
from shopkeeper.evaluation.report import boards, outreach, people
from shopkeeper.evaluation.report.decide import decide
from shopkeeper.evaluation.report.figures import Report
from shopkeeper.evaluation.report.glossary import glossary
from shopkeeper.evaluation.report.moved import SAME, moved
from shopkeeper.evaluation.report.profit import profit
from shopkeeper.evaluation.report.reliability import reliability
from shopkeeper.evaluation.report.templating import Section, fill
from shopkeeper.evaluation.report.words import answer

if TYPE_CHECKING:
    from markupsafe import Markup


def render(report: Report) -> str:
    """The whole document."""
    sections: list[Section | None] = [_movement(report)]
    for b in [b for b in report.boards if b.models]:
        first = boards.leaderboard(b)
        within = (
            boards.coverage(b), boards.slices(b), reliability(b), boards.gains(b), profit(b), people.drives(b),
            people.over_cutoffs(b), people.drift(b), boards.sanity(b),
        )  # fmt: skip
        sections += [first, *(replace(s, of=first.anchor) for s in within if s)]
    sections += [boards.sanity(b) for b in report.boards if not b.models]
    currency = next((b.currency for b in report.boards if b.currency), "")
    again = report.commands.get("segments", ())
    sections += [outreach.segments(report.segments, again, report.zone, report.customers)]
    sections += [outreach.campaigns(report.audiences, currency, report.zone), outreach.uplift(report.uplifts)]
    sections += [_window(report.window), _audit(report), _protocol(report)]
    shown = [s for s in sections if s]
    words = glossary((m for b in report.boards for one in b.models for m in one.metrics), _words_of(shown))
    shown.append(
        Section("glossary", "Glossary", "What the words and marks mean", "", fill("glossary.html", words=words))
    )
    return fill(
        "page.html",
        report=report,
        answers=[{"decision": decide(b, report), "answer": answer(b)} for b in report.boards],
        sections=shown,
        style=_file("report.css"),
        script=_file("report.js"),
        version=__version__,
        personal=personal_data(report.window),
    )


def _words_of(sections: Iterable[Section]) -> str:
    """All that can be read in sections."""
    return unescape(" ".join(f"{s.title} {s.lead} {re.sub('<[^>]+>', ' ', s.content)}" for s in sections))


def _movement(report: Report) -> Section | None:
    """What has moved since the report before."""
    found = moved(report)
    if found is None:
        return None
    before, rows = found
    changed = sum(change != SAME for *_, change in rows)
    lead = f"Against the report as of {before}: {changed} of {len(rows)} figures are others."
    content = fill("movement.html", rows=rows)
    return Section("movement", "Movement", "What has moved since the last report?", lead, content)


def personal_data(window: Mapping[str, Any] | None) -> str:
    """What the page holds of single people: for the footer, so that whoever passes it on knows."""
    cases = window["cases"] if window else []
    if not cases:
        return "No single customer is on this page: it can be mailed and archived as it is."
    several = "one customer" if len(cases) == 1 else f"{len(cases):,} customers"
    ids = int(window["with_ids"]) if window else 0
    under = f", {ids:,} of them under their ids" if ids else ", under numbers instead of their ids"
    return (
        f"It holds personal data: in the shop window, what {several} did, with dates, and what they then took{under}. "
        f"Whoever knows a purchase may recognise who made it: pass it on to those alone who may see the shop’s log. "
        f"Without report.customers and report.chosen nobody is on it."
    )


def _file(name: str) -> Markup:
    """A file of the folder `templates/` that goes into the page as it is."""
    from markupsafe import Markup

    return Markup(resources.files(__package__).joinpath("templates", name).read_text(encoding="utf-8"))


def _window(window: Mapping[str, Any] | None) -> Section | None:
    if window is None or not window["cases"]:
        return None
    lead = (
        "Single customers: what they did, what each model would have shown them at that moment, and what they then "
        "took. Choose one, or leaf through with the buttons or the ← → keys."
    )
    return Section("shop", "Shop window", "The shop window", lead, fill("window.html"))


def _audit(report: Report) -> Section | None:
    if not report.audit:
        return None
    passed = sum(found == "passed" for _, found, _ in report.audit)
    lead = (
        f"Does anything that a model learnt from come from its future? {passed} checks of the split, run when the data "
        f"were prepared; had one failed, there would be no report. Dots are worth knowing, not wrong."
    )
    return Section("audit", "Leak audit", "The data’s leak audit", lead, fill("checks.html", rows=report.audit))


def _protocol(report: Report) -> Section:
    return Section("protocol", "Protocol", "The exact protocol", "", fill("protocol.html", rows=report.protocol))
