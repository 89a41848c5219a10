"""An audience from all that is told: who is in it, in which arm, with which reasons and items; in chunks.

Shapes: n customers whom the dataset shows by the instant, m of them in the audience.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from shopkeeper.campaigns.audience import lists, permission
from shopkeeper.campaigns.audience import settings as kinds
from shopkeeper.campaigns.audience.arms import CONTROL, TREATMENT, in_control, power_of
from shopkeeper.campaigns.audience.blocks import Goods, Recommend, columns_of, recommended, requests_of
from shopkeeper.campaigns.audience.lists import ItemLists
from shopkeeper.campaigns.audience.scores import Scores
from shopkeeper.campaigns.audience.settings import Audience
from shopkeeper.campaigns.audience.timing import WEEKDAYS, best_times, send_times
from shopkeeper.campaigns.audience.who import Known, chosen, conditions
from shopkeeper.campaigns.audience.words import reasons
from shopkeeper.campaigns.segments.rules import lifecycle, net_money, usual_gap, value_tiers
from shopkeeper.campaigns.segments.segment import Moment, has_money
from shopkeeper.campaigns.segments.settings import Segmentation
from shopkeeper.data.prepared import Prepared
from shopkeeper.errors import UserError
from shopkeeper.evaluation.profit import Profit
from shopkeeper.models.about import PROBABILITIES
from shopkeeper.schema import MICROSECONDS_PER_DAY, NO_HISTORY
from shopkeeper.timeline import iso

NO_CONSENT = "no consent at the instant"
BEYOND = "behind the first {:,}"


@dataclass(frozen=True)
class Waits:
    """Days until the next order of all customers of the dataset, as a model says; NaN: not within its window."""

    early: np.ndarray  # float64 (U,): by then one of four has ordered
    median: np.ndarray
    about: Mapping[str, Any]  # run, task, model


@dataclass(frozen=True)
class Given:
    """What an audience is made from. Scores and segments are of all customers of the dataset, by internal id from 1."""

    audience: Audience
    prepared: Prepared
    at: int
    scores: Scores | None = None
    segments: Mapping[str, np.ndarray] | None = None  # None: lifecycle and value tier by the usual rules
    recommend: Recommend | None = None
    consents: Path | None = None
    sent: Path | None = None
    stock: Path | None = None
    waits: Waits | None = None
    profit: Profit | None = None  # what the shop says a customer who stays is worth, …
    currency: str = ""  # of the log's prices; "": not told


@dataclass(frozen=True)
class Made:
    """Who is in an audience, first come first."""

    given: Given
    customer: np.ndarray  # int64 (m,) internal ids
    control: np.ndarray  # bool (m,)
    known: Known  # of them
    goods: Goods
    left_out: Counter[str]  # customers of the dataset, by the first reason
    power: dict[str, Any]
    hours: Mapping[str, np.ndarray] = field(default_factory=dict)  # best hour and weekday of each, int64 (m,)
    timing: Mapping[str, Any] | None = None  # how they were judged
    filled: Counter[str] = field(
        default_factory=Counter
    )  # customers with an item, by block; counted as chunks are made

    def __len__(self) -> int:
        return len(self.customer)

    def chunks(self, size: int) -> Iterator[pa.Table]:
        """The audience's table, so many customers at a time."""
        for first in range(0, len(self), size):
            yield self._table(np.arange(first, min(first + size, len(self))))

    def _table(self, rows: np.ndarray) -> pa.Table:
        prepared, known, scores = self.given.prepared, self.known, self.known.scores
        ids = prepared.users["user_id"].combine_chunks().cast(pa.string())
        columns: dict[str, Any] = {
            "user_id": ids.take(pa.array(self.customer[rows] - 1)),
            "arm": pa.array(np.where(self.control[rows], CONTROL, TREATMENT).tolist(), pa.string()),
        }
        for name, label in known.segment.items():
            columns[name] = pa.array(label[rows].tolist(), pa.string())
        numbers = {name: known.column[name] for name in ("days_since_order", "orders")}
        if "value_tier" in known.segment:
            numbers["net_money"] = np.round(net_money(known.column), 4)
        columns |= {name: _numbers(values[rows]) for name, values in numbers.items()}
        if scores is not None:
            columns["probability" if scores.answers == PROBABILITIES else "expected"] = _numbers(scores.value[rows])
            for name, bound in (("low", scores.low), ("high", scores.high)):
                if bound is not None:
                    columns[name] = _numbers(bound[rows])
            columns["blank_reason"] = pa.array(scores.blank_reason[rows].tolist(), pa.string())
            there = np.isfinite(scores.value[rows])
            if (found := scores.contributions(self.customer[rows][there])) is not None:
                columns |= reasons(*found, there, self.given.currency)
        columns |= self._times(rows)
        for name, block in self.given.audience.blocks.items():
            item_BK = self._block(block, rows)
            self.filled[name] += int((item_BK > 0).any(axis=1).sum())
            columns |= columns_of(name, item_BK, self.goods)
        return pa.table(columns)

    def _times(self, rows: np.ndarray) -> dict[str, Any]:
        """`best_hour`, `best_weekday`, and where waits are given `next_order` and `send_at`."""
        found: dict[str, Any] = {}
        if "hour" in self.hours:
            found["best_hour"] = pa.array(self.hours["hour"][rows], pa.int8())
        if "weekday" in self.hours:
            found["best_weekday"] = pa.array(np.array(WEEKDAYS)[self.hours["weekday"][rows]].tolist(), pa.string())
        if (waits := self.given.waits) is not None:
            hour = self.hours["hour"][rows] if "hour" in self.hours else np.zeros(len(rows), np.int64)
            place, at, zone = self.customer[rows] - 1, self.given.at, self.given.prepared.zone
            found["next_order"] = _stamps(at + waits.median[place] * MICROSECONDS_PER_DAY)
            found["send_at"] = _stamps(send_times(at, waits.early[place], hour, zone))
        return found

    def _block(self, block: Mapping[str, Any], rows: np.ndarray) -> np.ndarray:
        source, k = block["from"], int(block.get("k") or 3)
        if source not in kinds.ASKED:
            return self.known.lists[source].take(rows).first(k)
        basket = {kinds.WITH_CART: kinds.CART, kinds.WITH_LAST_ORDER: kinds.LAST_ORDER}.get(source)
        some = None if basket is None else self.known.lists[basket].take(rows)
        asked = requests_of(self.goods, self.customer[rows], some, block.get("rest_days"))
        assert self.given.recommend is not None
        item_BK = recommended(self.given.recommend, asked, k, self.goods, block.get("new_days"))
        return item_BK if some is None else np.where(some.some[:, None], item_BK, 0)  # with nothing goes nothing


def make(given: Given) -> Made:
    """Find who is in the audience.

    Raises:
        UserError: it is an audience of nobody, a rule needs what is not given, or consent is needed and not known.
    """
    audience, prepared, at = given.audience, given.prepared, given.at
    audience.check()
    check_consent_is_known(given)
    if any(block["from"] in kinds.ASKED for block in audience.blocks.values()) and given.recommend is None:
        name = next(n for n, block in audience.blocks.items() if block["from"] in kinds.ASKED)
        raise UserError(
            f"audience.blocks.{name} recommends items; set recommender=<run folder of a recommender>, or leave the "
            f"block out: ~audience.blocks.{name}"
        )
    goods = Goods(prepared, at)
    goods.check_one_currency(None if given.profit is None else given.profit.currency)
    moment = Moment.of(prepared, at)
    n, customer = len(moment.customer), np.asarray(moment.customer)
    left_out = Counter({NO_HISTORY: prepared.n_users - n})
    if prepared.consent is not None:
        withheld = int((~prepared.consent.holds(np.arange(1, prepared.n_users + 1), at)).sum())
        left_out = Counter({NO_CONSENT: withheld, NO_HISTORY: prepared.n_users - n - withheld})
    scores = None if given.scores is None else _some(given.scores, customer - 1)
    found = _lists(given, customer, [*_sources(audience, ruled=True)])
    known = Known(moment.column, _segments(given, moment), found, scores)
    ids = prepared.users["user_id"].combine_chunks().cast(pa.string()).take(pa.array(customer - 1))
    steps = list(conditions(audience.who, known))
    if given.consents is not None:
        steps.append((permission.NOT_AGREED, permission.agreed(ids, given.consents, audience.purpose, at)))
    if given.sent is not None:
        steps += permission.contact_conditions(ids, given.sent, audience.contact, at)
    holds, counted = chosen(n, steps)
    left_out += counted
    rows = _first(audience, known, np.flatnonzero(holds))
    if audience.most is not None and len(rows) > audience.most:
        left_out[BEYOND.format(audience.most)] = len(rows) - audience.most
        rows = rows[: audience.most]
    if not len(rows):
        why = "; ".join(f"{count:,}: {reason}" for reason, count in left_out.most_common(3) if count)
        raise UserError(
            f"nobody is in audience={audience.name} as of {iso(at)} ({why}); choose another rule or instant"
        )
    customer = customer[rows]
    more = _lists(given, customer, [s for s in _sources(audience, ruled=False) if s not in found])
    known = Known(
        {name: values[rows] for name, values in known.column.items()},
        {name: label[rows] for name, label in known.segment.items()},
        {name: each.take(rows) for name, each in found.items()} | more,
        None if scores is None else _some(scores, rows),
    )
    control = in_control(
        ids.take(pa.array(rows)).to_pylist(), audience.control.share, audience.control.key or audience.name
    )
    buys = None if known.scores is None else known.scores.buys
    power = power_of(control, audience.control, buys, _ordered_lately(prepared, customer, at, audience.control.days))
    hours: dict[str, np.ndarray] = {}
    timing = None
    if audience.timing_days is not None:
        hours, timing = best_times(prepared, customer, at, audience.timing_days)
    return Made(given, customer, control, known, goods, left_out, power, hours, timing)


def check_consent_is_known(given: Given) -> None:
    """A `UserError` where customers must have agreed and nobody says who has."""
    if given.audience.needs_consent and given.prepared.consent is None and given.consents is None:
        raise UserError(
            f"audience={given.audience.name} needs consent and dataset={given.prepared.name} has no table of it; set "
            "consents=<CSV with account, purpose, granted, withdrawn>, or audience.needs_consent=false where the tool "
            "that sends knows who agreed"
        )


def _sources(audience: Audience, ruled: bool) -> set[str]:
    """Lists of items from the log that the rule, or the blocks, look at."""
    if ruled:
        return {name for name in (kinds.CART, kinds.DUE, kinds.BACK) if getattr(audience.who, name) is not None}
    behind = {kinds.WITH_CART: kinds.CART, kinds.WITH_LAST_ORDER: kinds.LAST_ORDER}
    found = {behind.get(block["from"], block["from"]) for block in audience.blocks.values()}
    return found - {kinds.RECOMMENDED}


def _lists(given: Given, customer: np.ndarray, sources: list[str]) -> dict[str, ItemLists]:
    who, told = given.audience.who, (given.prepared, customer, given.at)
    found: dict[str, ItemLists] = {}
    for source in sources:
        if source == kinds.CART:
            found[source] = lists.cart_left(*told, who.cart or kinds.CartLeft())
        elif source == kinds.DUE:
            found[source] = lists.due(*told, who.due or kinds.Due())
        elif source == kinds.LAST_ORDER:
            found[source] = lists.last_order(*told)
        else:
            assert who.back is not None
            if given.stock is None:
                raise UserError(
                    "audience.who.back asks what is back in stock; set stock=<CSV with item_id, at, in_stock, a row "
                    "per change>"
                )
            came = lists.stock_changes(given.stock, given.prepared, given.at, who.back.days)
            found[source] = lists.back_in_stock(*told, who.back, came)
    return found


def _segments(given: Given, moment: Moment) -> dict[str, np.ndarray]:
    """Segments of the customers of a moment: those that were given, else by the rules as they are without a setting."""
    if given.segments is not None:
        return {name: label[np.asarray(moment.customer) - 1] for name, label in given.segments.items()}
    rules, bought = Segmentation(), moment.ordered
    found = {"lifecycle": np.full(len(bought), "no order yet", object)}
    if bought.any():
        column = moment.buyers()
        usual = float(np.median(column["gap_mean"][column["gap_mean"] > 0])) if (column["gap_mean"] > 0).any() else None
        if usual is not None:
            found["lifecycle"] = lifecycle(moment.column, rules.lifecycle, usual_gap(column, rules.lifecycle))
        else:  # nobody has ordered twice: all who have are new
            found["lifecycle"][bought] = "new"
    if has_money(moment.prepared):
        tier = np.full(len(bought), "none", object)
        tier[bought] = value_tiers(net_money(moment.buyers()), rules.value)
        found["value_tier"] = tier
    return found


def _first(audience: Audience, known: Known, rows: np.ndarray) -> np.ndarray:
    """Rows in the audience's order; equals as they stand in the dataset. Who has no score comes last."""
    if audience.order == "score" and known.scores is not None:
        key = np.nan_to_num(known.scores.value[rows], nan=-np.inf)
    elif audience.order == "recent":
        key = -np.nan_to_num(known.column["days_since_event"][rows], nan=np.inf)
    else:  # by money, as also where there is no score
        key = np.nan_to_num(net_money(known.column)[rows])
    return rows[np.argsort(-key, kind="stable")]


def _some(scores: Scores, rows: np.ndarray) -> Scores:
    def cut(values: np.ndarray | None) -> np.ndarray | None:
        return None if values is None else values[rows]

    return replace(
        scores, value=scores.value[rows], blank_reason=scores.blank_reason[rows], low=cut(scores.low),
        high=cut(scores.high),
    )  # fmt: skip


def _ordered_lately(prepared: Prepared, customer: np.ndarray, at: int, days: float) -> np.ndarray:
    """Who ordered in the last so many days, and in as many before: bool (m, 2)."""
    length, found = round(days * MICROSECONDS_PER_DAY), np.zeros((len(customer), 2), bool)
    for back in (0, 1):
        owner, _ = lists.rows_between(prepared, customer, at - (back + 1) * length, at - back * length, ("purchase",))
        found[owner, back] = True
    return found


def _stamps(instant: np.ndarray) -> pa.Array:
    """Instants (µs, float64) as times; null where NaN."""
    known = np.isfinite(instant)
    return pa.array(np.where(known, instant, 0).astype(np.int64), mask=~known).cast(pa.timestamp("us", tz="UTC"))


def _numbers(values: np.ndarray) -> pa.Array:
    """Null where there is no finite number."""
    return pa.array(np.where(np.isfinite(values), values, 0.0), pa.float64(), mask=~np.isfinite(values))
