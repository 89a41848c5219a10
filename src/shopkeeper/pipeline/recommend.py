"""`recommend`: answer for one person, who need never have been in the training data, from a finished run."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from omegaconf import DictConfig

from shopkeeper.bundles.answer.baskets import ORDER
from shopkeeper.bundles.answer.events import Row, read_event
from shopkeeper.data.prepared import Prepared
from shopkeeper.data.queries import as_typed
from shopkeeper.data.requests import Requests
from shopkeeper.data.split import Split
from shopkeeper.errors import UserError, nearest
from shopkeeper.ids.spelling import normal_id
from shopkeeper.metrics.best import best_columns
from shopkeeper.models.about import LISTS
from shopkeeper.pipeline import context, places, show
from shopkeeper.pipeline.runs import open_run, say_contradictions
from shopkeeper.pipeline.told import Placement, Recommend, settings
from shopkeeper.recommenders.base import untyped_event
from shopkeeper.reranking.placement import Placed
from shopkeeper.tasks.base import REQUESTS

log = logging.getLogger(__name__)
Line = tuple[int, Row]  # an item's internal id, and what is told of the event
UNKNOWN = ("price", "channel")  # what a network reads and an event need not tell
CELLS_AT_ONCE = 4_000_000  # of scores


def _recommends(run: places.Listed) -> bool:
    return places.asked_of(run) == REQUESTS


def recommend(config: DictConfig) -> None:
    """The verb: print the best items for `history=[…]` (external ids or [id, event type], oldest first).

    With `basket=[…]`, the order so far, which stands behind the history: what goes with it. With `placement=…` as that
    place of the shop answers: its filter, order and fallback; on an item's page that item is the last of the history,
    on a category's (`category=…`) its items alone are listed.
    """
    cfg = settings(config, Recommend)
    root = cfg.paths.runs
    place = places.meant(cfg.run, root, cfg.plain, _recommends)
    run = open_run(place, context.named_targets())
    say_contradictions(cfg.plain, [run])
    if run.about.asks != REQUESTS:
        raise UserError(f"{run.path} is a {run.task} model, which does not recommend items; give a run that does")
    context.say_if_raw_changed(run.manifest, cfg.paths.raw)
    prepared = context.prepared_of(run.manifest)
    split = context.split_of(prepared, run.manifest)
    model = run.model()
    if cfg.placement is not None:
        model = run.placed(model, cfg.placement, cfg.filter_seen)
    elif cfg.category is not None:
        raise UserError(f"category={cfg.category} says whose page it is; add placement=category")
    item_ids = prepared.items["item_id"].to_pylist()
    basket = [cfg.basket] if cfg.basket else None
    requests = asked_now([cfg.history], basket, model, split, cfg.placement)
    if not requests.flat()[0][-1]:
        log.info(
            "nothing is known of whoever asks: the list is the same for all such; `history=[…]` tells what was taken"
        )
    if cfg.category is not None:
        requests = of_category(requests, cfg.category, split)
    seen = bool(run.metrics["filter_seen"]) if cfg.filter_seen is None else cfg.filter_seen
    item_BK, score_BK = best(model, split, requests, cfg.k, seen, placed=cfg.placement is not None)
    listed = item_BK[0][item_BK[0] > 0].tolist()
    if not listed:
        print(_nothing_left(model, with_nightly(requests, model, split), cfg.k, seen))
        return
    extra = [c for c in prepared.items.column_names if c not in ("item", "item_id")][:3]
    attributes = {c: prepared.items[c].to_pylist() for c in extra}
    texts = item_ids if prepared.queries is None else [as_typed(name) for name in item_ids]
    shown = [
        [texts[i - 1], f"{score:.4f}", *(str(attributes[c][i - 1]) for c in extra)]
        for i, score in zip(listed, score_BK[0].tolist(), strict=False)
    ]
    print(show.table(["item", "score", *extra], shown))


def _nothing_left(model: Any, requests: Requests, k: int, filter_seen: bool) -> str:
    """Why a list is empty: which rule took out how many, of the model's own candidates and of each fallback's."""
    told = []
    for one in [model.first, *model.fallback] if isinstance(model, Placed) else []:
        (_, there), *steps = one.taken_out(requests, k)
        if there:
            out = ", ".join(f"{name} took out {n}" for name, n in steps if n)
            told.append(f"of {there} candidate{'s' * (there > 1)} of {type(one.model).__name__} {out}")
    if told:
        return f"nothing is left to recommend: {'; '.join(told)}; change placement.filter"
    why = "all that could be shown is in the history, or none of it is on this page"
    way = "add filter_seen=false" if filter_seen else "ask for another page, or with a shorter history or basket"
    return f"nothing is left to recommend: {why}; {way}"


def asked_now(
    history: Sequence[Sequence[Any]],
    basket: Sequence[Sequence[Any]] | None,
    model: Any,
    split: Split,
    placement: Placement | None = None,
) -> Requests:
    """Requests of people who are asked about right after what the log knows and what they tell of themselves.

    Args:
        history: per person, as `read_lines` takes it; in order of time where each line has one.
        basket: per person the order so far, which comes last, is of now where it tells no time, and is not recommended
            again. None: nobody has one.
        model: that is asked.
        split: of its data.
        placement: where: on an item's page that item is not recommended.
    """
    people = [_oldest_first(lines) for lines in read_lines(history, model, split, "history")]
    before = [len(lines) for lines in people]
    if basket is not None:
        of_order = [
            [(item, row._replace(order_id=row.order_id or ORDER)) for item, row in lines]
            for lines in read_lines(basket, model, split, "basket")
        ]
        people = [[*own, *added] for own, added in zip(people, of_order, strict=True)]
    items = [[item for item, _ in lines] for lines in people]
    times = [[row.timestamp for _, row in lines] for lines in people]
    time = split.prepared.events.timestamp
    end = 0 if time is None else int(time.max()) + 1
    now = [max([end, *(told + 1 for told in known if told is not None)]) for known in times]  # what was told is past
    silent = time is not None and not any(before)  # who has no history tells no event without its time
    if silent or any(told is not None for known in times for told in known):  # a basket is of now
        times = [
            [*known[:n], *(at - 1 if told is None else told for told in known[n:])]
            for known, n, at in zip(times, before, now, strict=True)
        ]
    types = [[row.event_type for _, row in lines] for lines in people]
    stamps = told_times(times)
    if stamps is None and silent:
        stamps = [[] for _ in people]
    requests = Requests.from_histories(items, types, stamps, None if time is None else now)
    rows = [row for lines in people for _, row in lines]
    columns = _told_columns(rows, split.prepared, basket is not None, model.about.reads)
    requests = replace(requests, events=replace(requests.events, **columns))
    return without_shown(requests, items, [known[n:] for known, n in zip(items, before, strict=True)], placement)


def _oldest_first(lines: list[Line]) -> list[Line]:
    """In order of time; where a line tells none, as they are written."""
    if any(row.timestamp is None for _, row in lines):
        return lines
    return sorted(lines, key=lambda line: line[1].timestamp or 0)


def _told_columns(
    rows: Sequence[Row], prepared: Prepared, basket: bool, reads: Sequence[str] = ()
) -> dict[str, np.ndarray]:
    """What is told of events beside item, type and time, of what the log has, too.

    `basket`: orders are told. `reads`: what the model reads; prices and channels among it are unknown where nobody
    tells them, as they are to a bundle and in rows of the log that lack them.
    """
    channel = {name: code for code, name in enumerate(prepared.manifest.get("channels") or (), start=1)}
    found: dict[str, tuple[list[float], type]] = {
        "price": ([row.price for row in rows], np.float64),
        "quantity": ([row.quantity for row in rows], np.float64),
        "order": (_numbered([row.order_id for row in rows]), np.int32),
        "session": (_numbered([row.session_id for row in rows]), np.int32),
        "channel": ([channel.get(row.channel or "", 0) for row in rows], np.int32),
    }
    told: dict[str, np.ndarray] = {name: np.array(values, dtype) for name, (values, dtype) in found.items()}
    kept = [name for name, values in told.items()
            if getattr(prepared.events, name) is not None and np.nan_to_num(values).any()]  # fmt: skip
    silent = [name for name in UNKNOWN if name in reads and name not in kept and rows]
    if silent:
        log.info("no event tells its %s, which this model reads: unknown to it, as to a bundle", " or ".join(silent))
        kept += silent
    return {name: told[name] for name in (*kept, *(("order",) if basket else ()))}


def _numbered(ids: Sequence[str | None]) -> list[float]:
    """Ids as numbers from 1 in order of first appearance; 0 where there is none."""
    known: dict[str, int] = {}
    return [known.setdefault(one, len(known) + 1) if one else 0 for one in ids]


def without_shown(
    requests: Requests, items: Sequence[Sequence[int]], basket: Sequence[Sequence[int]], placement: Placement | None
) -> Requests:
    """Requests that are not answered with what lies in the basket or, on an item's page, with that item."""
    on_page = placement is not None and placement.split.asks == "product"
    shut = [of or (known[-1:] if on_page else of) for known, of in zip(items, basket, strict=True)]
    if not any(map(len, shut)):
        return requests
    offsets = np.concatenate([[0], np.cumsum([len(of) for of in shut])])
    return replace(requests, barred=(offsets, np.concatenate([np.asarray(of, np.int32) for of in shut])))


def of_category(requests: Requests, category: str, split: Split) -> Requests:
    """Requests that are answered with items of a category alone; a `UserError` for one that there is not."""
    code_V, names = split.prepared.first_category
    if category not in names:
        raise UserError(f"category={category}: {split.prepared.name} has none.{nearest(category, names)}")
    open_to = split.catalogue[code_V[split.catalogue] == names.index(category) + 1]
    offsets = np.arange(len(requests) + 1) * len(open_to)
    return replace(requests, candidates=(offsets, np.tile(open_to, len(requests))))


def read_lines(lists: Sequence[Sequence[Any]], model: Any, split: Split, where: str) -> list[list[Line]]:
    """What people write down of themselves: of each line the item's internal id, and all that it tells.

    Items that are not known go.

    `lists`: per person item ids, [id, event type, …] or {item_id: …}; `where` begins messages.
    """
    prepared = split.prepared
    usual = untyped_event(model, split.timeline["spec"].get("target_events") or ())
    internal = {str(item): i + 1 for i, item in enumerate(prepared.items["item_id"].to_pylist())}
    found = []
    for lines in lists:
        rows = [read_event(x if isinstance(x, list | Mapping) else str(x), where, usual, prepared.zone) for x in lines]
        named = [(normal_id(row.item_id), row) for row in rows]  # as the log spells them
        if strange := [item_id for item_id, _ in named if item_id not in internal]:
            whole = _with_commas(strange, internal)
            hint = f"; {whole} is one item: write it in double quotes, '{where}=[\"{whole}\"]'" if whole else ""
            log.info("left out, not in the data: %s%s", ", ".join(strange), hint)
        found.append([(internal[item_id], row) for item_id, row in named if item_id in internal])
    return found


def _with_commas(strange: Sequence[str], known: Mapping[str, int]) -> str | None:
    """An item whose name has commas, which were taken for the ends of several ids; None where there is none."""
    for start in range(len(strange)):
        for end in range(start + 2, len(strange) + 1):
            for comma in (",", ", "):
                if (name := comma.join(strange[start:end])) in known:
                    return name
    return None


def told_times(times: Sequence[Sequence[int | None]]) -> list[list[int]] | None:
    """Instants of the events of histories, where they are told; None where none is. A `UserError` for some without."""
    known = [[time for time in of_one if time is not None] for of_one in times]
    if not any(known):
        return None
    if any(len(some) < len(whole) for some, whole in zip(known, times, strict=True)):
        raise UserError("history: some events have a time and others none; write one for each, or for none")
    return known


def with_nightly(requests: Requests, model: Any, split: Split) -> Requests:
    """Requests with last night's demand for a model that reads it, as it is evaluated."""
    return replace(requests, nightly=split.nightly) if "nightly" in model.about.needs else requests


def best(
    model: Any, split: Split, requests: Requests, k: int, filter_seen: bool, *, placed: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """The best items of each request, int32 (B, K), 0 where there are no more, and their scores, float64 (B, K).

    Of a model that answers with lists, scores are 1 / place. `placed`: it answers as a place of the shop does.
    """
    requests = with_nightly(requests, model, split)
    n_columns, catalogue = split.prepared.n_items + 1, np.asarray(split.catalogue)
    shown_V = np.zeros(n_columns, bool)
    shown_V[catalogue] = True
    step = max(1, CELLS_AT_ONCE // n_columns)
    found = []
    for first in range(0, len(requests), step):
        part = requests[first : first + step]
        gone = part.hidden(filter_seen)
        if placed or model.about.answers == LISTS:
            more = 0 if placed or gone is None else int(np.diff(gone[0]).max(initial=0))
            item_BN = np.asarray(model.recommend(part, min(k + more, len(catalogue))), np.int32)
            score_BV = np.full((len(part), n_columns), -np.inf)
            place_N = 1 / np.arange(1, item_BN.shape[1] + 1)
            for n in reversed(range(item_BN.shape[1])):  # of an item that is listed twice the first place counts
                score_BV[np.arange(len(part)), item_BN[:, n]] = place_N[n]
        else:
            score_BV = np.asarray(model.score(part))
        score_BV = np.where(shown_V, score_BV, -np.inf)
        if gone is not None:
            score_BV[np.repeat(np.arange(len(part)), np.diff(gone[0])), gone[1]] = -np.inf
        best_BK = best_columns(score_BV, min(k, len(catalogue)))
        value_BK = np.take_along_axis(score_BV, best_BK, axis=1)
        found.append((np.where(value_BK > -np.inf, best_BK, 0).astype(np.int32), value_BK.astype(np.float64)))
    if not found:
        return np.zeros((0, k), np.int32), np.zeros((0, k))
    return np.concatenate([item for item, _ in found]), np.concatenate([score for _, score in found])
