"""The first screen: what to do, in money and customers; how good the models are stands below it.

What is emphasised is `Markup`; its `format` and `join` escape what is put in, and the page escapes plain text.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import floor
from typing import Any

from markupsafe import Markup

from shopkeeper.evaluation.report.facts import in_words
from shopkeeper.evaluation.report.figures import Board, Difference, Model, Report, Value, one_per_group
from shopkeeper.evaluation.report.reliability import direction
from shopkeeper.evaluation.report.words import strong
from shopkeeper.models.about import AMOUNTS, COUNTS, PROBABILITIES
from shopkeeper.timeline.instants import instant

SHOWN = 3  # models that the first one is set beside in money
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


def day(iso: str, zone: str = "UTC") -> str:
    """An instant as the day on the shop's clocks.

    >>> day("2025-06-30T00:00:00Z"), day("2025-06-29T22:00:00Z", "Europe/Berlin")
    ('30 June 2025', '30 June 2025')
    """
    return in_words(instant(iso, "day"), zone)


def full(profit: Mapping[str, Any]) -> bool:
    """Whether more customers would pay off than can be contacted, or just as many."""
    most = profit.get("capacity")
    return most is not None and profit["best"]["customers"] >= int(most)


def for_whom(profit: Mapping[str, Any]) -> str:
    """Whom an offer goes to by a shop's own values: "nobody", with the reason, where it pays for none."""
    n, least = profit["best"]["customers"], f"{profit['threshold']:.0%}"
    if profit["threshold"] > 1:
        return "nobody: by the shop’s values no offer pays"
    if not n:
        return f"nobody: no risk is {least} or more"
    if full(profit):
        return f"the {n:,} with the highest risk, {least} or more: no more can be contacted"
    return f"the {n:,} whose risk is {least} or more"


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
        tiles.append(
            (
                amount(m[b.money].value, unit),
                f"a request: {what} for items among its {b.places} ({_between(m[b.money])})",
            )
        )
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
        more = len(parts) - SHOWN
        others = f"; and than {more} {'other' if more == 1 else 'others'}" if more > 0 else ""
        return "; ".join(parts[:SHOWN]) + others

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
    until = day(now["until"], b.zone)
    if now["answers"] != PROBABILITIES:
        return _totals(b, report, now, until)
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
            tiles.append(
                (
                    amount(some["profit"], unit),
                    f"expected of an offer to {for_whom(profit)} "
                    f"({amount(some['low'])} to {amount(some['high'])}); to all: {amount(profit['all']['profit'])}",
                )
            )
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


def _totals(b: Board, report: Report, now: Mapping[str, Any], until: str) -> Decision:
    """Of counts and amounts: what is expected of all together."""
    unit = {COUNTS: b.task.replace("_", " "), AMOUNTS: b.currency or "in the log’s currency"}.get(now["answers"], "")
    total, top = f"{now['expected']:,.0f} {unit}", now["top_tenth"]
    each = f"{now['expected'] / now['scored']:,.2f} {unit} a customer"
    tiles = [(total, f"expected of {now['scored']:,} customers by {until}"), (each, "in the mean")]
    past = b.rivals[0].metrics.get("mean_total")
    if past is not None:
        tiles.append((f"{past.value:,.2f}", f"a customer in the last window that is over ({_between(past)})"))
    share = top["expected"] / now["expected"] if now["expected"] > 0 else 0.0
    tiles.append((f"{share:.0%}", f"of it from the {top['customers']:,} of whom most is expected, a tenth of all"))
    said = [_meaning(b, now), _how_far_off(b.rivals[0].metrics.get("bias"))]
    headline = Markup("{} are expected by {}").format(strong(total), until)
    return Decision(headline, tiles, [p for p in said if p], _commands(b, report, now))


def _how_far_off(bias: Value | None) -> str:
    """In which direction what was expected of all together was off in the last window, in percent of what came."""
    if bias is None or bias.low is None or bias.high is None:
        return ""
    if bias.low <= 0 <= bias.high:
        return f"Nothing shows that it expects too much or too little of all together ({_between(bias)} %)."
    ends = sorted((abs(bias.low), abs(bias.high)))
    what = "little" if bias.value < 0 else "much"
    return (
        f"It expected too {what} of all together in the last window that is over, by {abs(bias.value):.0f} % of what "
        f"came ({ends[0]:.0f} to {ends[1]:.0f}): read the figures above with that in mind."
    )


def _meaning(b: Board, now: Mapping[str, Any]) -> str:
    active = f"the {now['active_days']:g} days" if now["active_days"] else "all the time"
    means = b.words.means.format(active=active, horizon=f"{now['horizon_days']:g} days")
    said = f"Asked as of {day(now['as_of'], b.zone)}, the end of the log, by {b.rivals[0].group_label}."
    return f"{means} {said}" if means else said


def _with(words: Sequence[str], added: Sequence[str]) -> list[str]:
    """A command with further settings, which stand together: before the options with which it may end."""
    end = next((i for i, word in enumerate(words) if word.startswith("--")), len(words))
    return [*words[:end], *added, *words[end:]]


def _commands(b: Board, report: Report, now: Mapping[str, Any]) -> list[tuple[str, str]]:
    """How to get the list of whom to write to."""
    if not b.leader or not report.commands:
        return []
    what = "probability" if now["answers"] == PROBABILITIES else "amount"
    commands = [(f"Every customer’s {what}, as a file", shlex.join([*report.commands["score"], f"run={b.leader}"]))]
    profit = now.get("profit")
    if now.get("leaving") and not (profit and not profit["best"]["customers"]):  # else nobody is worth an offer
        audience = ["audience=at_risk", f"scores={b.leader}"]
        about = "The tenth with the highest risk, with reasons and a control group"
        if profit:
            least = floor(1e6 * profit["threshold"]) / 1e6
            audience += ["audience.who.score.share=null", f"audience.who.score.at_least={least:g}"]
            about = "All for whom an offer pays, with reasons and a control group"
            if full(profit):
                audience.append(f"audience.most={profit['best']['customers']}")
                about = "As many as can be contacted, the highest risk first, with reasons and a control group"
        audience.append(f"recommender={report.recommender}" if report.recommender else "~audience.blocks.for_you")
        if not b.has_consent:
            audience.append("audience.needs_consent=false")
            about += " (the data do not say who agreed: the tool that sends must know)"
        commands.insert(0, (about, shlex.join(_with(report.commands["audience"], audience))))
    return commands
