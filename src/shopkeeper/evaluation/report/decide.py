"""The first screen: what to do, in money and customers; how good the models are stands below it.

What is emphasised is `Markup`; its `format` and `join` escape what is put in, and the page escapes plain text.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from math import floor
from typing import Any

from markupsafe import Markup

from shopkeeper.evaluation.report.figures import Board, Difference, Model, Report, Value, one_per_group
from shopkeeper.evaluation.report.names import label_of
from shopkeeper.evaluation.report.reliability import direction
from shopkeeper.evaluation.report.words import strong
from shopkeeper.models.about import AMOUNTS, COUNTS, PROBABILITIES

SHOWN = 3  # models that the first one is set beside in money
SAME = "the same"
NOT_CAUSED = "Customers bought it without these lists; what showing them changes, only a test says."


@dataclass(frozen=True)
class Decision:
    """The top of a board."""

    headline: str
    tiles: list[tuple[str, str]]  # figure, what it is
    paragraphs: list[str]
    commands: list[tuple[str, str]] = field(default_factory=list)  # what for, and the words to type


def decide(b: Board, report: Report) -> Decision | None:
    """What to do by a board; None where nothing can be said."""
    if not b.rivals:
        return None
    if b.now is not None and "as_of" in b.now:
        return _customers(b, report)
    if f"hit@{b.k}" in b.rivals[0].metrics:
        return _lists(b, report)
    return None


def amount(x: float, currency: str = "", signed: bool = False) -> str:
    """Money as people write it.

    >>> amount(82.456, "GBP"), amount(-3210.4), amount(16.2, "GBP", signed=True)
    ('82.46 GBP', '\u22123,210', '+16.20 GBP')
    """
    text = f"{x:{'+' if signed else ''},.{2 if abs(x) < 1000 else 0}f}".replace("-", "\u2212")
    return f"{text} {currency}" if currency else text


def day(iso: str) -> str:
    """ "2025-06-30T00:00:00Z" -> "30 June 2025"."""
    at = datetime.fromisoformat(iso)
    return f"{at.day} {at:%B %Y}"


def _between(v: Value) -> str:
    return "no interval" if v.low is None or v.high is None else f"{amount(v.low)} to {amount(v.high)}"


# Recommenders


def _lists(b: Board, report: Report) -> Decision:
    best, tiles, said = b.rivals[0], [], []
    m, unit = best.metrics, b.currency
    others = [o for o in one_per_group(b.rivals) if o.group != best.group]
    if b.money:
        what = (
            "what the shop keeps of what customers then paid"
            if b.money.startswith("margin")
            else "what customers then paid"
        )
        tiles.append((
            amount(m[b.money].value, unit),
            f"a request: {what} for items among its {b.places} ({_between(m[b.money])})",
        ))  # fmt: skip
        said = _in_money(b, best, others)
        if (first := next((d for o in others[:1] if (d := _pair(b, best, o))), None)) is not None:
            sign = 1 if first.better == best.name else -1
            low, high = sorted((sign * (first.difference.low or 0), sign * (first.difference.high or 0)))
            about = f"a request against {others[0].group_label}, the next by accuracy ({amount(low, signed=True)} to "
            told = "" if first.clear else ": not told apart"
            tiles.append(
                (amount(sign * first.difference.value, unit, True), f"{about}{amount(high, signed=True)}){told}")
            )
    else:
        said.append("The log has no prices: what a list is worth in money cannot be said.")
    size = m.get("basket_size")
    beside = f"; their baskets hold {size.value:.1f} items" if size is not None else ""
    tiles.append((f"{m[f'hit@{b.k}'].value:.1%}", f"of requests find something among the {b.places}{beside}"))
    until = f", until {report.until}" if report.until else ""
    tiles.append((f"{b.n:,}", f"requests of test{until}"))
    return Decision(Markup("Show the lists of {}").format(strong(best.group_label)), tiles[:4], said)


def _pair(b: Board, one: Model, other: Model) -> Difference | None:
    wanted = {one.name, other.name}
    return next((d for d in b.in_money if {d.better, d.worse} == wanted and d.difference.low is not None), None)


def _in_money(b: Board, best: Model, others: Sequence[Model]) -> list[str]:
    """The first one beside others in money; whoever is ahead of it there comes first."""
    unit = b.currency
    found = [(o, d) for o in others if (d := _pair(b, best, o))]
    ahead = [(o, d) for o, d in found if d.clear and d.better != best.name]
    wins = [(o, d) for o, d in found if d.clear and d.better == best.name]
    open_ = [(o, d) for o, d in found if not d.clear]

    def listed(some: Sequence[tuple[Model, Difference]]) -> str:
        parts = [
            f"{amount(d.difference.value)} {unit} than {o.group_label} ({_between(d.difference)})" for o, d in some
        ]
        return "; ".join(parts[:SHOWN]) + (f"; and of {len(parts) - SHOWN} others" if len(parts) > SHOWN else "")

    said: list[str] = []
    if ahead:
        names = ", ".join(o.group_label for o, _ in ahead[:SHOWN])
        differences = [d.difference for _, d in ahead[:SHOWN]]
        by = "; ".join(f"by {amount(v.value, unit)} a request ({_between(v)})" for v in differences)
        verb = "is ahead" if len(ahead) == 1 else "are ahead"
        warning = Markup('<span class="warn">{} {} in money, though not in accuracy: {}.</span>')
        said.append(warning.format(strong(names), verb, by))
    if wins:
        said.append(f"A request brings more by {listed(wins)}.".replace("more by", "more, by"))
    if open_:
        names = ", ".join(f"{o.group_label} ({_signed(d, best)})" for o, d in open_[:SHOWN])
        said.append(f"In money it cannot be told apart from {names}.")
    return [*said, f"{'' if unit else 'Amounts are in the log’s currency. '}{NOT_CAUSED}"]


def _signed(d: Difference, best: Model) -> str:
    """The interval of a difference that is not clear, seen from the best one."""
    sign = 1 if d.better == best.name else -1
    low, high = sorted((sign * (d.difference.low or 0.0), sign * (d.difference.high or 0.0)))
    return f"{amount(low, signed=True)} to {amount(high, signed=True)}"


# Customers


def _customers(b: Board, report: Report) -> Decision:
    now, best = b.now, b.rivals[0]
    assert now is not None
    until = day(now["until"])
    if now["answers"] != PROBABILITIES:
        return _totals(b, now, until)
    asked = f"{now['scored']:,} customers" + (f" of the last {now['active_days']:g} days" if now["active_days"] else "")
    expected = f"{now['expected']:,.0f}"
    does = b.words.does or "do it"
    tiles = [(expected, f"of {asked} are expected to {does} by {until} ({now['low']:,.0f} to {now['high']:,.0f})")]
    headline = Markup("{} of {} are expected to {}").format(strong(expected), asked, does)
    if profit := now.get("profit"):
        some, unit = profit["best"], profit["currency"]
        if some["customers"] and some["profit"] > 0:
            headline = Markup("Write to {}: {} expected").format(
                strong(f"{some['customers']:,} customers"), strong(amount(some["profit"], unit))
            )
            tiles.append((
                amount(some["profit"], unit),
                f"expected of an offer to the {some['customers']:,} whose risk is {profit['threshold']:.0%} or more "
                f"({amount(some['low'])} to {amount(some['high'])}); to all: {amount(profit['all']['profit'])}",
            ))  # fmt: skip
        else:
            headline = Markup("Write to {}: by the shop’s values no offer pays").format(strong("nobody"))
    if rate := best.metrics.get("base_rate"):
        ends = (
            f" ({100 * rate.low:.1f} to {100 * rate.high:.1f})"
            if rate.low is not None and rate.high is not None
            else ""
        )
        tiles.append(
            (f"{rate.value:.1%}", f"{b.words.did or 'did it'} in the last window that is over{ends}: the base rate")
        )
    top = now["top_tenth"]
    where = f"of them among the {top['customers']:,} with the highest probabilities, a tenth of all"
    tiles.append((f"{top['expected']:,.0f}", where))
    said = [_meaning(b, now)]
    if (curve := next((r for r in b.reliability if r.model == best.name), None)) is not None:
        said.append(direction(curve, b.words.did or "did it"))
    return Decision(headline, tiles[:4], [p for p in said if p], _commands(b, report, now))


def _totals(b: Board, now: Mapping[str, Any], until: str) -> Decision:
    """Of counts and amounts: what is expected of all together."""
    unit = {COUNTS: b.task.replace("_", " "), AMOUNTS: b.currency or "in the log’s currency"}.get(now["answers"], "")
    total = f"{now['expected']:,.0f} {unit}"
    each = f"{now['expected'] / now['scored']:,.2f} {unit} a customer"
    tiles = [(total, f"expected of {now['scored']:,} customers by {until}"), (each, "in the mean")]
    if (past := b.rivals[0].metrics.get("mean_total")) is not None:
        tiles.append((f"{past.value:,.2f}", "a customer in the last window that is over"))
    return Decision(Markup("{} are expected by {}").format(strong(total), until), tiles, [_meaning(b, now)])


def _meaning(b: Board, now: Mapping[str, Any]) -> str:
    active = f"the {now['active_days']:g} days" if now["active_days"] else "all the time"
    means = b.words.means.format(active=active, horizon=f"{now['horizon_days']:g} days")
    said = f"Asked as of {day(now['as_of'])}, the end of the log, by {b.rivals[0].group_label}."
    return f"{means} {said}" if means else said


def _commands(b: Board, report: Report, now: Mapping[str, Any]) -> list[tuple[str, str]]:
    """How to get the list of whom to write to."""
    if not b.leader or not report.commands:
        return []
    commands = [("Every customer’s probability, as a file", shlex.join([*report.commands["score"], f"run={b.leader}"]))]
    if now.get("leaving"):
        audience = [*report.commands["audience"], "audience=at_risk", f"scores={b.leader}"]
        about = "The tenth with the highest risk, with reasons and a control group"
        if (profit := now.get("profit")) and profit["best"]["customers"]:
            least = floor(1e6 * profit["threshold"]) / 1e6
            audience += ["audience.who.score.share=null", f"audience.who.score.at_least={least:g}"]
            about = "All for whom an offer pays, with reasons and a control group"
        audience.append(f"recommender={report.recommender}" if report.recommender else "~audience.blocks.for_you")
        if not b.has_consent:
            audience.append("audience.needs_consent=false")
            about += " (the data do not say who agreed: the tool that sends must know)"
        commands.insert(0, (about, shlex.join(audience)))
    return commands


# Movement


def figures_of(report: Report) -> dict[str, dict[str, Any]]:
    """What is decided by, by a name that later reports have, too: label, value, bounds, unit and digits."""
    found: dict[str, dict[str, Any]] = {}

    def put(key: str, label: str, v: Value, unit: str = "", digits: int = 3, times: float = 1.0) -> None:
        ends = {k: None if x is None else times * x for k, x in (("low", v.low), ("high", v.high))}
        found[key] = {"label": label, "value": times * v.value, **ends, "unit": unit, "digits": digits}

    for b in report.boards:
        if not b.rivals:
            continue
        best, task = b.rivals[0], b.task.replace("_", " ")
        put(f"{b.task}.headline", f"{task}: {label_of(b.metric)} of the best model", best.metrics[b.metric])
        if b.money:
            put(
                f"{b.task}.money",
                f"{task}: {label_of(b.money)} of the best model",
                best.metrics[b.money],
                b.currency,
                2,
            )
        for name, label in ((f"hit@{b.k}", "requests that find something"), ("base_rate", "base rate")):
            if name in best.metrics:
                put(f"{b.task}.{name.partition('@')[0]}", f"{task}: {label}", best.metrics[name], "%", 1, 100)
        if (now := b.now) is not None and "expected" in now:
            put(
                f"{b.task}.expected",
                f"{task}: expected of all",
                Value(now["expected"], now.get("low"), now.get("high")),
                "",
                0,
            )
            put(f"{b.task}.asked", f"{task}: customers who are asked about", Value(now["asked"]), "", 0)
            if best_of := (now.get("profit") or {}).get("best"):
                value = Value(best_of["profit"], best_of["low"], best_of["high"])
                put(f"{b.task}.profit", f"{task}: expected of writing", value, now["profit"]["currency"], 0)
    for row in (report.segments or {}).get("profiles", {}).get("lifecycle", []):
        put(f"segment.{row['segment']}", f"customers: {row['segment']}", Value(row["who"]["customers"]), "", 0)
    return found


def decisions(report: Report) -> dict[str, Any]:
    """What the next report is told: figures, of which data, and the figures before where these are others."""
    own = {"until": report.until, "fingerprint": report.fingerprint, "figures": figures_of(report)}
    return {**own, "since": since(report, own)}


def since(report: Report, own: Mapping[str, Any]) -> dict[str, Any] | None:
    """The figures that the report before decided by; those before them, where it said the same as this one."""
    earlier = report.earlier
    if earlier is None:
        return None
    if earlier.get("fingerprint") == own["fingerprint"] and _alike(earlier["figures"], own["figures"]):
        kept = earlier.get("since")
        return dict(kept) if isinstance(kept, Mapping) else None
    return {key: earlier[key] for key in ("until", "fingerprint", "figures") if key in earlier}


def _alike(then: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether all that both say is the same."""
    return all(then[key] == now[key] for key in then if key in now)


def moved(report: Report) -> tuple[str, list[tuple[str, str, str, str]]] | None:
    """The day of the earlier figures, and each that both have: label, then, now, change; None: no earlier ones."""
    figures = figures_of(report)
    before = since(report, {"fingerprint": report.fingerprint, "figures": figures})
    if before is None:
        return None
    rows = []
    for key, now in figures.items():
        then = before["figures"].get(key)
        if not isinstance(then, Mapping) or not isinstance(then.get("value"), int | float):
            continue
        digits, unit = int(now["digits"]), f" {now['unit']}" if now["unit"] else ""
        change = now["value"] - then["value"]
        text = f"{change:+,.{digits}f}".replace("-", "\u2212") if round(change, digits) else SAME
        rows.append((now["label"], _of(then, digits) + unit, _of(now, digits) + unit, text))
    if not rows or (before.get("fingerprint") == report.fingerprint and all(row[3] == SAME for row in rows)):
        return None
    return str(before.get("until") or "an earlier day"), rows


def _of(entry: Mapping[str, Any], digits: int) -> str:
    text = f"{entry['value']:,.{digits}f}"
    if entry.get("low") is None or entry.get("high") is None:
        return text
    return f"{text} ({entry['low']:,.{digits}f} to {entry['high']:,.{digits}f})".replace("-", "\u2212")
