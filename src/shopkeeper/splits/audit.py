"""The leak audit: does a written split know anything of its own future? Run by `prepare` always; a leak is an error.

The checks read the split folder and the log afresh, without the code that made the split where that is possible.
Shapes: M events, U users, B requests, N targets.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow.compute as pc

from shopkeeper.data.consent import FILE as CONSENT_FILE
from shopkeeper.data.consent import LATEST
from shopkeeper.data.listed import listed
from shopkeeper.data.offered import HIDDEN, QUERY, customers_wanted
from shopkeeper.data.prepared import Prepared
from shopkeeper.data.requests import Requests, Targets
from shopkeeper.data.split import Split
from shopkeeper.data.threads import side_by_side
from shopkeeper.schema import event_codes
from shopkeeper.splits.audit_error import AuditError
from shopkeeper.splits.audit_requests import check_part
from shopkeeper.splits.perturb import audit_by_perturbation
from shopkeeper.splits.steps import steps, steps_per_user, training_mask, uniform_hash
from shopkeeper.timeline import SplitSpec, iso

__all__ = ["AuditError", "audit_by_perturbation", "audit_split"]

EXAMPLES = 20
WHOLE_LOG_FILTERS = ("k_core", "min_history", "max_history")  # these count a user's or item's later events, too


def audit_split(prepared: Prepared, split: Split) -> dict[str, Any]:
    """Check a split against its log; the report goes into `timeline.json` and the evaluation's report.

    Returns:
        `checks` (names of what was checked), `first_seen_in_test` (items among the test targets that training never
        saw: how many and examples), and for splits that are not by time `training_after_other_test_instants`: how
        many training events lie after another user's test instant. That is reported, not failed: it is how
        leave-one-out is defined.

    Raises:
        AuditError: with every violation, each naming what leaked and where.
    """
    spec = SplitSpec.from_config(split.timeline["spec"])
    checks: dict[str, list[str]] = {
        "the folder belongs to this log": _belongs(prepared, split),
        "events are in time order": _sorted(prepared),
        "training ends inside each user's rows": _training_range(prepared, split),
    }
    report: dict[str, Any] = {}
    if not any(checks.values()):  # what follows indexes with these arrays
        training = training_mask(prepared.offsets, split.train_end)
        seen = np.zeros(prepared.n_items + 1, bool)
        seen[prepared.events.item[training]] = True
        known = np.zeros_like(seen)
        known[split.known[(split.known > 0) & (split.known <= prepared.n_items)]] = True
        parts = {name: split.as_written(name)[:2] for name in ("validation", "test")}

        def of(name: str) -> dict[str, list[str]]:
            found = check_part(prepared, split, spec, name, *parts[name], seen & known)
            return {f"{name}: {check}": v for check, v in found.items()}

        beside: list[Callable[[], dict[str, list[str]]]] = [
            lambda: of("validation"),
            lambda: of("test"),
            lambda: {"no training event at or after its cutoff": _cutoffs(prepared, split, spec)},
            lambda: {"no event in two parts": _disjoint(prepared, split, spec, parts)},
            lambda: {"everybody with a target is asked": _complete(prepared, spec, split, parts)},
            lambda: {"the catalogue is the declared one": _catalogue(prepared, split, spec, training)},
            lambda: {"nobody without consent at the cutoff": _consent(prepared, split, parts)},
        ]
        for found in side_by_side(lambda check: check(), beside):
            checks |= found
        if prepared.kind_V is not None or split.beside is not None:
            checks["queries and products are told apart"] = _kinds(prepared, split, spec, training)
        if spec.strict:
            checks["no id, count or identity from later rows"] = _later_rows(prepared, split, spec)
        if not any(checks.values()):
            if spec.strict and _filters(prepared).get("bots"):
                report["notes"] = [
                    "filters.bots looks at the whole log: who behaves like a bot later is left out before"
                ]
            report["first_seen_in_test"] = _first_seen(prepared, seen, parts["test"][1])
            if not spec.timed:
                report["training_after_other_test_instants"] = _after_others(prepared, training, parts["test"][0])
    violations = [v for found in checks.values() for v in found]
    if violations:
        raise AuditError(spec.folder, violations)
    return {"passed": True, "checks": list(checks), **report}


def _belongs(p: Prepared, split: Split) -> list[str]:
    theirs, ours = split.timeline.get("fingerprint"), p.manifest.get("fingerprint")
    return [] if theirs == ours else [f"the split was made from other data (fingerprint {theirs}, the log has {ours})"]


def _sorted(p: Prepared) -> list[str]:
    if p.offsets[0] != 0 or (np.diff(p.offsets) < 0).any():
        return ["offsets.npy does not ascend from 0: users' rows overlap"]
    ts = p.events.timestamp
    if ts is None:
        return []
    backwards = ts[1:] < ts[:-1]
    inner = p.offsets[1:-1]
    backwards[inner[(inner > 0) & (inner < len(ts))] - 1] = False
    rows = np.flatnonzero(backwards)
    return [f"time stamps of user {p.event_user[rows[0]]} go backwards at row {rows[0] + 1}"] if len(rows) else []


def _training_range(p: Prepared, split: Split) -> list[str]:
    if len(split.train_end) != p.n_users:
        return [f"train_end.npy has {len(split.train_end)} users, the log {p.n_users}"]
    wrong = (split.train_end < p.offsets[:-1]) | (split.train_end > p.offsets[1:])
    return [f"training rows of user {np.flatnonzero(wrong)[0] + 1} reach into another user's"] if wrong.any() else []


def _cutoffs(p: Prepared, split: Split, spec: SplitSpec) -> list[str]:
    if not spec.timed:
        return []
    ts = p.events.timestamp
    if ts is None:
        return ["a split by time of data without time stamps"]
    cutoffs = p.cutoffs(spec)
    found = []
    if split.timeline["cutoffs"] != cutoffs.as_json():
        found.append(
            f"timeline.json says cutoffs {split.timeline['cutoffs']}, the specification gives {cutoffs.as_json()}"
        )
    some = np.flatnonzero(split.train_end > p.offsets[:-1])
    late = some[ts[split.train_end[some] - 1] >= cutoffs.validation]
    if len(late):
        found.append(
            f"{len(late)} users have training events at or after the cutoff {iso(cutoffs.validation)}, "
            f"e.g. user {late[0] + 1} at {iso(ts[split.train_end[late[0]] - 1])}"
        )
    return found


def _disjoint(p: Prepared, split: Split, spec: SplitSpec, parts: dict[str, tuple[Requests, Targets]]) -> list[str]:
    found = []
    taken = np.zeros(len(p.events.item), np.int8)
    rows = np.concatenate([targets.row for _, targets in parts.values()])
    rows = rows[(rows >= 0) & (rows < len(taken))]
    np.add.at(taken, rows, 1)
    twice = np.flatnonzero(taken > 1)
    if len(twice):
        found.append(f"{len(twice)} events are targets twice, e.g. row {twice[0]}")
    trained = rows[rows < split.train_end[p.event_user[rows] - 1]]
    if len(trained):
        found.append(f"{len(trained)} targets are training events, too, e.g. row {trained[0]}")
    if spec.kind == "held_out_users":
        draw = uniform_hash(np.arange(1, p.n_users + 1), spec.seed)
        held_out = draw < sum(spec.shares.values())
        wrong = np.flatnonzero(held_out & (split.train_end > p.offsets[:-1]))
        if len(wrong):
            found.append(f"{len(wrong)} held-out users are trained on, e.g. user {wrong[0] + 1}")
    validation, test = (requests for requests, _ in parts.values())
    asked_until = np.full(p.n_users + 1, np.iinfo(np.int64).max)
    asked_until[_users(test)] = test.end if spec.kind not in ("held_out_users", "sessions") else -1
    late = _users(validation)[validation.end > asked_until[_users(validation)]]
    late = late if spec.kind != "sessions" else late[:0]
    if len(late):
        found.append(f"{len(late)} users are asked for validation after test, or in both, e.g. user {late[0]}")
    return found


def _complete(p: Prepared, spec: SplitSpec, split: Split, parts: dict[str, tuple[Requests, Targets]]) -> list[str]:
    """Users who have a target but no request: dropping them would flatter a model."""
    if spec.kind in ("sessions", "held_out_users") or spec.asks != "next":
        return []
    target = np.zeros(len(p.events.event_type), bool)
    for code in event_codes(spec.target_events):  # `isin` makes places of 64 bits of all
        target |= p.events.event_type == code
    found = []
    if spec.timed:
        ts, order = p.events.timestamp, p.events.order
        assert ts is not None
        cutoffs = p.cutoffs(spec)
        for name, (requests, _) in parts.items():
            low, high = cutoffs.window(name)
            rows = np.flatnonzero(target & (ts >= low) & (ts < high))
            asked = np.zeros(p.n_users + 1, bool)
            asked[_users(requests)] = True
            rows = rows[~asked[p.event_user[rows]]]
            if p.consent is not None:  # their target may be agreed to when the question is not
                rows = rows[p.consent.holds(p.event_user[rows], low if spec.targets == "all" else ts[rows])]
            if order is not None and len(rows):  # lines of an order that began before the window
                own = steps(np.flatnonzero(target & np.isin(p.event_user, p.event_user[rows])), p.event_user, order)
                assert own.of_row is not None
                rows = rows[ts[own.row[own.of_row[np.searchsorted(own.rows, rows)]]] >= low]
            if len(rows):
                found.append(f"{name}: user {p.event_user[rows[0]]} has a target at row {rows[0]} but is not asked")
        return found
    n_steps = steps_per_user(target, p.event_user, p.events.order, p.offsets)
    enough = np.flatnonzero(n_steps >= 2 * spec.k + 1) + 1
    enough = enough if p.consent is None else enough[p.consent.holds(enough, LATEST)]
    return [
        f"{name}: {len(np.setxor1d(enough, _users(requests)))} users are asked who should not be, or the reverse"
        for name, (requests, _) in parts.items()
        if not np.array_equal(enough, np.sort(_users(requests)))
    ]


def _users(requests: Requests) -> np.ndarray:
    assert requests.user is not None
    return requests.user


def _catalogue(p: Prepared, split: Split, spec: SplitSpec, training: np.ndarray) -> list[str]:
    catalogue = split.known
    whole = (np.diff(part) <= 0 for part in (split.catalogue, () if split.beside is None else split.beside))
    if len(split.catalogue) == 0 or any(map(np.any, whole)) or catalogue[0] < 1 or catalogue[-1] > p.n_items:
        return ["catalogue.npy is empty, not ascending, or holds ids that the log does not know"]
    if not spec.strict:
        missing = p.n_items - len(catalogue)
        return [f"protocol=published, but the catalogue lacks {missing} items of the log"] if missing else []
    item, user = p.events.item[training], p.event_user[training]
    seen = np.zeros(p.n_items + 1, bool)
    seen[item] = True
    offered = seen | listed(p, p.cutoffs(spec).validation if spec.timed else None) if spec.new_items else seen
    if not offered[catalogue].all():
        unknown = catalogue[~offered[catalogue]]
        return [f"protocol=strict, but {len(unknown)} catalogue items have no training event, e.g. item {unknown[0]}"]
    kept = np.zeros(p.n_items + 1, bool)
    kept[catalogue] = True
    inside = kept[item]
    if spec.k_core and spec.k_core > 1:
        items = np.bincount(item[inside], minlength=p.n_items + 1)[catalogue]
        users = np.bincount(user[inside], minlength=p.n_users + 1)[np.unique(user)]
        low = min(items.min(), users.min())
        if low < spec.k_core:
            return [f"an item or user of the {spec.k_core}-core has only {low} training events"]
    elif not inside.all():
        return [f"{len(np.unique(item[~inside]))} items have training events but are not in the catalogue"]
    return []


def _kinds(p: Prepared, split: Split, spec: SplitSpec, training: np.ndarray) -> list[str]:
    """Only what is asked for may be recommended, and no query that too few had asked by the cutoff."""
    if p.kind_V is None:
        return [] if split.beside is None else ["beside.npy is there, and the log has no queries"]
    if split.beside is None or np.isin(split.beside, split.catalogue).any():
        return ["beside.npy is missing, or shares items with catalogue.npy"]
    kind = p.kind_V[split.catalogue]
    found = [] if "search" in spec.target_events or not kind.any() else ["a query is in the catalogue of products"]
    found += ["a bucket of queries is in the catalogue"] if (kind == HIDDEN).any() else []
    if spec.strict and "search" in spec.target_events:
        queries = split.catalogue[kind == QUERY]
        rows = training & np.isin(p.events.item, queries)
        pairs = np.unique(np.stack([p.events.item[rows], p.event_user[rows]]), axis=1)
        n = np.bincount(pairs[0], minlength=p.n_items + 1)[queries]
        few = np.flatnonzero(n < customers_wanted(p))
        found += [f"query {queries[few[0]]} was asked by {n[few[0]]} customers of training"] if len(few) else []
    return found


def _later_rows(p: Prepared, split: Split, spec: SplitSpec) -> list[str]:
    """Under `strict`: ids in order of first appearance, no count over the whole log, identities as of the cutoff."""
    found = []
    filters = _filters(p)
    for name in WHOLE_LOG_FILTERS:
        if (filters.get(name) or 0) > 1:
            found.append(
                f"protocol=strict, but prepare filtered by {name}={filters[name]} over the whole log; set "
                f"dataset.filters.{name}=null (k-core: split.k_core) or split.protocol=published"
            )
    ts = p.events.timestamp
    if ts is not None:
        first = np.full(p.n_items + 1, np.iinfo(np.int64).max)
        np.minimum.at(first, p.events.item, ts)
        for kind, instants in (("item", first[1:]), ("user", ts[p.offsets[:-1][np.diff(p.offsets) > 0]])):
            if (np.diff(instants) < 0).any():
                i = int(np.flatnonzero(np.diff(instants) < 0)[0]) + 2
                found.append(
                    f"{kind} ids are not in order of first appearance: {kind} {i} was seen before {kind} {i - 1}"
                )
    return found + _later_keys(p, split)


def _filters(p: Prepared) -> dict[str, Any]:
    return dict((p.manifest.get("config") or {}).get("filters") or {})


def _later_keys(p: Prepared, split: Split) -> list[str]:
    """Links between keys must be known at the cutoff."""
    cutoffs, links = split.timeline.get("cutoffs"), (p.manifest.get("changes") or {}).get("identity")
    if not cutoffs or not links or (links.get("as_of") is not None and links["as_of"] <= cutoffs["validation"]["us"]):
        return []
    joined = iso(links["as_of"]) if links.get("as_of") is not None else "no date"
    return [
        f"keys of customers are joined as of {joined}, later than the cutoff {cutoffs['validation']['iso']}; "
        f"set dataset.identity.as_of=cutoff"
    ]


def _consent(p: Prepared, split: Split, parts: dict[str, tuple[Requests, Targets]]) -> list[str]:
    """Customers are learned from and asked about only while they agree; read from the file, record by record."""
    if p.consent is None:
        return []
    table = p.table(CONSENT_FILE)
    state: dict[int, list[tuple[int, bool]]] = {}
    for user, at, agrees in zip(*(table[name].to_pylist() for name in ("user", "at", "in_force")), strict=True):
        state.setdefault(user, []).append((at, agrees))

    def agrees_at(user: int, instant: int) -> bool:
        return next((agrees for at, agrees in reversed(state.get(user, [])) if at <= instant), False)

    cutoffs = split.timeline.get("cutoffs")
    at = cutoffs["validation"]["us"] if cutoffs else LATEST
    trained = np.flatnonzero(split.train_end > p.offsets[:-1]) + 1
    without = [user for user in trained.tolist() if not agrees_at(user, at)]
    found = [f"user {user} is trained on without consent at the cutoff" for user in without[:1]]
    for name, (requests, _) in parts.items():
        instants = requests.instant if cutoffs and requests.instant is not None else np.full(len(requests), LATEST)
        pairs = zip(_users(requests).tolist(), instants.tolist(), strict=True)
        without = [user for user, t in pairs if not agrees_at(user, t)]
        found += [f"{name}: user {user} is asked about without consent" for user in without[:1]]
    return found


def _first_seen(p: Prepared, seen: np.ndarray, test: Targets) -> dict[str, Any]:
    counts = np.bincount(test.item[~seen[test.item]], minlength=p.n_items + 1)
    top = np.argsort(-counts, kind="stable")[: min(EXAMPLES, np.count_nonzero(counts))]
    names = pc.take(p.items["item_id"], top.astype(np.int64) - 1).to_pylist()
    return {"items": int(np.count_nonzero(counts)), "targets": int(counts.sum()), "examples": names}


def _after_others(p: Prepared, training: np.ndarray, test: Requests) -> dict[str, Any] | None:
    """Training events later than the test instant of somebody else."""
    if test.instant is None or test.user is None or p.events.timestamp is None:
        return None
    order = np.argsort(test.instant, kind="stable")
    first = test.instant[order[0]]
    second = test.instant[order[1]] if len(order) > 1 else np.iinfo(np.int64).max
    late = p.events.timestamp > first
    late &= training
    whose = test.user[order[0]]  # the first instant is theirs: the second counts for their rows
    mine = slice(p.offsets[whose - 1], p.offsets[whose])
    own = p.events.timestamp[mine][training[mine]]
    after = int(late.sum()) - int((own > first).sum()) + int((own > second).sum())
    return {"events": after, "share": after / max(1, int(training.sum())), "earliest_test_instant": iso(first)}
