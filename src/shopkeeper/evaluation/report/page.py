"""The page: one HTML file with its styles, script and data inside. It asks nothing of any network."""

from __future__ import annotations

import json
from collections.abc import Mapping
from html import escape
from importlib import resources
from string import Template
from typing import Any

from shopkeeper import __version__
from shopkeeper.evaluation.report import charts
from shopkeeper.evaluation.report.charts import axis_row, interval, key, number, span, track
from shopkeeper.evaluation.report.figures import Board, Model, Report, SlicePanel
from shopkeeper.evaluation.report.gather import heading_of, label_of, shown_metrics
from shopkeeper.evaluation.report.words import answer, slice_name

FOLDED_SLICES = 6  # panels shown at once; the rest is behind a click


def render(report: Report) -> str:
    """The whole document."""
    sections: list[Section | None] = [_answers(report)]
    for b in report.boards:
        sections.append(_leaderboard(b))
        if b.task == "next_item":
            sections.append(_coverage(b))
        sections.append(_slices(b))
        sections.append(_reliability(b))
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
    )


Section = tuple[str, str, str]  # anchor, name in the table of contents, HTML


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


def _section(anchor: str, title: str, lead: str, content: str) -> str:
    lead = f'<p class="lead">{lead}</p>' if lead else ""
    heading = f'<h2 id="{anchor}-h">{escape(title)}</h2>'
    return f'<section id="{anchor}" aria-labelledby="{anchor}-h">{heading}{lead}{content}</section>'


def _task(b: Board) -> str:
    return "Recommenders" if b.task == "next_item" else f"{b.task.replace('_', ' ').capitalize()} models"


def _leaderboard(b: Board) -> Section:
    anchor = f"board-{b.task}"
    metrics = shown_metrics(b)
    axis = span([m.metrics[b.metric] for m in b.models if b.metric in m.metrics], zero=b.higher_is_better)
    top = b.ceiling
    ceiling = top.metrics[b.metric].value if top is not None and b.metric in top.metrics else None
    head = "".join(
        f'<th scope="col" class="num{" extra" if i else ""}">{escape(heading_of(m))}</th>'
        for i, m in enumerate(metrics)
    )
    rows = "".join(_leader_row(m, b, metrics, axis, ceiling) for m in b.models)
    foot = _axis(axis, len(metrics))
    better = "more is better" if b.higher_is_better else "less is better"
    lead = f"{escape(heading_of(b.metric))} with 95 % intervals over {b.n:,} {_who(b)}; {better}."
    if ceiling is not None:
        lead += " The dashed line is the ceiling: what somebody who knows the simulated shop’s rules would reach."
    table = (
        f'<table class="board"><thead><tr><th scope="col">Model</th><th scope="col" class="wide">'
        f'<span class="visually-hidden">Plot of {escape(label_of(b.metric))}</span></th>{head}</tr></thead>'
        f"<tbody>{rows}{foot}</tbody></table>"
    )
    return anchor, _task(b), _section(anchor, f"{_task(b)} side by side", lead, table + _pairs(b) + _all_figures(b))


def _who(b: Board) -> str:
    return "requests" if b.task == "next_item" else "customers"


def _leader_row(m: Model, b: Board, metrics: list[str], axis: tuple[float, float], ceiling: float | None) -> str:
    v = m.metrics[b.metric]
    first = f'<td class="num"><b>{number(v.value)}</b> <small>{number(v.low)}–{number(v.high)}</small></td>'
    rest = "".join(
        f'<td class="num extra">{number(m.metrics[k].value) if k in m.metrics else "–"}</td>' for k in metrics[1:]
    )
    kind = ' class="oracle"' if m.is_oracle else ""
    return (
        f'<tr{kind}><th scope="row">{key(m)}</th><td class="wide">{track([(m.colour, v)], axis, 23, ceiling)}</td>'
        f"{first}{rest}</tr>"
    )


def _pairs(b: Board) -> str:
    """Every paired difference, in words."""
    if not b.differences:
        return ""
    from shopkeeper.evaluation.report.words import labelled

    names = [m.name for m in b.models]
    rows = "".join(
        f"<tr><td>{escape(labelled(d.statement, names))}</td>"
        f'<td class="num">{number(d.p_value) if d.p_value is None or d.p_value >= 0.001 else "&lt; 0.001"}</td></tr>'
        for d in b.differences
    )
    return (
        f"<details><summary>Every pair compared ({len(b.differences)})</summary><div class='scroll'><table>"
        f'<thead><tr><th scope="col">Finding</th><th scope="col" class="num">p (Holm)</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div></details>"
    )


def _all_figures(b: Board) -> str:
    """Every metric of every model with its interval."""
    names = list(dict.fromkeys(k for m in b.models for k in m.metrics))
    head = "".join(f'<th scope="col" class="num">{escape(m.label)}</th>' for m in b.models)
    rows = "".join(
        f'<tr><th scope="row">{escape(heading_of(k))}</th>'
        + "".join(f'<td class="num">{interval(m.metrics[k]) if k in m.metrics else "–"}</td>' for m in b.models)
        + "</tr>"
        for k in names
    )
    return (
        f"<details><summary>All figures with their intervals</summary><div class='scroll' tabindex='0' role='region' "
        f"aria-label='All figures'><table><thead><tr><th scope=\"col\">Metric</th>{head}</tr></thead>"
        f"<tbody>{rows}</tbody></table></div></details>"
    )


def _coverage(b: Board) -> Section | None:
    points = [
        (m, m.metrics["coverage@10"], m.metrics[b.metric])
        for m in b.models
        if "coverage@10" in m.metrics and b.metric in m.metrics
    ]
    if len(points) < 2:
        return None
    lead = (
        f"How much of the catalogue somebody is shown among the ten, against {escape(label_of(b.metric))}. "
        f"Up is accurate, right is varied. Coverage has no interval: it depends on how many were asked, "
        f"{b.n:,} for every model here."
    )
    chart = charts.scatter(points, "share of the catalogue shown", label_of(b.metric))
    return "coverage", "Coverage", _section("coverage", "Accuracy against coverage", lead, chart)


def _slices(b: Board) -> Section | None:
    if not b.slices:
        return None
    anchor = f"slices-{b.task}"
    shown = [m for m in b.models if any(m.name in r.models for p in b.slices for r in p.rows)]
    values = [v for p in b.slices for r in p.rows if not r.small for v in r.models.values()]
    axis = span(values or [v for p in b.slices for r in p.rows for v in r.models.values()])
    legend = "".join(f"<li>{key(m)}</li>" for m in shown)
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
    of_what = "request" if b.task == "next_item" else "customer"
    lead = (
        f"{escape(heading_of(b.metric))} by kind of {of_what}, on one scale. "
        f"Faded rows are too small to tell (under 100). "
        f"A ⚠ marks where the winner is significantly worse than another model."
    )
    content = f'<ul class="legend">{legend}</ul><div class="panels">{"".join(panels[:FOLDED_SLICES])}</div>{folded}'
    title = "Who is served how well" if b.task == "next_item" else f"{_task(b)}, by kind of customer"
    return (
        anchor,
        "Slices" if b.task == "next_item" else f"{b.task.capitalize()} slices",
        _section(anchor, title, lead, content),
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
        f'<table class="panel"><caption>{escape(slice_name(p.name))}</caption><thead><tr>'
        f'<th scope="col"><span class="visually-hidden">Kind</span></th><th scope="col" class="wide">'
        f'<span class="visually-hidden">{escape(label_of(b.metric))}</span></th>'
        f'<th scope="col" class="num">n</th></tr></thead><tbody>{"".join(rows)}{_axis(axis)}</tbody></table>'
    )


def _axis(axis: tuple[float, float], after: int = 1) -> str:
    """The numbers under a table's plots; `after` columns follow."""
    cells = f'<td></td><td class="wide">{axis_row(axis)}</td><td colspan="{after}"></td>'
    return f'<tr class="axis-row" aria-hidden="true">{cells}</tr>'


def _clipped(v: charts.Value, axis: tuple[float, float]) -> charts.Value:
    """The interval of a small slice may reach beyond the axis, which is made for the others."""

    def inside(x: float | None) -> float | None:
        return None if x is None else min(max(x, axis[0]), axis[1])

    value = inside(v.value)
    assert value is not None
    return charts.Value(value, inside(v.low), inside(v.high), v.n)


def _reliability(b: Board) -> Section | None:
    if not b.reliability:
        return None
    anchor = f"reliability-{b.task}"
    cards = []
    for r in b.reliability:
        model = next(m for m in b.models if m.name == r.model)
        e = r.ece_expected
        note = f"ECE {number(r.ece)}"
        if e.low is not None:
            off = e.high is not None and r.ece > e.high
            note += f"; perfect probabilities would show {number(e.low)} to {number(e.high)} here"
            note += ": <b>off</b>" if off else ": nothing speaks against them"
        cards.append(
            f"<figure><figcaption>{key(model)}<span>{note}</span></figcaption>"
            f"{charts.reliability(r.points, r.histogram, model.colour, model.label)}</figure>"
        )
    lead = (
        "Do 30 % of those who were given 30 % do it? On the diagonal, yes. Each mark is a tenth of the customers with "
        "its 95 % interval; the bars below show how often each probability is given."
    )
    title = f"Can the {b.task.replace('_', ' ')} probabilities be believed?"
    return anchor, "Reliability", _section(anchor, title, lead, f'<div class="cards">{"".join(cards)}</div>')


def _window(window: Mapping[str, Any] | None) -> Section | None:
    if window is None or not window["cases"]:
        return None
    lead = (
        "Single customers: what they did, what each model would have shown them at that moment, and what they then "
        "took. Choose one, or leaf through with the buttons or the ← → keys."
    )
    without = "The shop window needs JavaScript; nothing else on this page does."
    content = f'<div id="window"><noscript><p>{without}</p></noscript></div>'
    return "shop", "Shop window", _section("shop", "The shop window", lead, content)


def _audit(report: Report) -> Section | None:
    if not report.audit:
        return None
    signs = {"good": "✓", "note": "•", "bad": "✗"}
    rows = "".join(
        f'<tr class="{state}"><td class="sign" aria-hidden="true">{signs[state]}</td>'
        f'<th scope="row">{escape(check)}</th><td>{escape(found)}</td></tr>'
        for check, found, state in report.audit
    )
    passed = sum(found == "passed" for _, found, _ in report.audit)
    lead = (
        f"Does anything that a model learnt from come from its future? {passed} checks of the split, run when the data "
        f"were prepared; had one failed, there would be no report. Dots are worth knowing, not wrong."
    )
    table = (
        '<table class="audit"><thead class="visually-hidden"><tr><td></td><th scope="col">Check</th>'
        f'<th scope="col">Found</th></tr></thead><tbody>{rows}</tbody></table>'
    )
    return "audit", "Leak audit", _section("audit", "The data’s leak audit", lead, table)


def _protocol(report: Report) -> Section:
    rows = "".join(f"<div><dt>{escape(k)}</dt><dd>{escape(v)}</dd></div>" for k, v in report.protocol)
    return "protocol", "Protocol", _section("protocol", "The exact protocol", "", f'<dl class="facts">{rows}</dl>')
