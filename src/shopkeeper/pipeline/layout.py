"""What `train` and `evaluate` leave."""

from __future__ import annotations

from shopkeeper.evaluation.layout import ANY_CUSTOMER_ROWS, REQUEST_ROWS
from shopkeeper.formats import Field, Folder, fields, file

SHA256 = "files.<file>  text  SHA-256 of the file's bytes"
FIGURES = """
    <part>.<metric>.value   number or null  the figure; null: not defined here
    <part>.<metric>.low     number or null  lower end of the interval; null: it has none
    <part>.<metric>.high    number or null  upper end
    <part>.<metric>.n       int             requests or customers that it is over
"""
CONFIG = file("config.yaml", "the composed config, with the execution plan that was chosen; passwords left out")
METRICS = """
    dataset      text    name
    split        text    as in conf/split
    protocol     text    published or strict
    task         text    what it was trained for
    model        text    as in conf/model
    seed         int     of training
    filter_seen  bool    whether items of the history may not be recommended
    target_hash  text    equal hashes: the same requests with the same targets
    confidence?  number  of the intervals
"""
MANIFEST = f"""
    format_version       int           raised when an older reader would misread
    kind                 text          run
    model                text          as in conf/model
    task                 text          what it was trained for
    dataset              text          name
    dataset_fingerprint  text          of the prepared dataset
    prepared             text          its folder, as seen from the working folder
    divided?             text          of a table of customers: who is learnt from, who is judged
    split                text          folder of the split; of customer models the split's name
    protocol             text          published or strict
    target_hash          text          of the test part
    erasure_list         text or null  SHA-256 of the erasure list that was applied to the data
    commit               text          git commit, `-dirty` where files differ
    trained_at?          text          when, in UTC: of several runs of a model the last one is meant
    mlflow_run?          text or null  id at the tracker
    mlflow_experiment?   text or null  id of its experiment there
    uses_instant         bool          whether the moment of the request is read
    oracle               text          of an oracle what it was told: observable or latent; empty for any other model
    alarm?               text          better than the best possible on a simulated shop
    {SHA256}
    seal  text  SHA-256 of all else here in canonical JSON: shows an edit
"""
RUN = Folder(
    "Run of a recommender",
    "runs/<dataset>/<task>/<split>/<model>-<id>/",
    "a trained model with its figures. Only a finished run has a manifest.",
    (
        CONFIG,
        file("weights.safetensors?", "of networks: tensors by name; the model's shape as JSON in the metadata"),
        file("weights.npz?", "of other models: arrays by name"),
        file("training.json?", "of networks: execution plan, best epoch, what each epoch measured"),
        file("trees.txt?", "of two-stage models: LightGBM's own text format"),
        file("candidates/<model>/<name>?", "of two-stage models: the models that propose"),
        file("validation.parquet?", "one row per request", more=REQUEST_ROWS),
        file("test.parquet", "one row per request", more=REQUEST_ROWS),
        file(
            "metrics.json",
            "every figure with its interval",
            f"""
            {METRICS.strip()}
            refit?       bool    trained anew on all until the test cutoff
            auto?        object  by part, what settings that said auto have become, and the candidate that was chosen
            init_from?   object  the run that it started from
            {FIGURES.strip()}
            """,
        ),
        file("checkpoint/<name>?", "resumable state: state.safetensors with the tensors, state.json with the rest"),
        file(
            "manifest.json",
            "what it is; written last",
            f"""
            {MANIFEST.strip()}
            trained_until?       text or null  cutoff of the training rows
            init_from?           any           the run that it started from
            refit?               bool          trained anew on all until the test cutoff
            checkpoint?          text          name of the training that the checkpoint belongs to
            """,
        ),
    ),
)
CUSTOMER_RUN = Folder(
    "Run of a customer model",
    RUN.path,
    "the same of a model that says something about customers.",
    (
        CONFIG,
        file("model.json", "feature names, calibration"),
        file("weights.npz?", "arrays by name"),
        file("trees.txt?", "of LightGBM: its own text format"),
        file("validation.parquet?", "one row per customer and cutoff", more=ANY_CUSTOMER_ROWS),
        file("test.parquet", "one row per customer and cutoff", more=ANY_CUSTOMER_ROWS),
        file(
            "metrics.json",
            "every figure with its interval",
            f"""
            {METRICS.strip()}
            windows?     object  of a log: cutoffs, horizon, who is asked about
            divided?     text    of a table of customers: who is learnt from, who is judged
            profit?      object  the shop's values that a profit is counted with
            refit?       bool    fitted for test on all cutoffs that are wholly observed before it
            {FIGURES.strip()}
            """,
        ),
        file(
            "manifest.json",
            "what it is; written last",
            f"""
            {MANIFEST.strip()}
            windows?             object        of a log: cutoffs, horizon, who is asked about
            features?            text          of a log: SHA-256 of the groups of features
            too_thin?            text          why every score is blank: too few customers, too short a log
            left_out             object        customers who were not asked about, by part and reason
            refit?               bool          fitted for test on all cutoffs that are wholly observed before it
            """,
        ),
    ),
)


def with_model(rows: tuple[Field, ...]) -> tuple[Field, ...]:
    """The rows of several models in one table."""
    return (Field("model", "string", "as in the leaderboard: the model, with its seed where there are several"), *rows)


REPORT = Folder(
    "Report folder",
    "reports/<dataset>/<split>/",
    "finished runs side by side.",
    (
        file("report.html", "all of it, to be read; one file, no network"),
        file("requests.parquet?", "one row per request and recommender", more=with_model(REQUEST_ROWS)),
        file("customers.parquet?", "one row per customer, cutoff and model", more=with_model(ANY_CUSTOMER_ROWS)),
        file("<task>.parquet?", "the same for a further task about customers", more=with_model(ANY_CUSTOMER_ROWS)),
        file(
            "leaderboard.json",
            "figures on test (DVC's metrics)",
            "<task>.<model>.<metric>  number or null  the figure alone",
        ),
        file("metrics.csv", "every figure on test: task, model, metric, value, low, high, n; models best first"),
        file("leaderboard.csv", "the headline metric: task, model, metric, value, low, high, n (DVC's plots)"),
        file("curves.csv", "of networks the headline on validation: task, model, epoch, value, loss (DVC's plots)"),
        file("reliability.csv", "task, model, predicted, observed, low, high, n: a row per bin (DVC's plots)"),
        file("slices.csv", "the headline by slice: task, model, slice, value, low, high, n (DVC's plots)"),
        file("leaderboard.txt", "the leaderboard as the terminal shows it"),
        file(
            "decisions.json",
            "what the first screen of the page decides by, for the next report to say what has moved",
            """
            until                    text            the day that the log ends with
            fingerprint              text            of the prepared dataset
            figures.<figure>.label   text            what it is
            figures.<figure>.value   number          on test, or as of the end of the log
            figures.<figure>.low     number or null  of its interval
            figures.<figure>.high    number or null  upper end
            figures.<figure>.unit    text            the currency, %, or empty
            figures.<figure>.digits  int             to be shown
            since                    object or null  until, fingerprint and figures of the report before
            """,
        ),
        file(
            "comparisons.json",
            "every pair of models on the headline, one family per task; of customer models on AUROC, … as another",
            """
            <task>                      list            one entry per pair
            <task>[].a                  text            model
            <task>[].b                  text            model
            <task>[].metric             text            the headline, or an aggregate of the task
            <task>[].difference         number or null  of b minus that of a
            <task>[].low                number or null  the intervals of a family hold together
            <task>[].high               number or null  upper end
            <task>[].confidence         number          of the intervals
            <task>[].p_adjusted         number or null  excludes 0 exactly when the interval does
            <task>[].family             int             comparisons that were judged together
            <task>[].method             text            how
            <task>[].statement          text            the result in words
            <task>[].<fact>?            any             what else is known of it
            """,
        ),
        file(
            "sanity.json",
            "whether the figures mean what they seem to",
            """
            <task>.alarms    list    what says that something is broken
            <task>.seeds     object  model -> mean, interval and spread over its seeds
            <task>.<check>?  any     recommenders: order, unseen targets, empty answers, the other split
            """,
        ),
        file("baselines/<model>/<name>?", "runs of the simple baselines that nobody had trained; see Run folder"),
        file(
            "manifest.json",
            "which runs it is made of; written last",
            f"""
            format_version       int           raised when an older reader would misread
            kind                 text          report
            dataset              text          name
            split_name           text          as in conf/split
            dataset_fingerprint  text          of the prepared dataset
            erasure_list         text or null  SHA-256 of the erasure list that was applied to the data
            baselines.<task>     text          the model that others are set beside
            runs                 list          what the table holds
            runs[].path          text          folder, as seen from the working folder
            runs[].model         text          as in conf/model
            runs[].task          text          what it was trained for
            runs[].split         text          folder of the split, or its name
            runs[].target_hash   text          of the test part
            runs[].commit        text          git commit
            runs[].mlflow_run    text or null  id at the tracker
            runs[].mlflow_experiment  text or null  id of its experiment there
            {SHA256}
            seal                 text          SHA-256 of all else here in canonical JSON: shows an edit
            """,
        ),
    ),
)
SCORES = Folder(
    "Scores",
    "outputs/scores/",
    "what a run says of every customer as of an instant; `score` writes it there, or where `to` says, as CSV too.",
    (
        file(
            "<dataset>-<task>-<model>-<day>.parquet",
            "one row per customer of the data (of a table of customers without the day); its metadata say dataset, "
            "task, model, seed, as_of, horizon_days, answers, leaving (whether that nothing is bought), fingerprint",
            more=fields(
                """
                user_id       string  external id, or its pseudonym; as CSV with an apostrophe before what is a formula
                probability?  double  of probabilities; null where blank
                expected?     double  of counts and amounts: their mean; null where blank
                low?          double  of models that say so: from where four of five lie …
                high?         double  … and until where; null where blank, or where nothing can be promised
                blank_reason  string  why there is none; empty where there is one
                """
            ),
        ),
    ),
)
