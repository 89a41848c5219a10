"""What a campaign brings by how many are contacted: an offer to who may leave, or messages with lists."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from shopkeeper.evaluation.profit_curve import ProfitCurve, Sum
from shopkeeper.evaluation.report import charts
from shopkeeper.evaluation.report.charts import span
from shopkeeper.evaluation.report.figures import Board, Model, Value
from shopkeeper.evaluation.report.templating import Section, fill


def profit(b: Board) -> Section | None:
    """The curves of all models, with the best cut of each."""
    if not b.profits:
        return None
    models = {m.name: m for m in b.models}
    curves = [(models[name], curve) for name, curve in b.profits.items()]
    first = next((name for name in (m.name for m in b.rivals) if name in b.profits), next(iter(b.profits)))
    best = b.profits[first]
    by_risk = not np.isnan(best.threshold)
    what, sends = (
        ("customers contacted, highest probability", "contacted")
        if by_risk
        else ("requests answered by a message, highest score", "written to")
    )
    ends = [Value(float(c.profit.min()), float(c.low.min()), float(c.high.max())) for _, c in curves]
    own = [(c.share.tolist(), c.low.tolist(), c.high.tolist()) for m, c in curves if m.name == first]
    chart = charts.lines(
        [(m, c.share.tolist(), c.profit.tolist()) for m, c in curves], (0.0, 1.0), span(ends),
        f"share of the {what} first", f"{'profit' if by_risk else _kind(b)} in {best.currency}", marked=False,
        band=(models[first].colour, *own[0]),
    )  # fmt: skip
    lead = (
        _of_offer(models[first], best, b.meta.get("profit") or {}) if by_risk else _of_messages(b, models[first], best)
    )
    rows = [{"model": m, "cells": _cells(c, by_risk)} for m, c in curves]
    head = [*(["share by probability", best.currency] if by_risk else []), "best share in hindsight", best.currency,
            f"everybody, {best.currency}"]  # fmt: skip
    content = fill("profit.html", of=b.words.models, models=[m for m, _ in curves], chart=chart, rows=rows, head=head)
    title = "What would a campaign bring?" if by_risk else "What would messages with these lists bring?"
    lead += f" The shaded band is the interval of {models[first].label}: at each share, {sends} or not."
    return Section(f"profit-{b.task}", "Profit", title, lead, content)


def _kind(b: Board) -> str:
    return "margin less costs" if b.money.startswith("margin") else "turnover less costs"


def _cells(c: ProfitCurve, by_risk: bool) -> list[str]:
    best = f"{c.best.share:.0%} ({c.best.share_low:.0%} to {c.best.share_high:.0%})"
    chosen = [f"{c.by_probability.share:.0%}", money(c.by_probability, "")] if by_risk else []
    return [*chosen, best, money(c.best, ""), money(c.everybody, "")]


def _of_offer(model: Model, best: ProfitCurve, own: Mapping[str, Any]) -> str:
    chosen = (
        f"By {model.label}, contacting everybody with a probability of {best.threshold:.0%} or more "
        f"({best.by_probability.share:.0%} of {best.n:,} customers) would have brought "
        f"{money(best.by_probability, best.currency)}; contacting everybody"
    )
    if best.threshold > 1:
        chosen = (
            "No contact pays by the shop’s own values, however probable it is that somebody leaves: contacting "
            "everybody would have brought"
        )
    return (
        f"{chosen} {money(best.everybody, best.currency)}. "
        f"The shop’s own values: a customer who stays is worth {own.get('customer_value', 0):g}, an offer that is "
        f"taken costs {own.get('offer_cost', 0):g}, a contact {own.get('contact_cost', 0):g}, and "
        f"{own.get('success_rate', 0):.0%} of those about to leave stay when asked"
        + (f"; {own['capacity']:,.0f} customers can be contacted." if own.get("capacity") else ".")
    )


def _of_messages(b: Board, model: Model, best: ProfitCurve) -> str:
    of = "the margin of what" if b.money.startswith("margin") else "what"
    beware = (
        ""
        if b.money.startswith("margin")
        else (" No margin is known of the items, so this is turnover and not profit: costs of goods are not taken off.")
    )
    return (
        f"{of[:1].upper() + of[1:]} customers then bought of the {b.places} that {model.label} had for them, less "
        f"what a message costs, sent first where its first item scores highest. The best share would have been "
        f"{best.best.share:.0%} ({best.best.share_low:.0%} to {best.best.share_high:.0%}) of {best.n:,} requests, with "
        f"{money(best.best, best.currency)}; all of them {money(best.everybody, best.currency)}.{beware} It was bought "
        f"without the message: what a message adds is less, and only a test shows it."
    )


def money(found: Sum, currency: str) -> str:
    """ "1,204 EUR (800 to 1,630)"."""
    texts = [f"{x:,.0f}".replace("-", "\u2212") for x in (found.profit, found.low, found.high)]
    return f"{texts[0]}{' ' * bool(currency)}{currency} ({texts[1]} to {texts[2]})"
