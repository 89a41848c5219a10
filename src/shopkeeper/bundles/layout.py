"""What a serving team receives."""

from __future__ import annotations

from shopkeeper.formats import Folder, file

WHENCE = """
    format_version     int             raised when an older reader would misread
    model              text or null    as in conf/model
    task               text or null    what it was trained for
    seed               int or null     of training
    metrics            object or null  metrics.json of the run
    git_commit         text or null    that trained it
    data.dataset       text            name
    data.fingerprint   text            of the prepared dataset
    data.erasure_list  text or null    SHA-256 of the erasure list that was applied to the data
    data.split         text or null    folder of the split, or its name
    data.target_hash   text or null    of the test part
    files.<file>       text            SHA-256 of the file's bytes
"""
SEAL = file("manifest.json.sha256", "SHA-256 of manifest.json, as `sha256sum` writes it")
RECOMMENDER = Folder(
    "Bundle of a recommender",
    "exports/<name>/",
    "histories in external ids in, the best items out. `shopkeeper.serving` answers with it, without torch.",
    (
        file(
            "model.onnx?",
            "histories of internal ids (and event types, and items to leave out) in, k best items and scores out",
        ),
        file("arrays.npz?", "of a model without a graph: what the program that `scorer` names reads"),
        file(
            "items.parquet",
            "row i - 1 is item i",
            """
            item          int32   id inside of the graph
            item_id       string  the shop's id
            <attribute>?  any     what is known of it
            in_catalogue  bool    may be recommended
            known         bool    is read in a history
            """,
        ),
        file(
            "golden.json",
            "invented histories with the trained model's answers",
            """
            requests                      list    one entry per request
            requests[].history            list    item ids, or lists of id, event type and time; oldest first
            requests[].filter_seen        bool    whether items of the history are left out
            requests[].exclude            list    ids to leave out
            requests[].expected           list    the answer, best first
            requests[].expected[].item_id  text   the shop's id
            requests[].expected[].score   number  its score
            """,
        ),
        file(
            "manifest.json",
            "what it is; written last but for its hash",
            f"""
            kind                 text          recommender
            filter_seen          bool          whether items of the history are left out unless a request says
            k                    int           length of the lists
            n_items              int           rows of items.parquet
            n_catalogue          int           items that may be recommended
            scorer               text or null  program over arrays.npz; null: model.onnx
            history.max_length   int or null   newest events that are read; null: all
            history.event_types  list or null  types that are read; null: all
            history.needs_time   bool          each event must have its time
            history.time_zone    text          of times without an offset
            history.usual_type   text          what an event without a type counts as
            data.protocol        text          published or strict
            {WHENCE.strip()}
            """,
        ),
        SEAL,
    ),
)
CUSTOMER = Folder(
    "Bundle of a customer model",
    "exports/<name>/",
    "a customer's events in external ids in, a probability or the reason why there is none out.",
    (
        file("arrays.npz", "what the program that `scorer` names reads"),
        file(
            "vocabulary.json",
            "what turns events into features",
            """
            columns           list           columns of events that the training log had
            channels          list           their names
            channel_features  int            how many of them have a feature of their own
            time_zone         text           of the shop, whose days count
            usual_type        text           what an event without a type counts as
            item_ids          list or null   the shop's ids; null where categories are not known
            category          list or null   category of each, by place from 1; 0: not known
            category_since    list or null   since when it is known, microseconds since 1970, UTC
            """,
        ),
        file(
            "golden.json",
            "invented customers with the trained model's answers",
            """
            requests                             list            one entry per customer
            requests[].events                    list            what they did, oldest first
            requests[].as_of                     text            the instant that is asked about
            requests[].expected                  object          the answer
            requests[].expected.probability      number or null  null where blank
            requests[].expected.<fact>?          any             why it is blank
            """,
        ),
        file(
            "manifest.json",
            "what it is; written last but for its hash",
            f"""
            kind                   text            customer
            scorer                 text            program over arrays.npz: constant, logistic or trees
            calibrator             object or null  what turns scores into probabilities
            calibrator.method      text            which rule
            calibrator.parameters  object          of the rule
            feature_names          list            features, in the order of the arrays
            horizon_days           number          the window that the answer is about
            active_events          list            who is asked about: customers with such an event …
            active_days            number or null  … in so many days before; others are blank
            {WHENCE.strip()}
            """,
        ),
        SEAL,
    ),
)
