"""What a search leaves."""

from __future__ import annotations

from shopkeeper.formats import Folder, file

STUDY = Folder(
    "Study",
    "studies/<name>/",
    "a search over settings. The database is Optuna's, in the folder unless tuning.storage names another one.",
    (
        file("study.db?", "the study (SQLite)"),
        file("best.yaml?", "a Hydra experiment: `train` with it composes what the best trial was trained with"),
        file(
            "trials.json?",
            "a list of all trials",
            """
            [].number      int             from 0
            [].state       text            complete, pruned or fail
            [].value       number or null  the headline metric on validation, mean over seeds
            [].params      object          setting -> value
            [].epochs      object          epoch -> value
            [].seconds?    number          how long it took
            [].seeds?      object          seed -> value
            [].commit?     text            git commit
            [].error?      text            of a failed one
            [].<fact>?     any             what else is known of it
            """,
        ),
        file(
            "board.json?",
            "of `model=auto`: what each model reached; best.yaml is the winner's",
            """
            headline          text    metric on validation
            models[].model    text    best first
            models[].value    number  of its best trial
            models[].trials   int     complete ones
            models[].study    text    name of its folder
            """,
        ),
        file("<plot>.png?", "history, importance, slice and curves"),
        file(
            "manifest.json",
            "what it is",
            """
            kind   text  study
            study  text  name in the database, with a hash over everything that a trial's value depends on
            """,
        ),
    ),
)
