"""The pages about segments, campaigns and uplift: who is in which segment, who moved, who got what, what it did."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from shopkeeper.evaluation.report.charts import number
from shopkeeper.evaluation.report.decide import amount, day, for_whom
from shopkeeper.evaluation.report.templating import Section, fill
from shopkeeper.timeline.instants import instant
from shopkeeper.timeline.zones import clock

ORDER = (
    "new", "active", "won back", "at risk", "lapsed", "no order yet", "top", "middle", "low", "none",
    "not here yet", "no longer here",
)  # fmt: skip
SLOT, GAP, TALL = 22, 6, 300  # pixels: the least that a segment's name needs, between two, and of all together
TITLES = {"lifecycle": "Lifecycle", "value_tier": "Value", "cluster": "Alike"}
SHOWN = 8  # clusters with a card


@dataclass(frozen=True)
class Band:
    """Customers who were in one segment and are in another."""

    path: str  # in a picture of 100 wide and `height` high
    colour: int
    stays: bool
    hover: str


@dataclass(frozen=True)
class Flow:
    """Segments before on the left, now on the right."""

    height: int
    left: list[tuple[float, str, int]]  # middle in pixels, name, customers
    right: list[tuple[float, str, int]]
    bands: list[Band]
    summary: str


def flow(rows: Sequence[Mapping[str, Any]]) -> Flow:
    """A flow plot of `before`, `now`, `customers`."""
    names = _ordered({str(r[side]) for r in rows for side in ("before", "now")})
    total = sum(r["customers"] for r in rows) or 1
    left, right = (_places(rows, side, names, total) for side in ("before", "now"))
    used = {("before", n): left[n][0] for n in left} | {("now", n): right[n][0] for n in right}
    bands = []
    for r in sorted(rows, key=lambda r: (names.index(r["before"]), names.index(r["now"]))):
        thick = TALL * r["customers"] / total
        a, b = used["before", r["before"]], used["now", r["now"]]
        used["before", r["before"]] += thick
        used["now", r["now"]] += thick
        path = (
            f"M0 {a:.1f}C50 {a:.1f} 50 {b:.1f} 100 {b:.1f}V{b + thick:.1f}"
            f"C50 {b + thick:.1f} 50 {a + thick:.1f} 0 {a + thick:.1f}Z"
        )
        stays = r["before"] == r["now"]
        hover = f"{r['before']} → {r['now']}: {r['customers']:,} customers"
        bands.append(Band(path, names.index(r["now"]) % 7, stays, hover))
    height = round(max(end for side in (left, right) for _, end, _ in side.values()))
    moved = sum(r["customers"] for r in rows if r["before"] != r["now"])
    top = sorted((r for r in rows if r["before"] != r["now"]), key=lambda r: -r["customers"])[:5]
    said = "; ".join(f"{r['customers']:,} from {r['before']} to {r['now']}" for r in top)
    return Flow(
        height, _labels(left), _labels(right), bands, f"{moved:,} of {total:,} customers moved, most of them: {said}"
    )


def _places(
    rows: Sequence[Mapping[str, Any]], side: str, names: Sequence[str], total: int
) -> dict[str, tuple[float, float, int]]:
    """Top and bottom of each segment's slot, and its customers."""
    found, y = {}, 0.0
    for name in names:
        if count := sum(r["customers"] for r in rows if r[side] == name):
            end = y + max(TALL * count / total, SLOT)
            found[name] = (y, end, count)
            y = end + GAP
    return found


def _labels(places: Mapping[str, tuple[float, float, int]]) -> list[tuple[float, str, int]]:
    return [((top + end) / 2, name, count) for name, (top, end, count) in places.items()]


def _ordered(names: set[str]) -> list[str]:
    place = {name: i for i, name in enumerate(ORDER)}
    return sorted(names, key=lambda n: (place.get(n, 6.5), n))


def segments(
    found: Mapping[str, Any] | None, command: Sequence[str] = (), zone: str = "UTC", of: int = 0
) -> Section | None:
    """Who is in which segment, what sets each apart, and how many moved.

    Args:
        found: the segments; None: there are none.
        command: the words that make them anew.
        zone: of the shop's clocks.
        of: customers of the dataset, beside those who are in a segment; 0: not said.
    """
    if not found:
        return None
    flows = []
    for name, title in TITLES.items():
        rows = [r for r in found["movement"] if r["segmentation"] == name]
        if rows:
            flows.append({"title": title, "flow": flow(rows), "rows": sorted(rows, key=lambda r: -r["customers"])})
    profiles = {title: [_profile(p) for p in found["profiles"].get(name, [])[:SHOWN]] for name, title in TITLES.items()}
    here = sum(p["who"]["customers"] for p in found["profiles"].get("lifecycle", []))
    others = f" {here:,} of {of:,} customers: of the others nothing was known by then." if 0 < here < of else ""
    again = shlex.join(command or ("shopkeeper", "segments"))
    lead = (
        f"As of {day(found['as_of'], zone)}, from what was known then; moved since "
        f"{day(found['movement_since'], zone)}.{others}"
        + ("" if found["fresh"] else f" They are of earlier data than this report: `{again}` makes them anew.")
        + f" From {found['folder']}."
    )
    content = fill("segments.html", flows=flows, profiles={k: v for k, v in profiles.items() if v})
    return Section("segments", "Segments", "Which customers are there, and how do they move?", lead, content)


def _profile(p: Mapping[str, Any]) -> dict[str, Any]:
    """A segment in five answers; of few customers only their number is told."""
    who = p["who"]
    share = f"{who['customers']:,} customers, {who['share']:.0%}"
    if who.get("money_share") is not None:
        share += f"; {who['money_share']:.0%} of the money"
    if "what" not in p:
        return {"name": p["segment"], "share": share, "facts": []}
    what, when = p["what"], p["when"]
    facts = [("Who", _listed(f"{_plain(k.removeprefix('user_'))} {v['name']} ({v['share']:.0%})"
                             for k, v in who["attributes"].items()))]  # fmt: skip
    each = (
        "no orders" if what["orders"] is None else "1 order" if what["orders"] == 1 else f"{what['orders']:,.4g} orders"
    )
    if what["money_per_order"] is not None and what["orders"] != 0:  # of some few who have ordered, sent back
        each += f" of {what['money_per_order']:,.2f}"
    most = _listed(f"{x['name']} ({x['share']:.0%}, {x['times_usual']:.1f} times the usual)" for x in what["most"][:2])
    facts.append(("What", "; ".join(t for t in (each, most) if t)))
    apart = [(_plain(x["trait"]), _short(x["median"]), _short(x["median_of_all"])) for x in p["why"]]
    told = [f"{trait} {own}, of all {usual}" for trait, own, usual in apart if own != usual]  # else it says nothing
    facts.append(("Why", _listed(told[:2])))
    days = when["days_since_order"]
    last = "" if days is None else f"last order {days:,.0f} days ago"
    slot = _listed(x["name"] for x in (*when["weekday"][:1], *when["time_of_day"][:1]))
    facts.append(("When", "; ".join(t for t in (last, slot) if t)))
    channels = p["where"]["channels"]
    facts.append(("Where", _listed(f"{name} {share_of:.0%}" for name, share_of in channels.items() if share_of)))
    return {"name": p["segment"], "share": share, "facts": [(k, v) for k, v in facts if v]}


def campaigns(found: Sequence[Mapping[str, Any]], currency: str, zone: str = "UTC") -> Section | None:
    """Whom was written to, what it did in buyers and money, and all of a month together."""
    if not found:
        return None
    read = [one for one in found if one["read"] is not None and one["read"]["sample_ratio"]["ok"]]
    lead = (
        f"{len(found)} audiences; of {len(read)} it can be read what the message did: those who were written to "
        "against those who were left alone, by customer, whatever they did before taken out (CUPED)."
    )
    content = fill(
        "campaigns.html",
        cards=[_card(one, zone) for one in found],
        reads=[_read(one, currency, zone) for one in read],
        months=_months(read, currency, zone),
    )
    return Section("campaigns", "Campaigns", "Whom was written to, and what did it bring?", lead, content)


def _card(one: Mapping[str, Any], zone: str) -> dict[str, Any]:
    card = one["card"]
    made: dict[str, Any] = {
        "title": card.get("title") or one["audience"],
        "as_of": day(one["as_of"], zone),
        "facts": [],
    }
    made |= {
        "message": card.get("message") or "",
        "warnings": [*(one["read"]["warnings"] if one["read"] else ()), *(card.get("warnings") or ())],
        "folder": one["folder"],
    }
    made["read"] = re.sub(r"(?<=[( ])-(?=\d)", "\u2212", one["read"]["words"]) if one["read"] else ""
    made["unread"] = (
        ""
        if card.get("sessions")
        else re.sub(r"\d{4}-\d\d-\d\dT[\d:]+Z", lambda m: day(m[0], zone), one["unread"].partition(";")[0])
    )
    facts = made["facts"]
    if n := card.get("customers"):
        facts.append(("Customers", f"{n['in_the_audience']:,} of {n['of_the_dataset']:,}: {n['treatment']:,} to write "
                                   f"to, {n['control']:,} left alone"))  # fmt: skip
    if s := card.get("sessions"):
        facts.append(("Sessions", f"{s.get('ready', 0):,} of {s.get('of_the_days', 0):,} were ready for it"))
    if (scores := card.get("scores")) and (auroc := (scores.get("quality") or {}).get("auroc")):
        facts.append(("Scores", f"{scores.get('model', '')}, AUROC {number(auroc['value'])} "
                                f"({number(auroc['low'])} to {number(auroc['high'])})"))  # fmt: skip
    if profit := card.get("profit"):
        best, unit = profit["best"], profit["currency"]
        some = f"{amount(best['profit'], unit)} from " if best["customers"] else "an offer to "
        all_ = profit["all"]
        expected = (
            f"{amount(all_['profit'], unit)} from all {all_['customers']:,} with a score; {some}{for_whom(profit)}"
        )
        facts.append(("Expected", expected))
    if (arms := card.get("arms")) and arms.get("smallest_difference") is not None:
        points = 100 * arms["smallest_difference"]
        shown = f"{points:.1f} points of buyers or more, after {arms['days']:g} days"
        facts.append(("Can show", shown if points <= 100 else "nothing: too few are left alone"))
    if consent := card.get("consent"):
        facts.append(("Consent", consent))
    return made


def _read(one: Mapping[str, Any], currency: str, zone: str) -> list[str]:
    r = one["read"]
    unit = r["currency"] or currency
    money = r["outcomes"].get("money")
    return [
        f"{r['title'] or r['audience']}, {day(r['as_of'], zone)}", day(r["until"], zone),
        f"{r['treatment']:,}", f"{r['control']:,}",
        _ends(r["outcomes"]["buyers"], 100, 2), "–" if money is None else _ends(money, 1, 2, unit),
        "–" if r["money"] is None else _ends(r["money"], 1, 0, unit),
    ]  # fmt: skip


def _months(read: Sequence[Mapping[str, Any]], currency: str, zone: str) -> list[list[str]]:
    """All of a month together, the newest first.

    The same customers may be in several audiences, so that their differences are not independent: half widths are
    added, which is wide enough however they hang together.
    """
    months: dict[str, list[Mapping[str, Any]]] = {}
    for one in read:
        at = clock(instant(one["as_of"], "as_of"), zone)
        months.setdefault(f"{at:%Y-%m}", []).append(one["read"])
    rows = []
    for month, some in sorted(months.items(), reverse=True):
        paid = [r for r in some if r["money"] is not None]
        units = {r["currency"] or currency for r in paid}
        unit = next(iter(units), "")
        value = {k: sum(r["money"][k] for r in paid) for k in ("value", "low", "high")}
        text = "–" if not paid else "several currencies" if len(units) > 1 else _ends(value, 1, 0, unit)
        known = [r["money"]["cost"] for r in paid if r["cost_known"]]
        cost = "several currencies" if len(units) > 1 else amount(sum(known), unit) if known else "not known"
        cost += " or more" if known and len(known) < len(paid) else ""
        rows.append(
            [
                f"{datetime.fromisoformat(f'{month}-01'):%B %Y}",
                f"{len(some)}",
                f"{sum(r['treatment'] for r in some):,}",
                cost,
                text,
            ]
        )
    return rows


def uplift(found: Sequence[Mapping[str, Any]]) -> Section | None:
    """Whom randomised campaigns moved: the effect on all, and how well each learner puts customers in order."""
    if not found:
        return None
    lead = (
        "Learned from campaigns that were dealt by chance, each customer judged by models that have not seen them. The "
        f"figures are {found[0]['normalised']}. Intervals are over customers; learners are judged each for itself."
    )
    shown = [
        {
            "title": one["campaign"].get("title") or one["campaign"]["name"],
            "folder": one["folder"],
            "said": [_moved_by(trial) for trial in one["trials"]],
            "rows": [
                [
                    f"{_plain(trial['arm'])}: {_plain(trial['outcome'])}",
                    name,
                    *(_ends(figures[figure], 1, _digits(trial)) for figure in ("qini", "auuc", "first")),
                ]
                for trial in one["trials"]
                for name, figures in sorted(trial["learners"].items(), key=lambda pair: -pair[1]["qini"]["value"])
            ],
        }
        for one in found
    ]
    return Section("uplift", "Uplift", "Whom does a message move?", lead, fill("uplift.html", campaigns=shown))


def _moved_by(trial: Mapping[str, Any]) -> str:
    """What an arm did to all, and whether anybody is known whom it does more for."""
    sure = [name for name, figures in trial["learners"].items() if figures["qini"]["low"] > 0]
    order = f"put into an order that is better than chance by {_listed(sorted(sure))}"
    if not sure:
        order = "no learner is shown to put customers into an order that is better than chance: write to all or to none"
    n = trial["balance"]
    return (
        f"{_plain(trial['arm'])}, {_plain(trial['outcome'])}: {_ends(trial['effect'], 1, _digits(trial))} more of each "
        f"who was treated ({n['treated']:,} treated, {n['control']:,} in control); {order}."
    )


def _digits(trial: Mapping[str, Any]) -> int:
    return 4 if abs(trial["effect"]["value"]) < 0.1 else 3


def _ends(one: Mapping[str, float], times: float, digits: int, unit: str = "") -> str:
    value, low, high = (f"{times * one[k]:+,.{digits}f}".replace("-", "\u2212") for k in ("value", "low", "high"))
    return f"{value}{' ' * bool(unit)}{unit} ({low} to {high})"


def _plain(name: str) -> str:
    return name.replace("_", " ")


def _short(x: float | None) -> str:
    return "unknown" if x is None else f"{x:,.4g}"


def _listed(some: Any) -> str:
    return ", ".join(some)
