"""Which queries are kept as text: those that several customers have asked, in the same words.

A query may hold a name, an address or an order number. One that fewer than `queries.customers` people of the whole log
have asked, or that is longer than `data.queries.LONGEST`, becomes one of `queries.buckets` before anything is numbered
or written: its text is nowhere in what is prepared, and models know only that something of that bucket was asked.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from shopkeeper.arrange.order import Arranged
from shopkeeper.data.queries import BUCKET, LONGEST, TEXT, bucket_id, is_query
from shopkeeper.ingest.log import Ids, Log


def settle_queries(log: Log, customers: int, buckets: int) -> None:
    """Put rare and long queries of a log into buckets, in place. Erased customers have left it before."""
    ids = log.ids["item_id"]
    values = ids.values.cast(pa.string()).to_pylist()
    typed = np.array([value.startswith(TEXT) for value in values], bool)
    rows = np.flatnonzero(typed[ids.codes])
    n_asked = customers_of(ids.codes[rows], log.user[rows], len(values))
    kept = ~typed | ((n_asked >= customers) & np.array([len(value) - len(TEXT) <= LONGEST for value in values], bool))
    place: dict[str, int] = {}
    called = [
        value if keep else bucket_id(value.removeprefix(TEXT), buckets)
        for value, keep in zip(values, kept.tolist(), strict=True)
    ]
    code = np.array([place.setdefault(value, len(place)) for value in called], np.int32)
    log.ids["item_id"] = Ids(code[ids.codes], pa.array(list(place), ids.values.type))


def customers_of(item: np.ndarray, user: np.ndarray, n: int) -> np.ndarray:
    """How many different users each of n items has: int64 (n,)."""
    pairs = np.unique(item.astype(np.int64) * (int(user.max(initial=0)) + 1) + user)
    return np.bincount(pairs // (int(user.max(initial=0)) + 1), minlength=n)


def query_counts(table: pa.Table) -> dict[str, int]:
    """What the manifest says of them: queries kept as text and their events, buckets and theirs."""
    text = table["query"].is_valid().to_numpy()
    events = table["events"].to_numpy()
    return {
        "texts": int(text.sum()),
        "events": int(events[text].sum()),
        "buckets": int((~text).sum()),
        "events_in_buckets": int(events[~text].sum()),
    }


def query_table(arranged: Arranged) -> pa.Table:
    """All queries of an arranged log, one row each: internal id, text (null: a bucket), events and customers."""
    names, item = arranged.names["item_id"].to_pylist(), arranged.columns["item"]
    number = np.array([i for i, name in enumerate(names, start=1) if is_query(name)], np.int64)
    of = [names[i - 1] for i in number]
    asked = np.zeros(len(names) + 1, bool)
    asked[number] = True
    rows = np.flatnonzero(asked[item])
    return pa.table(
        {
            "item": pa.array(number, pa.int32()),
            "query": pa.array([None if q.startswith(BUCKET) else q.removeprefix(TEXT) for q in of], pa.string()),
            "events": pa.array(np.bincount(item, minlength=len(names) + 1)[number], pa.int64()),
            "customers": pa.array(customers_of(item[rows], arranged.user[rows], len(names) + 1)[number], pa.int64()),
        }
    )
