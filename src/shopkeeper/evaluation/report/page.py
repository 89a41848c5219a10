"""The page: one HTML file with its styles, script and data inside. It asks nothing of any network."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from typing import TYPE_CHECKING, Any

from shopkeeper import __version__
from shopkeeper.evaluation.report import boards
from shopkeeper.evaluation.report.boards import Section
from shopkeeper.evaluation.report.figures import Report
from shopkeeper.evaluation.report.templating import fill
from shopkeeper.evaluation.report.words import answer

if TYPE_CHECKING:
    from markupsafe import Markup


def render(report: Report) -> str:
    """The whole document."""
    sections: list[Section | None] = []
    for b in [b for b in report.boards if b.models]:
        sections += [
            boards.leaderboard(b),
            boards.coverage(b),
            boards.slices(b),
            boards.reliability(b),
            boards.gains(b),
            boards.profit(b),
        ]
    sections += [boards.sanity(b) for b in report.boards]
    sections += [_window(report.window), _audit(report), _protocol(report)]
    return fill(
        "page.html",
        report=report,
        answers=[answer(b) for b in report.boards],
        sections=[s for s in sections if s],
        style=_file("report.css"),
        script=_file("report.js"),
        version=__version__,
        personal=personal_data(report.window),
    )


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
        f"Whoever knows a purchase may recognise who made it: pass it on to those alone who may see the shop’s log, or "
        f"write it with report.customers=0."
    )


def _file(name: str) -> Markup:
    """A file of this package that goes into the page as it is."""
    from markupsafe import Markup

    return Markup(resources.files(__package__).joinpath(name).read_text(encoding="utf-8"))


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
