"""The shop window's data: what some customers did, what each model would show them, what they then did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from shopkeeper.data.queries import as_typed, is_query
from shopkeeper.errors import UserError
from shopkeeper.evaluation.compare import align
from shopkeeper.evaluation.report.figures import Board, one_per_group
from shopkeeper.evaluation.settings import Report
from shopkeeper.ids.spelling import normal_id
from shopkeeper.schema import EVENT_TYPES
from shopkeeper.timeline.zones import clock

SHOWN_EVENTS = 12  # last events of a history
SHOWN_ITEMS = 10
SHOWN_TARGETS = 8
TITLES = ("title", "name", "product_name", "item_name", "description")
ATTRIBUTES = ("category", "main_category", "department", "genres", "genre", "brand", "price", "year")
KINDS = ("chosen", "found", "missed", "nobody", "random", "new")


def shop_window(section: Mapping[str, Any], board: Board, told: Report) -> dict[str, Any] | None:
    """Cases as `report.js` reads them; items are numbers into `items`, models indices into `models`.

    Customers are numbers; ids stand there of those who were chosen by their id, and of all with `report.ids`.

    Chosen customers (`report.chosen`) come first; then, in equal parts where there are enough: the best model was
    right and no other was; it was wrong and another was right; nobody was right; drawn at random; without history.
    """
    prepared, split = section["prepared"], section["split"]
    models = one_per_group([m for m in board.models if "top_items" in section["tables"][m.name].column_names])
    wanted = max(told.customers, len(told.chosen))
    if not models or wanted < 1 or split is None:
        return None
    tables = align({m.name: section["tables"][m.name] for m in models})
    first = tables[models[0].name]
    requests, targets = split.part("test")
    rows = first["request"].to_numpy()
    rank = {m.name: _first_rank(tables[m.name]) for m in models}
    picked = _pick(first, requests.lengths[rows], rank, [m.name for m in models if not m.is_oracle], wanted, told)

    named = told.ids
    used: set[int] = set()  # items named anywhere
    cases: list[dict[str, Any]] = []
    for row, kind in picked:
        r = int(rows[row])
        start, end = int(requests.start[r]), int(requests.end[r])
        events = requests.events
        last = range(max(start, end - SHOWN_EVENTS), end)
        after = targets.item[targets.offsets[r] : targets.offsets[r + 1]].tolist()
        lists = [tables[m.name]["top_items"][row].as_py()[:SHOWN_ITEMS] for m in models]
        history: list[Any] = [
            [int(events.item[e]), int(events.event_type[e]), _day(events.timestamp, e, prepared.zone)]
            for e in reversed(last)
        ]
        used |= {h[0] for h in history} | set(after[:SHOWN_TARGETS]) | {i for shown in lists for i in shown}
        cases.append(
            {
                "user": str(first["user_id"][row].as_py())
                if named or kind == "chosen"
                else f"Customer {len(cases) + 1}",
                "kind": kind,
                "when": _moment(requests.instant, r, prepared.zone),
                "events": end - start,
                "history": history,
                "lists": lists,
                "ranks": [None if not np.isfinite(rank[m.name][row]) else int(rank[m.name][row]) for m in models],
                "targets": after[:SHOWN_TARGETS],
                "taken": sorted({i for shown in lists for i in shown} & set(after)),
                "more": max(0, len(after) - SHOWN_TARGETS),
            }
        )
    return {
        "models": [{"label": m.label, "colour": m.colour} for m in models],
        "types": {code: name.replace("_", " ") for code, name in enumerate(EVENT_TYPES, start=1)},
        "items": _items(prepared.items, sorted(used), prepared.queries is not None),
        "with_ids": sum(named or kind == "chosen" for _, kind in picked),
        "dated": prepared.events.timestamp is not None,
        "cases": cases,
    }


def _first_rank(table: pa.Table) -> np.ndarray:
    """Place of the best-placed target of each request, inf where none was ranked: float64 (n,)."""
    ranks = table["ranks"].combine_chunks()
    offsets = ranks.offsets.to_numpy().astype(np.int64)
    values = np.append(ranks.values.to_numpy(zero_copy_only=False).astype(np.float64), np.inf)
    values[np.isnan(values)] = np.inf
    some = np.diff(offsets) > 0
    best = np.minimum.reduceat(values, np.minimum(offsets[:-1], len(values) - 1)) if len(some) else values[:0]
    return np.where(some, best, np.inf)


def _pick(
    table: pa.Table,
    lengths: np.ndarray,
    rank: Mapping[str, np.ndarray],
    rivals: Sequence[str],
    wanted: int,
    told: Report,
) -> list[tuple[int, str]]:
    """Rows of the table with the reason why each is shown; every customer once."""
    user = np.asarray(table["user_id"].to_pylist(), object)
    hit = np.stack([rank[name] <= SHOWN_ITEMS for name in rivals])
    others = hit[1:].any(axis=0) if len(rivals) > 1 else np.zeros(hit.shape[1], bool)
    known = lengths > 0
    groups = {
        "found": known & hit[0] & ~others,
        "missed": known & ~hit[0] & others,
        "nobody": known & ~hit.any(axis=0),
        "random": known,
        "new": ~known,
    }
    chosen = [normal_id(x) for x in told.chosen]
    if unknown := [who for who in chosen if not (user == who).any()]:
        raise UserError(f"report.chosen: customer '{unknown[0]}' has no test request to show; choose another")
    picked = [(int(np.flatnonzero(user == who)[0]), "chosen") for who in chosen if (user == who).any()]
    taken = {user[row] for row, _ in picked}
    rng = np.random.default_rng(told.seed)
    share = -(-max(0, wanted - len(picked)) // len(groups))
    spare: list[tuple[int, str]] = []
    for kind, mask in groups.items():
        found = 0
        for row in rng.permutation(np.flatnonzero(mask))[: 4 * wanted].tolist():
            if user[row] in taken or found >= wanted:
                continue
            taken.add(user[row])
            (picked if found < share else spare).append((row, kind))
            found += 1
    picked = (picked + spare)[:wanted]
    return sorted(picked, key=lambda p: KINDS.index(p[1]))


def _called(item_id: str, queries: bool) -> str:
    """An id; of a query, where the log has some, its text in quotes."""
    return f"“{as_typed(item_id)[:90]}”" if queries and is_query(item_id) else str(item_id)


def _items(table: pa.Table, used: Sequence[int], queries: bool = False) -> dict[int, list[str]]:
    """Item -> title and what else is known in a few words; `queries`: whether some items may be such."""
    title = next((c for c in TITLES if c in table.column_names), None)
    attributes = [c for c in ATTRIBUTES if c in table.column_names and c != title]
    kind = attributes.pop(0) if title is None and attributes and attributes[0] != "price" else None
    rows = table.take(pa.array([i - 1 for i in used], pa.int64())).to_pylist()
    found = {}
    for item, row in zip(used, rows, strict=True):
        facts = [_text(row[c], c) for c in attributes if row[c] is not None]
        name = str(row[title])[:90] if title and row[title] else _called(row["item_id"], queries)
        if kind is not None and row[kind] is not None:  # an item without a title: say at least what it is
            name = f"{_text(row[kind], kind).capitalize()} {name}"
        found[item] = [name, " · ".join(facts)]
    return found


def _text(value: Any, column: str) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value[:3]))
    if isinstance(value, float):
        return f"{value:,.2f}" if column == "price" else f"{value:g}"
    return str(value).replace("_", " ").replace("|", ", ")[:60]


def _day(timestamp: np.ndarray | None, row: int, zone: str) -> str:
    return "" if timestamp is None else f"{clock(int(timestamp[row]), zone):%Y-%m-%d}"


def _moment(instant: np.ndarray | None, row: int, zone: str) -> str:
    return "" if instant is None else f"{clock(int(instant[row]), zone):%Y-%m-%d %H:%M} {zone}"
