"""The best items for many people at once, of the log or not, as a frame: what `Estimator.recommend` gives."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from shopkeeper.api.errors import plain_errors
from shopkeeper.api.frames import is_series, is_table
from shopkeeper.api.told import as_written, compose
from shopkeeper.data.prepared import Prepared
from shopkeeper.data.requests import Requests
from shopkeeper.data.split import Split
from shopkeeper.errors import UserError
from shopkeeper.ids.spelling import normal_id
from shopkeeper.pipeline import context, told
from shopkeeper.pipeline.recommend import asked_now, best, of_category, without_shown
from shopkeeper.pipeline.runs import RunFolder

People = Sequence[Sequence[Any]] | Mapping[Any, Sequence[Any]]


def lists_for(
    run: RunFolder,
    users: Any,
    k: int,
    history: People | None,
    basket: People | None,
    placement: str | Mapping[str, Any] | None,
    category: str | None,
    filter_seen: bool | None,
) -> pa.Table:
    """A row per person and place of a list; arguments as of `Estimator.recommend`."""
    k = as_written(k)
    if isinstance(k, bool) or not isinstance(k, int) or k < 1:
        raise UserError(f"k={k!r:.40} must be a whole number of at least 1")
    if history is not None and users is not None:
        raise UserError("users and history are given; give one of them")
    if basket is not None and history is None:
        raise UserError("basket is what people have now, beside what they did: give history, too ([] of nobody known)")
    place = None if placement is None else _placement(placement)
    if category is not None and place is None:
        raise UserError(f"category={category} says whose page it is; add placement='category'")
    prepared = context.prepared_of(run.manifest)
    split = context.split_of(prepared, run.manifest)
    model = run.model()
    if place is not None:
        model = run.placed(model, place, filter_seen)
    if history is not None:
        history, basket = _people(history, "history"), None if basket is None else _people(basket, "basket")
        names = [
            name.item() if isinstance(name, np.generic) else name
            for name in (history if isinstance(history, Mapping) else range(len(history)))
        ]
        told_of = [_lines(history, "history", name) for name in names]
        baskets = None if basket is None else [_lines(basket, "basket", name) for name in _same(names, basket)]
        requests = asked_now(told_of, baskets, model, split, place)
        who = pa.array(names if all(isinstance(n, int) for n in names) else [str(n) for n in names])
    else:
        requests, who = _of_the_log(users, prepared, split, place)
    if category is not None:
        requests = of_category(requests, category, split)
    seen = bool(run.metrics["filter_seen"]) if filter_seen is None else filter_seen
    item_BK, score_BK = best(model, split, requests, k, seen, placed=place is not None)
    listed = item_BK > 0
    of, rank = np.nonzero(listed)
    item = pa.array(item_BK[listed].astype(np.int64) - 1)
    table = {"user_id": who.take(pa.array(of)), "rank": pa.array(rank + 1),
             "item_id": prepared.items["item_id"].combine_chunks().take(item),
             "score": pa.array(score_BK[listed])}  # fmt: skip
    for name in prepared.items.column_names:
        if name not in ("item", *table):
            table[name] = prepared.items[name].combine_chunks().take(item)
    return pa.table(table)


def _placement(said: str | Mapping[str, Any]) -> told.Placement:
    """A place of the shop by the name of its file in `conf/placement/`, or that and settings."""
    with plain_errors():
        found = told.settings(compose("recommend", {"placement": said}), told.Recommend).placement
    if found is None:
        raise UserError("placement has settings and no name; give {'name': 'cart', …}")
    return found


def _of_the_log(
    users: Any, prepared: Prepared, split: Split, place: told.Placement | None
) -> tuple[Requests, pa.Array]:
    user = _numbers(users, prepared.users["user_id"], prepared.name)
    offsets, time = prepared.offsets, prepared.events.timestamp
    at = None if time is None else np.full(len(user), int(time.max()) + 1, np.int64)
    requests = Requests(prepared.events, offsets[user - 1], offsets[user], at, user.astype(np.int32))
    last = [prepared.events.item[end - 1 : end].tolist() for end in offsets[user].tolist()]
    requests = without_shown(requests, last, [[] for _ in last], place)
    return requests, prepared.users["user_id"].combine_chunks().take(pa.array(user - 1))


def _people(people: Any, key: str) -> People:
    if isinstance(people, Mapping):
        return people
    if is_table(people):
        raise UserError(
            f"{key} is a {type(people).__name__}; give a list of items for each person, e.g. "
            f"{key}=frame.groupby('customer')['item'].agg(list).to_dict()"
        )
    if is_series(people):
        if not people.index.is_unique:
            raise UserError(f"{key} names somebody twice; give each a name of their own, or a list: {key}=list(…)")
        return dict(people.to_dict())
    if isinstance(people, str | bytes) or not isinstance(people, Iterable):
        raise UserError(f"{key}={people!r:.60} is no list of what people did; give a list for each: {key}=[[…], […]]")
    return list(people)


def _lines(people: People, key: str, name: Any) -> list[Any]:
    """What one person did, ids as text; a `UserError` for an item in place of a list of them."""
    lines = people[name]
    if isinstance(lines, str | bytes | Mapping) or not isinstance(lines, Iterable):
        raise UserError(
            f"{key} has {lines!r:.60} in place of a list of what one person did; give a list of lists: {key}=[[…], […]]"
        )
    return [_event(one) for one in lines]


def _same(names: Sequence[Any], basket: People) -> Sequence[Any]:
    """The people of whom there is a history, where the baskets are theirs; a `UserError` where they are not."""
    theirs = list(basket) if isinstance(basket, Mapping) else list(range(len(basket)))
    if set(theirs) != set(names):
        raise UserError(f"history is of {len(names)} people and basket of {len(theirs)} or others; give one for each")
    return names


def _event(one: Any) -> Any:
    """An event of a history, with its item's id as text."""
    if isinstance(one, Mapping):
        return {key: str(value) if key == "item_id" else value for key, value in one.items()}
    return [str(one[0]), *one[1:]] if isinstance(one, list | tuple) and one else one


def _numbers(users: Any, ids: pa.ChunkedArray, dataset: str) -> np.ndarray:
    """Internal ids of customers, int64 (n,); a `UserError` for one that is not in the log."""
    if users is None:
        return np.arange(1, len(ids) + 1)
    if is_table(users):
        raise UserError(f"users is a {type(users).__name__}; give its column of ids, e.g. frame['customer']")
    wanted = [users] if isinstance(users, str | int | np.integer) else list(users)
    place = {name: n for n, name in enumerate(ids.to_pylist(), start=1)}
    found = []
    for one in wanted:
        if (name := normal_id(one)) not in place:
            raise UserError(
                f"customer {one!r:.60} is not in {dataset}; for somebody who is not in the log give history=[[…]] with "
                f"what they did"
            )
        found.append(place[name])
    return np.array(found, np.int64)
