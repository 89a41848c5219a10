"""What `uplift` leaves."""

from __future__ import annotations

from shopkeeper.formats import Folder, file

KIND = "uplift"  # of the folder
UPLIFT = Folder(
    "Uplift",
    "outputs/uplift/<campaign>/",
    "whom a randomised campaign moves, as several learners say it.",
    (
        file(
            "uplift.json",
            "the figures",
            """
            normalised                         text    what the areas are divided by
            campaign                           object  as in conf/campaign
            features                           list    the columns that models read; a text has one for each value
            folds                              int     customers are judged by models that have not seen their fold
            trees                              object  how they were grown
            seed                               int     of folds and trees
            confidence                         number  of the intervals, over customers
            trials                             list    one for each arm and outcome
            trials[].arm                       text    set against the control group
            trials[].outcome                   text    column
            trials[].balance                   object  treated, control, p_number, p_features, auroc: was it by chance?
            trials[].effect                    object  value, low, high of treating everybody
            trials[].learners                  object  learner -> figure -> value, low, high
            """,
        ),
        file("curves.csv", "arm, outcome, learner, share of the customers, gain, qini"),
        file(
            "customers.parquet",
            "one row per row of the table",
            """
            user_id      string  the campaign's id, or the number of the row from 0
            arm          string  of the customer
            <score>      double  <arm>/<outcome>/<learner>: uplift; null of customers of other arms
            """,
        ),
        file(
            "manifest.json",
            "what it is; written last",
            """
            format_version  int   raised when an older reader would misread
            kind            text  uplift
            campaign        text  name
            dataset         text or null  in whose report it is shown
            raw             text  SHA-256 of the campaign's table
            commit          text  git commit, `-dirty` where files differ
            files.<file>    text  SHA-256 of the file's bytes
            seal            text  SHA-256 of all else here in canonical JSON: shows an edit
            """,
        ),
    ),
)
