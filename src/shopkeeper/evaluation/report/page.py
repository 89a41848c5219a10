"""The page: one HTML file with its styles, script and data inside. It asks nothing of any network."""

from __future__ import annotations

import json
from collections.abc import Mapping
from html import escape
from importlib import resources
from string import Template
from typing import Any

from shopkeeper import __version__
from shopkeeper.evaluation.report import boards, charts
from shopkeeper.evaluation.report.charts import interval, legend, span, track
from shopkeeper.evaluation.report.figures import Board, Model, Report, SlicePanel
from shopkeeper.evaluation.report.names import heading_of, label_of
from shopkeeper.evaluation.report.parts import Section, axis_cells, check_table, section
from shopkeeper.evaluation.report.words import answer, slice_name

FOLDED_SLICES = 6  # panels shown at once; the rest is behind a click


def render(report: Report) -> str:
    """The whole document."""
    sections: list[Section | None] = [_answers(report)]
    for b in [b for b in report.boards if b.models]:
        sections.append(boards.leaderboard(b))
        sections.append(boards.coverage(b))
        sections.append(_slices(b))
        sections.append(boards.reliability(b))
        sections.append(boards.gains(b))
    sections += [_sanity(b) for b in report.boards]
    sections += [_window(report.window), _audit(report), _protocol(report)]
    made = [s for s in sections if s]
    links = "".join(f'<li><a href="#{anchor}">{escape(name)}</a></li>' for anchor, name, _ in made if name)
    body = "\n".join(html for _, _, html in made)
    data = json.dumps(report.window, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    return Template(_file("page.html")).substitute(
        title=escape(report.title),
        subtitle=escape(report.subtitle),
        style=_file("report.css"),
        definitions=charts.definitions(),
        links=links,
        body=body,
        data=data,
        script=_file("report.js"),
        version=escape(__version__),
        personal=escape(personal_data(report.window)),
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


def _file(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def _answers(report: Report) -> Section:
    parts = []
    for b in report.boards:
        a = answer(b)
        tiles = "".join(f"<li><b>{escape(f)}</b> <span>{escape(what)}</span></li>" for f, what in a.tiles)
        text = "".join(f"<p>{p}</p>" for p in a.paragraphs)
        parts.append(
            f'<article class="answer"><p class="question">{escape(a.question)}</p><h2>{a.headline}</h2>'
            f'<ul class="tiles">{tiles}</ul>{text}</article>'
        )
    return "answer", "Answer", f'<section id="answer" aria-label="The answer">{"".join(parts)}</section>'


def _slices(b: Board) -> Section | None:
    if not b.slices:
        return None
    anchor = f"slices-{b.task}"
    shown = [m for m in b.models if any(m.name in r.models for p in b.slices for r in p.rows)]
    values = [v for p in b.slices for r in p.rows if not r.small for v in r.models.values()]
    axis = span(values or [v for p in b.slices for r in p.rows for v in r.models.values()])
    # Panels with a finding first, then those that differ most between their rows.
    order = sorted(b.slices, key=lambda p: not any(r.loses_to for r in p.rows))
    panels = [_panel(p, shown, axis, b) for p in order]
    more = "".join(panels[FOLDED_SLICES:])
    folded = (
        f'<details class="more"><summary>{len(panels) - FOLDED_SLICES} more ways to look</summary>'
        f'<div class="panels">{more}</div></details>'
        if more
        else ""
    )
    of_what = b.words.row
    lead = (
        f"{escape(heading_of(b.metric))} by kind of {of_what}, on one scale. "
        f"Faded rows are too small to tell (under 100). "
        f"A ⚠ marks where the winner is significantly worse than another model, "
        f"all kinds of {of_what}s and models judged together."
    )
    content = f'{legend(shown)}<div class="panels">{"".join(panels[:FOLDED_SLICES])}</div>{folded}'
    return (
        anchor,
        b.words.slices,
        section(anchor, b.words.who, lead, content),
    )


def _panel(p: SlicePanel, shown: list[Model], axis: tuple[float, float], b: Board) -> str:
    rows = []
    for r in p.rows:
        marks = [(m.colour, _clipped(r.models[m.name], axis)) for m in shown if m.name in r.models]
        said = "; ".join(f"{m.label} {interval(r.models[m.name])}" for m in shown if m.name in r.models)
        warn = ""
        if r.loses_to:
            other = next((m.label for m in b.models if m.name == r.loses_to), r.loses_to)
            warn = f'<span class="lost">⚠ {escape(other)} better</span>'
        rows.append(
            f'<tr class="{"small" if r.small else ""}"><th scope="row">{escape(r.value)}{warn}</th>'
            f'<td class="wide">{track(marks, axis, 10)}<span class="visually-hidden">{escape(said)}</span></td>'
            f'<td class="num">{r.n:,}</td></tr>'
        )
    return (
        f'<table class="panel"><caption>{escape(slice_name(p.name, b.zone))}</caption><thead><tr>'
        f'<th scope="col"><span class="visually-hidden">Kind</span></th><th scope="col" class="wide">'
        f'<span class="visually-hidden">{escape(label_of(b.metric))}</span></th>'
        f'<th scope="col" class="num">n</th></tr></thead><tbody>{"".join(rows)}{axis_cells(axis)}</tbody></table>'
    )


def _clipped(v: charts.Value, axis: tuple[float, float]) -> charts.Value:
    """The interval of a small slice may reach beyond the axis, which is made for the others."""

    def inside(x: float | None) -> float | None:
        return None if x is None else min(max(x, axis[0]), axis[1])

    value = inside(v.value)
    assert value is not None
    return charts.Value(value, inside(v.low), inside(v.high), v.n)


def _sanity(b: Board) -> Section | None:
    if not b.sanity:
        return None
    lead = "Do the figures mean what they seem to? A tick is as it should be, a dot is worth knowing, a cross is wrong."
    anchor = f"sanity-{b.task}"
    return anchor, "Checks", section(anchor, "Sanity checks", lead, check_table(b.sanity))


def _window(window: Mapping[str, Any] | None) -> Section | None:
    if window is None or not window["cases"]:
        return None
    lead = (
        "Single customers: what they did, what each model would have shown them at that moment, and what they then "
        "took. Choose one, or leaf through with the buttons or the ← → keys."
    )
    without = "The shop window needs JavaScript; nothing else on this page does."
    content = f'<div id="window"><noscript><p>{without}</p></noscript></div>'
    return "shop", "Shop window", section("shop", "The shop window", lead, content)


def _audit(report: Report) -> Section | None:
    if not report.audit:
        return None
    passed = sum(found == "passed" for _, found, _ in report.audit)
    lead = (
        f"Does anything that a model learnt from come from its future? {passed} checks of the split, run when the data "
        f"were prepared; had one failed, there would be no report. Dots are worth knowing, not wrong."
    )
    return "audit", "Leak audit", section("audit", "The data’s leak audit", lead, check_table(report.audit))


def _protocol(report: Report) -> Section:
    rows = "".join(f"<div><dt>{escape(k)}</dt><dd>{escape(v)}</dd></div>" for k, v in report.protocol)
    return "protocol", "Protocol", section("protocol", "The exact protocol", "", f'<dl class="facts">{rows}</dl>')
