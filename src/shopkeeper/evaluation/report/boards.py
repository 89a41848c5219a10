"""The sections about a board's models: leaderboard, coverage, gains, slices, checks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from shopkeeper.evaluation.asked_for import asked_for
from shopkeeper.evaluation.compare import digits_apart, p_shown
from shopkeeper.evaluation.report import charts
from shopkeeper.evaluation.report.charts import interval, number, scale, span, track
from shopkeeper.evaluation.report.figures import (
    Board,
    Difference,
    Model,
    SlicePanel,
    Value,
    label_of_model,
    one_per_group,
)
from shopkeeper.evaluation.report.gather import shown_metrics
from shopkeeper.evaluation.report.names import heading_of, label_of, labelled
from shopkeeper.evaluation.report.templating import Section, fill
from shopkeeper.evaluation.report.words import slice_name

FOLDED_SLICES = 6  # panels shown at once; the rest is behind a click


def leaderboard(b: Board) -> Section:
    """Models with their intervals as a plot, seeds, every pair, all figures."""
    metrics = shown_metrics(b)
    axis = span([m.metrics[b.metric] for m in b.models if b.metric in m.metrics], zero=b.higher_is_better)
    top = b.ceiling
    ceiling = top.metrics[b.metric].value if top is not None and b.metric in top.metrics else None
    told = [m for m in b.models if m.uses_instant and not m.is_oracle and m not in b.rivals]
    note = "These read the moment of the request, which the models above were not told: no rivals of theirs"
    rows = [
        {
            "model": m,
            "note": note if told and m is told[0] else "",
            "track": track([(m.colour, m.metrics[b.metric])], axis, 23, ceiling, [m.label]),
            "like_the_best": b.like_the_best(m),
        }
        for m in [*b.rivals, *told, *(m for m in b.models if m.is_oracle)]
    ]
    better = "more is better" if b.higher_is_better else "less is better"
    lead = f"{heading_of(b.metric)} with {b.level} intervals over {b.n:,} {b.words.row}s; {better}."
    if b.unscored:
        lead += f" Not defined for {', '.join(b.unscored)}."
    if ceiling is not None:
        lead += " The dashed line is the ceiling: what somebody who knows the simulated shop’s rules would reach."
    names = [m.name for m in b.models]
    content = fill(
        "leaderboard.html",
        b=b,
        metrics=metrics,
        rows=rows,
        scale=scale(axis),
        beneath=[m for name in b.beneath if any((m := name.format(k=b.k)) in model.metrics for model in b.models)],
        asked_for=asked_for({name: vars(v) for name, v in b.models[0].metrics.items()}),
        seeds_lead=_seeds_lead(b),
        seeds_compared=_between_seeds(b),
        pairs=[(labelled(d.statement, names), p_shown(d.p_value)) for d in b.differences],
        pairs_lead=_pairs_lead(b, b.differences),
        further=[(labelled(d.statement, names), p_shown(d.p_value)) for d in b.further],
        further_lead=_pairs_lead(b, b.further),
        all_metrics=list(dict.fromkeys(k for m in b.models for k in m.metrics)),
    )
    return Section(f"board-{b.task}", b.words.models, f"{b.words.models} side by side", lead, content)


def _seeds_lead(b: Board) -> str:
    lead = (
        "The same model with another seed: the interval holds for new customers and new seeds; spread is the standard "
        "deviation of the seeds’ means; what of the mean’s variance is not due to seeds is due to who was asked."
    )
    notes = dict.fromkeys(r.note for r in b.seeds if r.note)
    return lead + "".join(f" {n[:1].upper() + n[1:]}." for n in notes)


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
            bounds, digits = sorted((abs(d.low), abs(d.high))), digits_apart(d.value, d.low, d.high)
            said.append(
                f"{names[0]} is better than {names[1]} by {number(abs(d.value), digits)} {label_of(b.metric)} "
                f"({number(bounds[0], digits)} to {number(bounds[1], digits)})"
            )
    together = " (these intervals hold together)" if len(said) > 1 else ""
    return f"Over seeds, {'; '.join(said)}{together}." if said else ""


def _pairs_lead(b: Board, differences: Sequence[Difference]) -> str:
    """How paired differences were judged."""
    if not differences:
        return ""
    first = differences[0]
    return (
        f"Judged together: {first.family} comparison{'s' * (first.family > 1)} by {first.method}. All {b.level} "
        f"intervals here hold at once, and one excludes 0 exactly when its p does not exceed {1 - b.confidence:.2g}."
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
        f"How much of the catalogue somebody is shown among the {b.places}, against {label_of(b.metric)}. "
        f"Up is accurate, right is varied. Coverage has no interval: it depends on how many were asked, "
        f"{b.n:,} for every model here."
    )
    chart = charts.scatter(points, "share of the catalogue shown", label_of(b.metric))
    content = fill("coverage.html", chart=chart, **_rarefaction(b))
    return Section("coverage", "Coverage", "Accuracy against coverage", lead, content)


def _rarefaction(b: Board) -> dict[str, Any]:
    """Coverage expected if fewer had been asked: the only fair way to set shops of different size side by side."""
    series = [(m, c["n"], c["coverage"]) for m in b.models if (c := b.curves.get(m.name)) and len(c["n"]) > 1]
    if not series:
        return {"curves": None}
    x_axis = 0.0, float(max(n[-1] for _, n, _ in series))
    y_axis = 0.0, min(1.0, max(max(y) for _, _, y in series) * 1.08)
    lead = (
        "Would more of the catalogue be shown if more were asked? A line that has become flat says no. Set models of "
        "different reports side by side at the same number of requests, never at the ends of their lines."
    )
    chart = charts.lines(
        series, x_axis, y_axis, "requests asked", "share of the catalogue shown, expected", marked=False
    )
    return {"curves": chart, "curves_lead": lead, "models": one_per_group([m for m, _, _ in series])}


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
    best = next((g for g in b.gains if g.model == b.rivals[0].name), b.gains[0])
    lead = (
        f"The fifth with the highest probabilities of {models[best.model].label} holds {best.gain[1]:.0%} of "
        f"those who did it. On the dashed line the choice is by chance, and lift is 1."
    )
    content = fill(
        "gains.html",
        of=b.words.models,
        models=one_per_group([m for m, _, _ in series]),
        chart=chart,
        lifts=[(models[g.model], g.lift) for g in b.gains],
    )
    return Section(f"gains-{b.task}", "Gains", "Whom would a campaign reach?", lead, content)


def slices(b: Board) -> Section | None:
    """Each model by kind of request or customer."""
    if not b.slices:
        return None
    shown = [m for m in b.models if any(m.name in r.models for p in b.slices for r in p.rows)]
    values = [v for p in b.slices for r in p.rows if not r.small for v in r.models.values()]
    axis = span(values or [v for p in b.slices for r in p.rows for v in r.models.values()])
    # Panels with a finding first, then those that differ most between their rows.
    order = sorted(b.slices, key=lambda p: not any(r.loses_to for r in p.rows))
    of_what = b.words.row
    lead = (
        f"{heading_of(b.metric)} by kind of {of_what}, on one scale. "
        f"Faded rows are too small to tell (under 100, or of too few customers). "
        f"A ⚠ marks where the winner is significantly worse than another model, "
        f"all kinds of {of_what}s and models judged together."
    )
    content = fill(
        "slices.html",
        metric=b.metric,
        models=one_per_group(shown),
        panels=[panel(p, shown, axis, b) for p in order],
        shown=FOLDED_SLICES,
        scale=scale(axis),
    )
    return Section(f"slices-{b.task}", b.words.slices, b.words.who, lead, content)


def panel(p: SlicePanel, shown: list[Model], axis: charts.Axis, b: Board) -> dict[str, Any]:
    """One way to cut the requests, as `slices.html` lays it out."""
    rows = []
    for r in p.rows:
        some = [m for m in shown if m.name in r.models]
        rows.append(
            {
                "value": r.value,
                "n": r.n,
                "small": r.small,
                "loses_to": next((m.label for m in b.models if m.name == r.loses_to), r.loses_to),
                "track": track(
                    [(m.colour, _clipped(r.models[m.name], axis)) for m in some],
                    axis,
                    10,
                    names=[m.label for m in some],
                ),
                "said": "; ".join(f"{m.label} {interval(r.models[m.name])}" for m in some),
            }
        )
    return {"caption": slice_name(p.name, b.zone), "rows": rows}


def _clipped(v: Value, axis: charts.Axis) -> Value:
    """The interval of a small slice may reach beyond the axis, which is made for the others."""

    def inside(x: float | None) -> float | None:
        return None if x is None else min(max(x, axis[0]), axis[1])

    value = inside(v.value)
    assert value is not None
    return Value(value, inside(v.low), inside(v.high), v.n)


def sanity(b: Board) -> Section | None:
    """Whether the figures mean what they seem to."""
    if not b.sanity:
        return None
    lead = "Do the figures mean what they seem to? A tick is as it should be, a dot is worth knowing, a cross is wrong."
    return Section(f"sanity-{b.task}", "Checks", "Sanity checks", lead, fill("checks.html", rows=b.sanity))
