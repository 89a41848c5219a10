"""The card of an audience: whom it reaches and why not others, how good the scores are, what the arms can show.

As JSON for programs and as Markdown for people. It names no customer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from shopkeeper.campaigns.audience.arms import too_small
from shopkeeper.campaigns.audience.make import Made
from shopkeeper.campaigns.audience.timing import WEEKDAYS
from shopkeeper.campaigns.audience.who import NO_SCORE
from shopkeeper.evaluation.profit_curve import expected_profit
from shopkeeper.models.about import PROBABILITIES
from shopkeeper.timeline import iso

SHOWN = ("log_loss", "auroc", "average_precision", "brier", "ece", "poisson_deviance", "absolute_error", "bias")
FEWEST_GOOD = 0.55  # AUROC below which the order is hardly better than chance


def card(made: Made, warnings: list[str], confidence: float = 0.95) -> dict[str, Any]:
    """Everything that stands on the card. To be made after the chunks, which count who has items."""
    given, audience = made.given, made.given.audience
    scores = made.known.scores
    found = [*warnings, *([too_small(made.power)] if too_small(made.power) else [])]
    said: dict[str, Any] = {
        "audience": audience.name,
        "title": audience.title,
        "message": audience.message,
        "dataset": given.prepared.name,
        "as_of": iso(given.at),
        "currency": given.currency or None,
        "customers": {
            "of_the_dataset": given.prepared.n_users,
            "in_the_audience": len(made),
            "treatment": made.power["treatment"],
            "control": made.power["control"],
        },
        "left_out": dict(made.left_out.most_common()),
        "rule": {k: v for k, v in audience.plain.items() if k not in ("name", "title", "message")},
        "arms": {**made.power, "key": audience.control.key or audience.name, "share": audience.control.share},
        "scores": None if scores is None else _of_scores(made),
        "items": dict(made.filled),
        "timing": made.timing,
        "waits": None if given.waits is None else given.waits.about,
        "consent": _of_consent(made),
        "contacts_known": given.sent is not None,
        "profit": _profit(made, confidence),
        "costs": None
        if (own := given.profit) is None
        else {"currency": own.currency, "contact_cost": own.contact_cost},
    }
    quality = (said["scores"] or {}).get("quality") or {}
    auroc = quality.get("auroc") or {}
    if auroc.get("low") is not None and auroc["low"] < FEWEST_GOOD:
        found.append(
            f"the scores hardly tell customers apart (AUROC {auroc['value']:.3f}, {auroc['low']:.3f} to "
            f"{auroc['high']:.3f}): their order is little better than chance"
        )
    if scores is not None and said["scores"]["blank"]:
        n = sum(said["scores"]["blank"].values())
        found.append(f"{n:,} of the audience have no score and stand at its end")
    for name, n in made.filled.items():
        if n < len(made):
            found.append(f"{len(made) - n:,} of the audience have nothing in the block {name}")
    if given.sent is None:
        found.append("what was sent before is not known (sent=…): nobody is left out for having had a message lately")
    return {**said, "warnings": found}


def _profit(made: Made, confidence: float) -> dict[str, Any] | None:
    """What writing to the treatment brings, as far as it has a score that says who leaves."""
    scores, profit = made.known.scores, made.given.profit
    if profit is None or scores is None or not scores.leaving:
        return None
    treated = scores.value[~made.control & np.isfinite(scores.value)]
    return expected_profit(treated, profit, confidence) if len(treated) else None


def _of_scores(made: Made) -> dict[str, Any]:
    scores = made.known.scores
    assert scores is not None
    value, there = scores.value, np.isfinite(scores.value)
    blank: dict[str, int] = {}
    for reason in scores.blank_reason[~there].tolist():
        blank[str(reason)] = blank.get(str(reason), 0) + 1
    shown = np.quantile(value[there], [0.1, 0.5, 0.9]).tolist() if there.any() else []
    return {
        **(scores.about or {}),
        "answers": scores.answers,
        "mean": float(value[there].mean()) if there.any() else None,
        "quantiles": dict(zip(("0.1", "0.5", "0.9"), shown, strict=False)),
        "blank": blank,
        "left_out_without": {
            reason.removeprefix(NO_SCORE): n for reason, n in made.left_out.items() if reason.startswith(NO_SCORE)
        },
        "reasons": scores.explain is not None,
    }


def _of_consent(made: Made) -> str:
    if made.given.consents is not None:
        return f"agreed to '{made.given.audience.purpose}' as of the instant, by the table of consents"
    if made.given.prepared.consent is not None:
        return "agreed as of the instant, by the dataset's table"
    return "not asked for: the tool that sends must know who agreed"


def as_markdown(said: Mapping[str, Any]) -> str:
    """The card for people."""
    n, arms = said["customers"], said["arms"]
    lines = [
        f"# {said['title'] or said['audience']}",
        "",
        said["message"],
        "",
        f"{n['in_the_audience']:,} of {n['of_the_dataset']:,} customers of {said['dataset']}, as of {said['as_of']}: "
        f"{n['treatment']:,} to write to, {n['control']:,} in control. Consent: {said['consent']}."
        + (f" Amounts are in {said['currency']}." if said["currency"] else ""),
        "",
    ]
    if said["warnings"]:
        lines += ["## Look at this first", "", *(f"- {text}" for text in said["warnings"]), ""]
    lines += ["## Who is left out", "", "| customers | first reason |", "|---:|---|"]
    lines += [f"| {count:,} | {reason} |" for reason, count in said["left_out"].items() if count]
    lines += [
        "",
        "## What the arms can show",
        "",
        _arms_in_words(arms, (said["scores"] or {}).get("horizon_days") or 0.0),
        "",
    ]
    if said["scores"] is not None:
        lines += ["## How good the scores are", "", *_scores_in_words(said["scores"]), ""]
    if said["profit"]:
        lines += ["## Whether it pays", "", _profit_in_words(said["profit"]), ""]
    if said["timing"]:
        lines += ["## When", "", *(_time_in_words(kind, one) for kind, one in said["timing"].items())]
        lines += (
            [] if "hour" in said["timing"] else ["- No visit with an hour is known: nothing can be said of best hours."]
        )
        lines += [""]
    if said["items"]:
        lines += ["## Items", "", "| block | customers with an item |", "|---|---:|"]
        lines += [f"| {name} | {count:,} |" for name, count in said["items"].items()] + [""]
    return "\n".join(lines)


def _arms_in_words(arms: Mapping[str, Any], horizon: float) -> str:
    if arms["smallest_difference"] is None:
        return "Nothing: one of the arms is empty."
    rate = arms["buyers"]
    buyers = "it is not known how many buy anyway, and half of them is the case in which least is seen"
    if rate is not None:
        buyers = f"{100 * rate:.1f} of 100 of the {arms['known']:,} with a score buy anyway in {horizon:g} days"
    return (
        f"A difference of {100 * arms['smallest_difference']:.2f} points in the share of buyers or more, where "
        f"{buyers}, read after {arms['days']:g} days with what each did before (power {arms['power']:g}, level "
        f"{arms['level']:g}). "
        f"Arms go by a hash with the key `{arms['key']}`."
    )


def _time_in_words(kind: str, one: Mapping[str, Any]) -> str:
    shop = WEEKDAYS[one["of_the_shop"]] if kind == "weekday" else f"{one['of_the_shop']} to {one['of_the_shop'] + 1}"
    if one["difference"] is None:
        return f"- The shop's best {kind}, {shop}, stands for all: too few customers came to judge others."
    d = one["difference"]
    if d["value"] == d["low"] == d["high"] == 0:
        return f"- The best {kind} of everybody is the shop's, {shop}: customers hardly differ in it."
    met = (
        f"own best {kind}s of {one['days']:g} days ago met {one['own']:.1%} of the visits since, the shop's ({shop}) "
        f"{one['shop']:.1%}: {100 * d['value']:+.1f} points ({100 * d['low']:+.1f} to {100 * d['high']:+.1f}, "
        f"{one['customers']:,} customers)"
    )
    end = (
        "Each customer's own stands in the file"
        if one["better"]
        else "Not shown to be better: the shop's stands for all"
    )
    return f"- {end}; {met}."


def _profit_in_words(said: Mapping[str, Any]) -> str:
    def money(found: Mapping[str, Any]) -> str:
        return f"{found['profit']:,.0f} {said['currency']} ({found['low']:,.0f} to {found['high']:,.0f})"

    best, all_ = said["best"], said["all"]
    most = f", with no more than {said['capacity']:,.0f} messages" if said.get("capacity") else ""
    pays = f"From a probability of {said['threshold']:.0%} on a message pays: "
    if said["threshold"] > 1:
        pays = "By the shop's own values no message pays, however probable it is that somebody leaves."
    elif best["customers"]:
        pays += f"{best['customers']:,} customers, {money(best)}{most}."
    else:
        pays += "nobody here has one."
    return (
        f"Writing to all {all_['customers']:,} who have a score and are not in control is expected to bring "
        f"{money(all_)}. {pays} "
        "The intervals come of who will leave and hold as long as the probabilities do. "
        f"The shop's own values: a customer who stays is worth {said['customer_value']:g}, an offer that is taken "
        f"costs {said['offer_cost']:g}, a message {said['contact_cost']:g}; {said['success_rate']:.0%} of those about "
        "to leave stay when asked."
    )


def _scores_in_words(said: Mapping[str, Any]) -> list[str]:
    lines = []
    if said.get("run") is not None:
        lines.append(f"{said['task']}, model {said['model']}, from `{said['run']}`.")
    quality = said.get("quality") or {}
    if quality:
        lines += ["", "| on later customers it had not seen | value | interval |", "|---|---:|---|"]
        for name, figure in quality.items():
            low, high = figure.get("low"), figure.get("high")
            between = "" if low is None else f"{low:.4g} to {high:.4g}"
            lines.append(f"| {name.replace('_', ' ')} | {figure['value']:.4g} | {between} |")
        lines.append("")
    else:
        lines.append("How good they are is not known: a file of scores says nothing of it; give the run.")
    if said["mean"] is not None:
        what = "probability" if said["answers"] == PROBABILITIES else "amount expected"
        lines.append(f"In this audience the mean {what} is {said['mean']:.4g}.")
    for reason, count in (*said["blank"].items(), *said["left_out_without"].items()):
        lines.append(f"{count:,} have none: {reason}.")
    if not said["reasons"]:
        lines.append("This model does not say what its scores are made of: there are no reasons in the file.")
    return lines
