"""What `segments` leaves."""

from __future__ import annotations

from shopkeeper.formats import Folder, file

COLUMNS = """
    user_id           string  external id, or its pseudonym; in CSV with an apostrophe before what is a formula
    lifecycle         string  new, active, at risk, lapsed, won back, no order yet; null where blank
    value_tier?       string  by net money: top, middle, low, none; absent where the log has no prices
    cluster?          string  name of the group of customers who are alike; absent where there are no groups
    recency           int8    1 to 5, 5 ordered last; null without an order
    frequency         int8    1 to 5, 5 ordered most often
    money?            int8    1 to 5, 5 paid most
    rfm               string  the scores as one, such as R5F3M4
    days_since_order  double  null without an order
    orders            double  before the instant
    net_money?        double  of purchases less what came back, in the log's currency
    blank_reason      string  why there is no segment; empty where there is one
"""
SEGMENTS = Folder(
    "Segments",
    "segments/<dataset>/",
    "in which segments every customer is as of an instant.",
    (
        file("segments.parquet", "one row per customer of the data", COLUMNS),
        file("segments.csv", "the same"),
        file("movement.csv", "segmentation, segment before, segment now, customers"),
        file(
            "segments.json",
            "what the segments are, and what sets each apart",
            """
            as_of                      text            the instant; all is from strictly before it
            movement_since             text            the instant that movement is counted from
            usual_days_between_orders  number          the shop's
            rules                      object          the settings that were applied
            clusters                   object          traits, centres, how stable each number is; of none why
            profiles                   object          segmentation -> segments, the largest first: who, what, why, …
            """,
        ),
        file(
            "manifest.json",
            "what it is; written last",
            """
            format_version       int           raised when an older reader would misread
            kind                 text          segments
            dataset              text          name
            dataset_fingerprint  text          of the prepared dataset
            as_of                text or null  the instant; null: the data have no times, and this is the only file
            erasure_list         text or null  SHA-256 of the erasure list that was applied to the data
            commit               text          git commit, `-dirty` where files differ
            files.<file>         text          SHA-256 of the file's bytes
            seal                 text          SHA-256 of all else here in canonical JSON: shows an edit
            """,
        ),
    ),
)
