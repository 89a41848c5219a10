"""What lies in a prepared folder and in its splits. Written by `arrange` and `splits`, opened by `prepared`."""

from __future__ import annotations

from shopkeeper.formats import Folder, fields, file
from shopkeeper.schema import EVENT_TYPES

CODES = ", ".join(f"{code} {name}" for code, name in enumerate(EVENT_TYPES, start=1))
# What every manifest says of the erasure list, the data and the files.
HASHES = "files.<file>  text  `blake3:` and the BLAKE3 hash of the file's bytes"

PREPARED = Folder(
    "Prepared dataset",
    "data/prepared/<dataset>/",
    "a shop's log, checked, filtered and numbered. M events of U users and I items, sorted by (user, timestamp, order "
    "in the file). Internal ids count from 1, 0 stands for none; what the data lacks is absent.",
    (
        file(
            "events.parquet",
            "every kept event with its external ids",
            """
            user_id        string                 who acted: the external id, or its pseudonym
            item_id        string                 what was acted on
            event_type     string                 what was done
            timestamp?     timestamp[us, tz=UTC]  when; absent where the data has only an order
            session_id?    string                 of the shop
            order_id?      string                 of the shop
            quantity?      double                 units; null: not known
            price?         double                 per unit; null: not known
            channel?       string                 where it happened
            returns_row?   int64                  row, from 0, of the purchase that a return undoes; null: none found
            <extra>?       any                    columns that the dataset's `extra` carries along
            """,
        ),
        file(
            "items.parquet",
            "row i - 1 is item i",
            """
            item           int32   internal id
            item_id        string  external id
            <attribute>?   any     what the shop's table or the log says of it; null: not known
            """,
        ),
        file(
            "users.parquet",
            "row u - 1 is user u",
            """
            user           int32   internal id
            user_id        string  external id, or its pseudonym
            <attribute>?   any     what the shop's table or the log says of the customer; null: not known
            """,
        ),
        file(
            "labels.parquet?",
            "of a table of customers in place of a log: row u - 1 is user u",
            """
            user     int32   internal id
            <task>?  double  what is true: 1 or 0, a count or an amount; null: not known
            """,
        ),
        file(
            "rejected.parquet",
            "what was not kept, and why",
            """
            file     string  raw file
            row      int64   its row, from 1
            column   string  the column at fault
            reason   string  what is wrong
            value    string  what stood there
            """,
        ),
        file(
            "items_known.parquet?",
            "since when attributes that come from events are known: row i - 1 is item i",
            """
            item          int32                  internal id
            <attribute>?  timestamp[us, tz=UTC]  known strictly after this instant; null: never
            """,
        ),
        file(
            "users_known.parquet?",
            "the same of users",
            """
            user          int32                  internal id
            <attribute>?  timestamp[us, tz=UTC]  known strictly after this instant; null: never
            """,
        ),
        file(
            "item_versions.parquet?",
            "attributes that change, by item and time",
            """
            item          int32                  internal id
            valid_from    timestamp[us, tz=UTC]  from this instant on
            <attribute>?  any                    the value since then
            """,
        ),
        file(
            "user_versions.parquet?",
            "the same of users",
            """
            user          int32                  internal id
            valid_from    timestamp[us, tz=UTC]  from this instant on
            <attribute>?  any                    the value since then
            """,
        ),
        file(
            "consent.parquet?",
            "whose consent is in force when: one row per change, by user and time; absent without a consent table",
            """
            user      int32  internal id
            at        int64  instant in microseconds since 1970, UTC
            in_force  bool   from then on
            """,
        ),
        file(
            "queries.parquet?",
            "which items are queries; absent where no column of the log holds what was typed",
            """
            item       int32   internal id
            query      string  the text in one spelling; null: one of the buckets for what few customers asked
            events     int64   searches
            customers  int64   who asked it
            """,
        ),
        file("offsets.npy", "int64 (U + 1,): the events of user u are rows offsets[u - 1] to offsets[u] of the arrays"),
        file("item.npy", "int32 (M,)"),
        file("event_type.npy", f"int8 (M,): {CODES}"),
        file("timestamp.npy?", "int64 (M,): microseconds since 1970, UTC"),
        file("price.npy?", "float64 (M,): per unit; NaN: not known"),
        file("quantity.npy?", "float64 (M,): units; NaN: not known"),
        file("order.npy?", "int32 (M,): number of the order, from 1; 0: none"),
        file("session.npy?", "int32 (M,): number of the session, from 1; 0: none"),
        file("channel.npy?", "int8, int16 or int32 (M,): place in the manifest's `channels`, from 1; 0: not known"),
        file("simulated/<name>?", "of a simulated shop: its parameters and the truth that nobody could observe"),
        file("splits/<name>/<name>?", "see Split"),
        file("as_of/<instant>/<name>?", "where identities are joined as of each cutoff: the dataset as known then"),
        file(
            "manifest.json",
            "what it is and what it was made from; written last",
            f"""
            format_version   int             raised when an older reader would misread
            kind             text            prepared
            dataset          text            name of the dataset
            n_events         int             M
            n_users          int             U
            n_items          int             I
            n_rejected       int             rows of rejected.parquet
            channels         list            names of the channels, in the order of their codes
            event_types.<type>  int          events of that type
            unknown.<column>  int            events whose price or quantity is not known
            unknown_of_purchases.<column>  int  and how many of them are purchases
            time_span?       object          of the log, kept events alone
            time_span.first  int             microseconds since 1970, UTC
            time_span.last   int             microseconds since 1970, UTC
            time_span.unit   text            says so
            log_span?        object          in as_of/ alone: first and last instant of the whole log
            observation?     object          what the log's days say about its ends: head, tail, sliver; twice
            queries?         object          searches with a text
            queries.texts    int             queries kept as text
            queries.events   int             searches for them
            queries.buckets  int             buckets of the others that are in use
            queries.events_in_buckets  int   searches for those
            ties?            object          events that share their instant with the user's event before
            ties.rows        int             how many
            ties.share       number          of all events
            ties.of_purchases?  number       share of purchases at the instant of the one before; 0 with order numbers
            returns?         object          what became of returns
            returns.linked   int             undo a purchase of the log
            returns.without_purchase  int    undo none that is there
            sent_again       int             purchases and returns that repeat a line of their order
            currencies       object          rows with a price by currency, where `extra` has one
            id_doubts        list            sentences about ids that may be spelled in two ways
            filters          list            each filter with what it left
            rejected.<why>   int             rows, by column and reason
            tables           list            how many ids each table from outside knows
            changes?         object          what rules about customers did; `left_out`: rows that are no events
            simulation?      object          preset, seed and size of a simulated shop
            raw_files        list            name, size, hash and time of every raw file
            config           object          the dataset's config as it was used
            {HASHES}
            fingerprint      text            SHA-256 over `files`: equal fingerprints, equal bytes
            seal             text            SHA-256 of all else here in canonical JSON: shows an edit
            """,
        ),
    ),
)

PART = fields(
    """
    request        int64              number of the request, from 0
    user           int32              who is asked for
    start          int64              the history is rows start to end of the event arrays
    end            int64              exclusive
    instant?       int64              when is asked, microseconds since 1970, UTC
    channel?       int8               where the target happened
    targets        list<int32>        items that were then taken
    target_rows    list<int64>        their rows in the event arrays, the first line of each
    target_lines?  list<list<int64>>  all lines of each target, where some have several
    basket_rows?   list<int64>        lines of the order that are known, behind the history (split.asks=cart, checkout)
    barred?        list<int32>        items that may not be recommended: the basket's, the page's
    page?          text               the category that is looked at: its items alone are candidates
    warm_user      bool               has training rows
    warm_targets   list<bool>         has been in a training row, by target
    """
)
SPLIT = Folder(
    "Split",
    "data/prepared/<dataset>/splits/<name>-<hash8>/",
    "requests and what was taken after them. The hash is over the split's settings.",
    (
        file("train_end.npy", "int64 (U,): the training rows of user u are offsets[u - 1] to train_end[u - 1]"),
        file("catalogue.npy", "int32 (C,): items that may be recommended, ascending"),
        file(
            "beside.npy?", "int32: others that models read in histories, ascending; absent where there are no queries"
        ),
        file("validation.parquet", "one row per request", more=PART),
        file("test.parquet", "one row per request", more=PART),
        file(
            "timeline.json",
            "what the split is, its counts and its audit; written last",
            """
            format                 int             raised when an older one must be written again
            name                   text            as in conf/split
            kind                   text            which rule divides
            dataset                text            name of the dataset
            fingerprint            text            of the prepared dataset
            spec                   object          the settings, which the folder's hash is over
            protocol               text            published or strict
            cutoffs                object or null  part -> instant (us, iso); null where order alone divides
            n_training_events      int             rows that models learn from
            n_training_users       int             users who have some
            n_requests.<part>      int             by part
            n_targets.<part>       int             by part
            n_users_without_request  int           users of no part
            tie_share              number or null  events that share their instant with another of the user
            tied_requests_share    object or null  requests whose target does, by part
            emptied_by_ties_share  object          requests without a history because of that, by part
            target_hash.<part>     text            SHA-256 over sorted (external user, instant, external targets)
            catalogue.n_items      int             C
            catalogue.from         text            training rows, with the item table, or the whole log
            cold.<part>            object          users, requests and targets that training does not know
            consent?               object          how many users were not trained on, and as of when
            files.<file>           text            `blake3:` and the BLAKE3 hash of the file's bytes
            audit                  object          checks against leaks and what they found
            audit.passed           bool            true, else there is no split
            audit.checks           list            each check in words
            audit.<finding>?       any             what is worth knowing
            seal                   text            SHA-256 of all else here in canonical JSON: shows an edit
            """,
        ),
    ),
)
