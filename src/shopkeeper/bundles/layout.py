"""What a serving team receives: one layout for recommenders and customer models."""

from __future__ import annotations

from shopkeeper.formats import Folder, file

ANSWERS = Folder(
    "Answers",
    "where `shopkeeper answer --to` says",
    "what a bundle says of each customer of a file, in the order of the file.",
    (
        file(
            "part-<number>.parquet",
            "a row per customer",
            """
            user_id       string        as in the file
            items?        list<string>  of lists: ids, best first
            scores?       list<float>   of lists: their scores
            probability?  double        of probabilities; null where blank
            expected?     double        of counts, amounts and waits: their mean; null where blank
            days_10?      double        of waits: quantiles, to days_90; the window's length: not in it
            days_25?      double        as days_10
            days_50?      double        as days_10
            days_75?      double        as days_10
            days_90?      double        as days_10
            subjects?     list<string>  of pairs: the categories or items; empty where blank
            probabilities?  list<double>  of pairs: how probable each is
            <task>?       double        of several heads: what each further task expects
            reason        string        why it is blank, or why the list is the same for all; else empty
            unknown       int32         events of items, of a table values, that the model does not know
            """,
        ),
        file(
            "_manifest.json",
            "what was asked; written last",
            """
            kind            text          answers
            format_version  int           raised when an older reader would misread
            customers       int           rows of all parts
            bundle          text          SHA-256 of the bundle's manifest
            events          text          SHA-256 of the file of customers
            as_of           text or null  the instant that was asked about
            k               int or null   items wanted; null: as many as the bundle gives
            filter_seen     bool or null  null: as the bundle does
            per_part        int           customers in a part
            files.<file>    text          SHA-256 of the file's bytes
            """,
        ),
    ),
)
BUNDLE = Folder(
    "Bundle",
    "exports/<name>/",
    "histories in external ids in; the best items, or a probability, a count or an amount, or the reason why there is "
    "none, out. "
    "`shopkeeper.serving` answers with it, with NumPy alone (and ONNX Runtime where the model is a graph).",
    (
        file(
            "arrays.npz?", "what the program that `scorer` names reads, or beside a graph what own items are scored by"
        ),
        file(
            "placements.npz?",
            "of a recommender with placements: `category/…` and `facts/…`, what steps know of items, by internal id; "
            "`fallback/<n>/…`, what the program of a fallback reads",
        ),
        file(
            "model.onnx?",
            "where `scorer` is onnx: histories of internal ids (and event types, and items to leave out) in, k best "
            "items and scores out; of a customer model, (and days since the last event) in, a probability out, which "
            "`calibrator` makes true; where `scorer` is blend: of its network, if it has one",
        ),
        file(
            "vocabulary.json",
            "what turns events into what the model reads; internal ids are places in `item_ids`, from 1",
            """
            item_ids           list or null  the shop's ids; null where any id is as good as another
            known              list or null  1 for each item that is read in a history, else 0; null: all are
            query_buckets?     int           where the shop's log has queries: buckets of those that are no `item_ids`
            columns            list          of order, session, price, quantity, channel: those that are read of events
            channels           list          their names
            channel_features?  int           of a customer model: how many of them have a feature of their own
            table?             object        of a table of customers: how its rows become features
            table.numbers      list          pairs: column, what is taken off
            table.categories   list          pairs: column, values that have a feature of their own
            table.columns      list          those that a row may have
            table.missing      list          texts that stand for what is not known
            category?          list or null  of a customer model: category of each item, from place 1; 0: not known
            category_since?    list or null  since when it is known, microseconds since 1970, UTC
            """,
        ),
        file(
            "golden.json",
            "invented histories, which are nobody's, with the trained model's answers",
            """
            requests                            list            one entry per request
            requests[].history                  any             item ids, lists of id, type, time, …, objects; or a row
            requests[].as_of?                   text            the instant that is asked about
            requests[].filter_seen?             bool            of lists: whether items of the history are left out
            requests[].exclude?                 list            of lists: ids to leave out
            requests[].expected                 object          the answer
            requests[].expected.reason          text            why it is blank, or why it is the fallback list
            requests[].expected.probability?    number or null  null where blank
            requests[].expected.expected?       number or null  of counts, amounts and waits: their mean
            requests[].expected.quantiles?      list            of waits: days at `levels` of the manifest
            requests[].expected.further?        object          of several heads: what further tasks expect, by name
            requests[].expected.pairs?          list or null    of a customer and each category or item
            requests[].expected.pairs[].subject  text           which
            requests[].expected.pairs[].probability  number     of it
            requests[].expected.items?          list            best first
            requests[].expected.items[].item_id  text           the shop's id
            requests[].expected.items[].score   number          its score
            placements?                         list            the same at places of the shop
            placements[].placement              text            which one
            placements[].history                any             as above
            placements[].as_of?                 text            as above
            placements[].exclude                list            as above
            placements[].basket?                list            ids of the order so far
            placements[].category?              text            whose page it is
            placements[].expected               object          as above; the score is 1 / place
            placements[].expected.reason        text            as above
            placements[].expected.fallback?     object          how many of the items, the last ones, each fallback gave
            placements[].expected.items         list            as above
            placements[].expected.items[].item_id  text         as above
            placements[].expected.items[].score  number         as above
            """,
        ),
        file(
            "manifest.json",
            "what it is; written last but for its hash",
            """
            kind                    text            recommender, customer or table
            format_version          int             raised when an older reader would misread
            scorer                  text            program over arrays.npz; onnx: model.onnx
            history.max_length      int or null     newest events that are read (baskets, if the graph takes `lines`)
            history.event_types     list or null    types that are read; null: all
            history.needs_time      bool            each event must have its time
            history.needs_instant   bool            `as_of` must be said
            history.time_zone       text            of times without an offset
            history.usual_type      text            what an event without a type counts as
            preprocessing.event_codes.<type>   int   what stands for an event type
            preprocessing.event_columns  list        of an event that is a list
            preprocessing.order     text            in which a history is read
            preprocessing.day       int             microseconds of a day
            preprocessing.unknown_items  text       what becomes of an event whose item nobody knows
            preprocessing.padding   object or null  of a graph: on which side, with what
            preprocessing.inputs    object or null  of a graph: name -> type, axes, meaning
            preprocessing.outputs   object or null  of a graph: name -> type, axes, meaning
            preprocessing.arrays    object or null  of arrays.npz: name -> type, shape
            preprocessing.ids       object          spellings of an id that are one id
            preprocessing.queries   object or null  how what was typed becomes an id; null: the log has no queries
            preprocessing.empty     text            the reason where nothing of a history is read
            preprocessing.nothing?  text            of lists: the reason of an empty list
            preprocessing.tolerance  object         of golden answers: score, rank, probability, expected, further, days
            people                  int             training customers whose data are in arrays.npz, without ids
            model                   text or null    as in conf/model
            task                    text or null    what it was trained for
            seed                    int or null     of training
            metrics                 object or null  metrics.json of the run
            chosen                  object or null  why this run: null where it was named, else …
            chosen.part?            text            … it leads on this part
            chosen.metric?          text            by the headline of its task
            chosen.value?           number          its own
            chosen.of?              int             models that could have been exported
            chosen.next?            text            the second best of them
            chosen.next_value?      number          its value
            chosen.p_adjusted?      number or null  of the difference, for all pairs of the models
            chosen.certain?         bool            whether they can be told apart
            chosen.statement?       text            the comparison in words
            judged                  object or null  on test beside the strongest baseline; null: there was no report
            judged.baseline?        text            that it was set beside
            judged.metric?          text            the task's headline
            judged.difference?      number or null  of the model minus the baseline
            judged.low?             number or null  lower end of the interval
            judged.high?            number or null  upper end
            judged.p_adjusted?      number or null  as in the report
            judged.better?          bool            significantly
            judged.method?          text            as in the report
            judged.statement?       text            as in the report
            git_commit              text or null    that trained it
            versions.<package>      text            that wrote it
            exported                text            the day, UTC
            data.dataset            text            name
            data.title              text or null    in words
            data.source             text or null    where people get it
            data.licence            text or null    of the data
            data.currency           text or null    of the log's prices; null: nobody said
            data.period             list or null    the log's first and last event; null: it has no times
            data.trained_until      text or null    nothing later was learnt from; null: no cutoff in time
            data.consent            text            on which basis people's data were used
            data.fingerprint        text            of the prepared dataset
            data.erasure_list       text or null    SHA-256 of the erasure list that was applied to the data
            data.split              text or null    folder of the split, or its name
            data.protocol           text or null    published or strict
            data.target_hash        text or null    of the test part
            k?                      int             of lists: their length
            filter_seen?            bool            of lists: items of the history are left out unless a request says
            n_items?                int             of lists: length of `item_ids`
            n_catalogue?            int             of lists: items that may be recommended
            placements?             object          of lists: places of the shop that it answers at, too
            placements.<name>.asks  text            as split.asks; empty: nothing of a page or a basket
            placements.<name>.candidates  int       the model's best that the steps are about
            placements.<name>.filter  list          steps that take items out
            placements.<name>.rerank  list          steps that put them in order
            placements.<name>.fallback  list        who answers without a history, and fills short lists, in this order
            placements.<name>.fallback[].model  text  its name
            placements.<name>.fallback[].arrays  text  its `<n>` in placements.npz
            placements.<name>.fallback[].scorer  text  its program
            placements.<name>.fallback[].columns  list  as `columns` of vocabulary.json
            placements.<name>.fallback[].history  object  as `history`
            placements.<name>.fallback[].history.max_length  int or null  as above
            placements.<name>.fallback[].history.event_types  list or null  as above
            placements.<name>.fallback[].history.needs_time  bool  as above
            answers?                text            of customers: probabilities, counts, amounts or days
            further?                object          of customers, of several heads: further tasks, in the graph's order
            further.<task>.answers  text            as `answers`
            further.<task>.calibrator  object       as `calibrator`
            further.<task>.calibrator.method  text  which rule
            further.<task>.calibrator.parameters  object  of the rule
            shift?                  object          of waits: days that are added
            shift.of_quantile?      list            to each quantile
            shift.of_mean?          number          to the mean
            levels?                 list            of waits: of the quantiles
            calibrator?             object or null  of customers: what makes scores true
            calibrator.method       text            which rule
            calibrator.parameters   object          of the rule
            season?                 object          what a blend follows by the time of year, if it does
            season.total            list            the whole shop's orders, or money, of each day until …
            season.until            int             … this instant, microseconds
            season.learnt           number          mean log of what training windows brought, over the days before them
            season.of_nothing       number or null  label of a window that holds nothing; null of means
            features?               object          of a log, not of a graph: the groups of features
            features.<group>        any             its settings; true where it has none
            features_hash?          text            SHA-256 of that
            feature_names?          list            of customers, not of a graph: features, in the arrays' order
            horizon_days?           number          of customers: the window that the answer is about
            pairs?                  object          of pairs: what is asked about
            pairs.<kind>            list            categories or items, by name
            session?                object          of sessions: the newest that goes on is asked about
            session.after           int             so many events of it are read, at least so many it has
            session.gap_minutes     number          silence that ends it, where events have no session_id
            active_events?          list            of customers: those with such an event are asked about …
            active_days?            number or null  … in so many days before; others are blank
            index?                  object          of one with an index
            index.kind              text            faiss or usearch
            index.what              text            in words
            index.items             int             in it
            index.width             int             of its vectors
            index.setting           int             how far it looks; 0: at all of them
            index.recall            object          share of an exact list that it finds
            index.recall.k          int             length of the lists
            index.recall.golden     number          of the golden requests
            index.recall.golden_requests  int       how many
            index.recall.invented   number or null  of histories of items at random that did not choose the setting
            index.recall.invented_requests  int     how many
            index.cost              object or null  as `variant.cost`; null: it was not measured
            variant?                object          of one in fewer bits or two steps (`target int8 | fp16 | two_steps`)
            variant.kind            text            int8, fp16 or two_steps
            variant.what            text            in words
            variant.of              text            SHA-256 of the exact bundle's manifest
            variant.bytes           int             of model.onnx
            variant.exact_bytes     int             of the exact one
            variant.golden          object          its golden answers beside the exact ones
            variant.golden.requests  int            how many
            variant.golden.overlap  number          mean share of an exact list that is in its list
            variant.golden.same_lists  number       share of lists that are the same
            variant.cost            object          on the test requests of the run, paired by customer
            variant.cost.metric     text            NDCG at the length of its lists, 10 at most
            variant.cost.exact      number          of the exact bundle
            variant.cost.value      number          its own
            variant.cost.difference  number         its own minus the exact one's
            variant.cost.low        number or null  lower end of the interval
            variant.cost.high       number or null  upper end
            variant.cost.p_value    number or null  of the difference
            variant.cost.n          int             requests
            variant.cost.n_users    int             customers
            variant.cost.method     text            of interval and p-value
            variant.cost.statement  text            the comparison in words
            files.<file>            text            SHA-256 of the file's bytes
            """,
        ),
        file("index.<faiss|usearch>?", "index of the catalogue's item vectors (`shopkeeper target faiss | usearch`)"),
        file("index.npz?", "beside it: `catalogue`, internal ids by position, and `fallback`, by internal id"),
        file("vector.onnx?", "beside it, of a graph: the graph until the vector that items are looked for by"),
        file("README.md", "for whoever receives it: what lies here, how it is asked, how it is answered without us"),
        file("card.md", "the model's card: data, period, protocol, figures beside the strongest baseline, limits"),
        file("statement.md", "what customers may be told of it, in English, Russian and Ukrainian"),
        file("request.schema.json", "JSON Schema of a request, as in golden.json and on the command line"),
        file("response.schema.json", "JSON Schema of an answer"),
        file("manifest.json.sha256", "SHA-256 of manifest.json, as `sha256sum` writes it"),
    ),
)
TRITON = Folder(
    "Triton model repository",
    "where `shopkeeper target triton --to` says",
    "a bundle for NVIDIA's Triton: `<model>` answers JSON with JSON, `<model>_graph` is its graph alone.",
    (
        file("<model>/config.pbtxt", "as Triton's `ModelConfig`: tensors, batching, instances"),
        file("<model>/1/model.py?", "of `<model>`: answers from the bundle beside it, in Triton's Python backend"),
        file("<model>/1/bundle/<file>?", "of `<model>`: the bundle as it was given"),
        file("<model>/1/model.onnx?", "of `<model>_graph`: the bundle's graph"),
        file("README.md", "how it is started and asked, what each tensor means"),
        file(
            "manifest.json",
            "of what it was made; written last",
            """
            kind            text          triton
            format_version  int           raised when an older reader would misread
            task            text or null  as in the bundle
            model           text or null  as in the bundle
            data            object        as in the bundle
            bundle          text          SHA-256 of the bundle's manifest
            models          list          names of the models
            max_batch_size  int           requests that are answered together at most
            files.<file>    text          SHA-256 of the file's bytes
            """,
        ),
    ),
)
