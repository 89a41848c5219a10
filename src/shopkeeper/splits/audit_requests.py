"""The part of the leak audit that looks at requests: whose history, until when, and which targets."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from shopkeeper.data.prepared import Prepared
from shopkeeper.data.requests import Requests, Targets
from shopkeeper.data.split import Split
from shopkeeper.schema import EVENT_CODE, event_codes
from shopkeeper.timeline import SplitSpec


def check_part(
    p: Prepared,
    split: Split,
    spec: SplitSpec,
    name: str,
    requests: Requests,
    targets: Targets,
    seen: np.ndarray,
) -> dict[str, list[str]]:
    """Findings by check for one part; an empty list is a pass. `requests` and `targets` as read from the folder.

    `seen`, bool (n_items + 1,): the item occurs in a row that a model may train on.
    """
    table = split.request_table(name, ["request", "warm_user", "warm_targets"])
    user = requests.user
    if user is None or len(user) == 0 or len(targets) != len(requests):
        return {"requests are readable": [f"{name}.parquet holds no users or not one target list per request"]}
    if user.min() < 1 or user.max() > p.n_users:
        return {"requests are readable": [f"{name}: user {user.max()} does not exist"]}
    first, past = p.offsets[user - 1], p.offsets[user]
    owner = targets.request
    low = (targets.row < first[owner]) | (targets.row >= past[owner])
    if targets.lines is not None:
        if len(targets.lines[0]) != len(targets.row) + 1:
            return {"requests are readable": [f"{name}.parquet does not hold the lines of each target"]}
        target, line = targets.all_lines
        low[target[(line < first[owner[target]]) | (line >= past[owner[target]])]] = True
    if (np.diff(targets.offsets) < 1).any() or low.any():
        wrong = np.flatnonzero(low)
        who = f", e.g. request {owner[wrong[0]]}" if len(wrong) else ""
        return {"targets are the user's own": [f"{name}: requests without targets or with another user's{who}"]}
    outside = (requests.start < first) | (requests.end > past) | (requests.start > requests.end)
    if outside.any():
        b = np.flatnonzero(outside)[0]
        return {"histories are the user's own": [f"{name}: the history of request {b} holds another user's events"]}
    checks = {
        "histories are the user's own": _whole_history(p, spec, name, requests),
        "targets are the user's own": _targets(p, spec, name, targets),
        "history ends before the targets": _before(name, requests, targets),
        "each question is asked once": _once(split, spec, name, table, requests, targets),
        "warm and cold are marked": _warm(p, split, name, table, requests, targets, seen),
    }
    checks["history ends before the instant"] = _instants(p, spec, name, requests, targets)
    if spec.asks != "next":
        checks["what is known is not asked for"] = _known(p, split, name, requests, targets)
    return checks


def _whole_history(p: Prepared, spec: SplitSpec, name: str, requests: Requests) -> list[str]:
    if spec.kind == "sessions" and spec.history == "session":
        return []
    assert requests.user is not None
    cut = np.flatnonzero(requests.start != p.offsets[requests.user - 1])
    return [f"{name}: the history of request {cut[0]} lacks its beginning"] if len(cut) else []


def _targets(p: Prepared, spec: SplitSpec, name: str, targets: Targets) -> list[str]:
    found = []
    wrong = np.flatnonzero(p.events.item[targets.row] != targets.item)
    if len(wrong):
        found.append(f"{name}: target {targets.item[wrong[0]]} is not the item of row {targets.row[wrong[0]]}")
    types = np.asarray(event_codes(spec.target_events), np.int8)
    target, line = targets.all_lines
    wrong = np.flatnonzero(~np.isin(p.events.event_type[line], types))
    if len(wrong):
        found.append(f"{name}: row {line[wrong[0]]} is a target but no {' or '.join(spec.target_events)}")
    if targets.lines is not None:
        offsets = targets.lines[0]
        wrong = np.flatnonzero(p.events.item[line] != targets.item[target])
        if len(wrong) or (np.diff(offsets) < 1).any() or (line[offsets[:-1]] != targets.row).any():
            found.append(f"{name}: the lines of a target are not those of its item")
    return found


def _before(name: str, requests: Requests, targets: Targets) -> list[str]:
    inside = np.flatnonzero(targets.row < requests.end[targets.request])
    if len(inside) == 0:
        return []
    return [
        f"{name}: {len(inside)} targets lie in their own history, e.g. row {targets.row[inside[0]]} of request "
        f"{targets.request[inside[0]]}"
    ]


def _once(split: Split, spec: SplitSpec, name: str, table: pa.Table, requests: Requests, targets: Targets) -> list[str]:
    found = []
    assert requests.user is not None
    key = requests.user if spec.kind != "sessions" else targets.row[targets.offsets[:-1]]
    repeated = len(key) - np.count_nonzero(np.bincount(key))
    if repeated:
        found.append(f"{name}: {repeated} requests are asked twice")
    number = table["request"].to_numpy()
    if not np.array_equal(number, np.arange(len(requests))):
        found.append(f"{name}: requests are not numbered 0 to {len(requests) - 1}")
    said = split.timeline["n_requests"].get(name)
    if said != len(requests):
        found.append(f"{name}: {len(requests)} requests, but timeline.json says {said}")
    return found


def _warm(
    p: Prepared, split: Split, name: str, table: pa.Table, requests: Requests, targets: Targets, seen: np.ndarray
) -> list[str]:
    assert requests.user is not None
    user = split.train_end[requests.user - 1] > p.offsets[requests.user - 1]
    item = table["warm_targets"].combine_chunks().values.to_numpy(zero_copy_only=False)
    if np.array_equal(user, table["warm_user"].to_numpy()) and np.array_equal(seen[targets.item], item):
        return []
    return [f"{name}: warm_user or warm_targets do not say what training has seen"]


def _instants(p: Prepared, spec: SplitSpec, name: str, requests: Requests, targets: Targets) -> list[str]:
    ts = p.events.timestamp
    if ts is None:
        return [] if requests.instant is None else [f"{name}: instants in data without time stamps"]
    if requests.instant is None:
        return [f"{name}: requests have no instant"]
    found = []
    some = np.flatnonzero(requests.end > requests.start)
    newest = ts[requests.end[some] - 1]
    late = newest >= requests.instant[some] if spec.timed else newest > requests.instant[some]
    if late.any():
        found.append(f"{name}: {int(late.sum())} histories reach their instant, e.g. request {some[late][0]}")
    early = ts[targets.row] < requests.instant[targets.request]
    if early.any():
        found.append(f"{name}: {int(early.sum())} targets happened before they are asked for")
    past = p.offsets[requests.user] if requests.user is not None else requests.end
    inner = np.flatnonzero(requests.end < past)
    gap = ts[requests.end[inner]] < requests.instant[inner]
    if gap.any():
        found.append(f"{name}: {int(gap.sum())} histories end too early, e.g. request {inner[gap][0]}")
    if spec.timed:
        low, high = p.cutoffs(spec).window(name)
        outside = (ts[targets.row] < low) | (ts[targets.row] >= high)
        if outside.any():
            found.append(f"{name}: {int(outside.sum())} targets lie outside of the window")
    if spec.timed and spec.targets == "all" and spec.kind != "sessions":
        if (requests.instant != low).any():
            found.append(f"{name}: requests are not asked at the window's start")
    elif spec.asks not in ("next", "category"):
        if (requests.instant < low).any():
            found.append(f"{name}: requests are asked before the window begins")
    elif (requests.instant != ts[targets.row[targets.offsets[:-1]]]).any() and spec.kind != "held_out_users":
        found.append(f"{name}: instants are not those of the targets")
    if not spec.timed and spec.kind != "held_out_users" and (requests.end != targets.row[targets.offsets[:-1]]).any():
        found.append(f"{name}: histories do not end right before the target")
    return found


def _known(p: Prepared, split: Split, name: str, requests: Requests, targets: Targets) -> list[str]:
    """Baskets hold lines of the order that is asked for, and no target; nor has a target been put into the cart."""
    found, width = [], p.n_items + 1
    wanted = targets.request * width + targets.item
    if requests.barred is not None:
        offsets, items = requests.barred
        both = np.isin(wanted, np.repeat(np.arange(len(requests)), np.diff(offsets)) * width + items)
        if both.any():
            found.append(f"{name}: item {targets.item[both][0]} is a target and may not be recommended")
    basket, order = split.as_written(name)[2], p.events.order
    if basket is not None:
        offsets, rows = basket
        first = targets.row[targets.offsets[:-1]]
        asked = np.repeat(first, np.diff(offsets))
        if order is None or (order[rows] != order[asked]).any() or (p.event_user[rows] != p.event_user[asked]).any():
            found.append(f"{name}: a basket holds lines of another order")
        elif np.isin(np.repeat(np.arange(len(requests)), np.diff(offsets)) * width + p.events.item[rows], wanted).any():
            found.append(f"{name}: a basket holds what is asked for")
    if requests.barred is not None:  # whose baskets are told
        offsets, rows = requests.flat()
        owner = np.repeat(np.arange(len(requests)), np.diff(offsets))
        types = np.asarray(event_codes(split.timeline["spec"]["target_events"]), np.int8)
        since = np.full(len(requests), -1)  # row of the last target event of the history
        bought = np.isin(p.events.event_type[rows], types)
        np.maximum.at(since, owner[bought], rows[bought])
        cart = (p.events.event_type[rows] == EVENT_CODE["add_to_cart"]) & (rows > since[owner])
        inside = np.isin(owner[cart] * width + p.events.item[rows[cart]], wanted)
        if inside.any():
            found.append(f"{name}: row {rows[cart][inside][0]} of a history puts into the cart what is asked for")
    return found
