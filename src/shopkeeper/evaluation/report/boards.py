"""The sections about a board's models: leaderboard, coverage, reliability, gains. HTML strings."""

from __future__ import annotations

from html import escape

from shopkeeper.evaluation.compare import p_shown
from shopkeeper.evaluation.report import charts
from shopkeeper.evaluation.report.charts import interval, key, legend, number, span, track
from shopkeeper.evaluation.report.figures import Board, Model, label_of_model
from shopkeeper.evaluation.report.gather import shown_metrics
from shopkeeper.evaluation.report.names import heading_of, label_of, labelled
from shopkeeper.evaluation.report.parts import Section, axis_cells, section


def leaderboard(b: Board) -> Section:
    """Models with their intervals as a plot, seeds, every pair, all figures."""
    anchor = f"board-{b.task}"
    metrics = shown_metrics(b)
    axis = span([m.metrics[b.metric] for m in b.models if b.metric in m.metrics], zero=b.higher_is_better)
    top = b.ceiling
    ceiling = top.metrics[b.metric].value if top is not None and b.metric in top.metrics else None
    head = "".join(
        f'<th scope="col" class="num{" extra" if i else ""}">{escape(heading_of(m))}</th>'
        for i, m in enumerate(metrics)
    )
    told = [m for m in b.models if m.uses_instant and not m.is_oracle and m not in b.rivals]
    groups = [b.rivals, told, [m for m in b.models if m.is_oracle]]
    rows, *apart = ["".join(_leader_row(m, b, metrics, axis, ceiling) for m in some) for some in groups]
    if told:
        note = "These read the moment of the request, which the models above were not told: no rivals of theirs"
        apart[0] = f'<tr class="apart"><th scope="rowgroup" colspan="{len(metrics) + 2}">{note}</th></tr>{apart[0]}'
    rows += "".join(apart)
    foot = axis_cells(axis, len(metrics))
    better = "more is better" if b.higher_is_better else "less is better"
    lead = f"{escape(heading_of(b.metric))} with {b.level} intervals over {b.n:,} {b.words.row}s; {better}."
    if b.unscored:
        lead += f" Not defined for {escape(', '.join(b.unscored))}."
    if ceiling is not None:
        lead += " The dashed line is the ceiling: what somebody who knows the simulated shop’s rules would reach."
    table = (
        f'<table class="board"><thead><tr><th scope="col">Model</th><th scope="col" class="wide">'
        f'<span class="visually-hidden">Plot of {escape(label_of(b.metric))}</span></th>{head}</tr></thead>'
        f"<tbody>{rows}{foot}</tbody></table>"
    )
    return (
        anchor,
        b.words.models,
        section(anchor, f"{b.words.models} side by side", lead, table + _seeds(b) + _pairs(b) + _all_figures(b)),
    )


def _leader_row(m: Model, b: Board, metrics: list[str], axis: tuple[float, float], ceiling: float | None) -> str:
    v = m.metrics[b.metric]
    first = f'<td class="num"><b>{number(v.value)}</b> <small>{number(v.low)}–{number(v.high)}</small></td>'
    rest = "".join(
        f'<td class="num extra">{number(m.metrics[k].value) if k in m.metrics else "–"}</td>' for k in metrics[1:]
    )
    kind = ' class="oracle"' if m.is_oracle else ""
    like = "<small>not told apart from the best</small>" if b.like_the_best(m) else ""
    return (
        f'<tr{kind}><th scope="row">{key(m)}{like}</th>'
        f'<td class="wide">{track([(m.colour, v)], axis, 23, ceiling)}</td>'
        f"{first}{rest}</tr>"
    )


def _seeds(b: Board) -> str:
    """Mean and spread of the models that were trained with several seeds."""
    if not b.seeds:
        return ""
    rows = "".join(
        f'<tr><th scope="row">{escape(label_of_model(r.model))}</th><td class="num">{len(r.seeds)}</td>'
        f'<td class="num"><b>{number(r.mean.value)}</b> <small>{number(r.mean.low)}–{number(r.mean.high)}</small></td>'
        f'<td class="num">{number(r.spread, 4)}</td><td class="num">{r.from_seeds:.0%}</td></tr>'
        for r in b.seeds
    )
    head = "".join(
        f'<th scope="col" class="num">{escape(name)}</th>'
        for name in ("seeds", f"mean {label_of(b.metric)}", "spread", "due to seeds")
    )
    lead = (
        "The same model with another seed: the interval holds for new customers and new seeds; spread is the standard "
        "deviation of the seeds’ means; what of the mean’s variance is not due to seeds is due to who was asked."
    )
    notes = dict.fromkeys(r.note for r in b.seeds if r.note)
    lead += "".join(f" {escape(n[:1].upper() + n[1:])}." for n in notes)
    return (
        f'<h3>Over seeds</h3><p class="lead">{lead}</p><div class="scroll" tabindex="0" role="region" '
        f'aria-label="Over seeds"><table class="seeds"><thead><tr><th scope="col">Model</th>{head}'
        f"</tr></thead><tbody>{rows}</tbody></table></div>{_between_seeds(b)}"
    )


def _between_seeds(b: Board) -> str:
    """Each pair of models with several seeds, in words."""
    said = []
    for i, one in enumerate(b.seeds):
        for other in b.seeds[i + 1 :]:
            if (d := one.ahead_of.get(other.model)) is None or d.low is None or d.high is None:
                continue
            names = [label_of_model(one.model), label_of_model(other.model)]
            if d.low <= 0 <= d.high:
                said.append(f"{names[0]} and {names[1]} cannot be told apart ({number(d.low)} to {number(d.high)})")
                continue
            if (d.value > 0) != b.higher_is_better:
                names.reverse()
            bounds = sorted((abs(d.low), abs(d.high)))
            said.append(
                f"{names[0]} is better than {names[1]} by {number(abs(d.value))} {label_of(b.metric)} "
                f"({number(bounds[0])} to {number(bounds[1])})"
            )
    together = " (these intervals hold together)" if len(said) > 1 else ""
    return f"<p>Over seeds, {escape('; '.join(said))}{together}.</p>" if said else ""


def _pairs(b: Board) -> str:
    """Every paired difference, in words."""
    if not b.differences:
        return ""
    names = [m.name for m in b.models]
    rows = "".join(
        f'<tr><td>{escape(labelled(d.statement, names))}</td><td class="num">{escape(p_shown(d.p_value))}</td></tr>'
        for d in b.differences
    )
    first = b.differences[0]
    how = (
        f"Judged together: {first.family} comparison{'s' * (first.family > 1)} by {first.method}. All {b.level} "
        f"intervals here hold at once, and one excludes 0 exactly when its p does not exceed {1 - b.confidence:.2g}."
    )
    return (
        f"<details><summary>Every pair compared ({len(b.differences)})</summary>"
        f"<p class='lead'>{escape(how)}</p><div class='scroll'><table>"
        f'<thead><tr><th scope="col">Finding</th><th scope="col" class="num">p (adjusted)</th></tr></thead>'
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


def coverage(b: Board) -> Section | None:
    """Accuracy against coverage, and coverage by number of requests."""
    name = f"coverage@{b.k}"
    points = [
        (m, m.metrics[name], m.metrics[b.metric]) for m in b.models if name in m.metrics and b.metric in m.metrics
    ]  # all seeds: how far they are apart is seen here
    if len(points) < 2:
        return None
    lead = (
        f"How much of the catalogue somebody is shown among the {b.places}, against {escape(label_of(b.metric))}. "
        f"Up is accurate, right is varied. Coverage has no interval: it depends on how many were asked, "
        f"{b.n:,} for every model here."
    )
    chart = charts.scatter(points, "share of the catalogue shown", label_of(b.metric))
    return "coverage", "Coverage", section("coverage", "Accuracy against coverage", lead, chart + _rarefaction(b))


def _rarefaction(b: Board) -> str:
    """Coverage expected if fewer had been asked: the only fair way to set shops of different size side by side."""
    series = [(m, c["n"], c["coverage"]) for m in b.models if (c := b.curves.get(m.name)) and len(c["n"]) > 1]
    if not series:
        return ""
    x_axis = 0.0, float(max(n[-1] for _, n, _ in series))
    y_axis = 0.0, min(1.0, max(max(y) for _, _, y in series) * 1.08)
    lead = (
        "Would more of the catalogue be shown if more were asked? A line that has become flat says no. Set models of "
        "different reports side by side at the same number of requests, never at the ends of their lines."
    )
    chart = charts.lines(
        series, x_axis, y_axis, "requests asked", "share of the catalogue shown, expected", marked=False
    )
    return f'<h3>Coverage by number of requests</h3><p class="lead">{lead}</p>{legend(m for m, _, _ in series)}{chart}'


def reliability(b: Board) -> Section | None:
    """Predicted against observed."""
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
    return anchor, "Reliability", section(anchor, title, lead, f'<div class="cards">{"".join(cards)}</div>')


def gains(b: Board) -> Section | None:
    """Whom a campaign of limited size would reach."""
    if not b.gains:
        return None
    models = {m.name: m for m in b.models}
    tenths = [i / 10 for i in range(11)]
    series = [(models[g.model], tenths, [0.0, *g.gain]) for g in b.gains]
    chart = charts.lines(
        series, (0.0, 1.0), (0.0, 1.0), "share of the customers, highest probability first", "share of all who did it",
        diagonal=True,
    )  # fmt: skip
    head = "".join(f'<th scope="col" class="num">{i}</th>' for i in range(1, 11))
    rows = "".join(
        f'<tr><th scope="row">{key(models[g.model])}</th>'
        + "".join(f'<td class="num">{number(v, 1)}</td>' for v in g.lift)
        + "</tr>"
        for g in b.gains
    )
    table = (
        f'<h3>Lift by tenth</h3><div class="scroll" tabindex="0" role="region" aria-label="Lift by tenth of customers">'
        f'<table class="lift"><thead><tr><th scope="col">Tenth of the customers</th>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )
    best = next((g for g in b.gains if g.model == b.rivals[0].name), b.gains[0])
    lead = (
        f"The fifth with the highest probabilities of {escape(models[best.model].label)} holds {best.gain[1]:.0%} of "
        f"those who did it. On the dashed line the choice is by chance, and lift is 1."
    )
    content = f"{legend(m for m, _, _ in series)}{chart}{table}"
    return f"gains-{b.task}", "Gains", section(f"gains-{b.task}", "Whom would a campaign reach?", lead, content)
