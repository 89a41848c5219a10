"""What customers typed into the shop's search, as items of another kind: one spelling, and ids that no product has.

A query is known by its text in one spelling (`normal_query`) behind `TEXT`. A query may be a name or an address: one
that few customers have asked, or that is longer than `LONGEST`, is known only as one of some hundred buckets behind
`BUCKET`, by a hash of its text. Which ones are kept is decided while a log is prepared (`arrange/queries.py`).
"""

from __future__ import annotations

import hashlib
import unicodedata

from shopkeeper.ids.spelling import BLANKS

TEXT, BUCKET = "query:", "query#"
LONGEST = 200  # characters of a text that is kept; what is longer is no query that others ask, too
CUSTOMERS = 5  # as many have asked a query that is kept as text
BUCKETS = 500  # for all others


def normal_query(text: str) -> str:
    """One query as this project spells it; "" where there is none.

    Compatibility forms are one letter (NFKC); case, blanks around it and their number between words do not count.

    >>> normal_query("  Ｒed\u00a0 SHOES ")
    'red shoes'
    """
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).lower())
    return " ".join(text.strip(BLANKS).split())


def query_id(text: str) -> str:
    """The item id of a query as somebody typed it; "" where there is none."""
    text = normal_query(text)
    return TEXT + text if text else ""


def bucket_id(text: str, buckets: int) -> str:
    """The item id of a query that is not kept as text (in one spelling): one of `buckets`.

    >>> bucket_id("red shoes", 500)
    'query#243'
    """
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return f"{BUCKET}{int.from_bytes(digest, 'little') % buckets + 1}"


def is_query(item_id: str) -> bool:
    """Whether an item id is that of a query, where the data have queries."""
    return item_id.startswith((TEXT, BUCKET))


def as_typed(item_id: str) -> str:
    """An item id as people read it: a query's text."""
    return item_id.removeprefix(TEXT)
