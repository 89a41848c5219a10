"""What `audience` leaves."""

from __future__ import annotations

from pathlib import Path

from shopkeeper.errors import UserError
from shopkeeper.files import read_json
from shopkeeper.folders import MANIFEST
from shopkeeper.formats import Folder, file
from shopkeeper.hashing import check_hashes, check_seal

KIND = "audience"  # of the folder
TABLE = "audience.parquet"


def audience_file(folder: Path) -> Path:
    """The table of a finished audience, its hashes checked.

    Raises:
        UserError: no audience, or an unfinished, edited or damaged one, or a rule for sessions.
    """
    again = "run `shopkeeper audience` again"
    if not (folder / MANIFEST).is_file():
        raise UserError(f"{folder} is no finished audience (no {MANIFEST}); {again}, or give a CSV or Parquet file")
    manifest = read_json(folder / MANIFEST)
    if not isinstance(manifest, dict) or manifest.get("kind") != KIND:
        raise UserError(f"{folder} holds no audience; give a folder of `shopkeeper audience`, or a CSV or Parquet file")
    check_seal(manifest, folder / MANIFEST, again, needed=True)
    check_hashes(folder, manifest.get("files") or {}, again)
    if TABLE not in (manifest.get("files") or {}):
        raise UserError(f"{folder} is a rule for sessions, of which there is no list of customers; give another one")
    return folder / TABLE


CARD = """
    audience        text            as in conf/audience
    title           text            of it
    message         text            what is said
    dataset         text            name
    as_of           text            the instant; all is from strictly before it
    currency?       text or null    of prices and money, as the dataset says
    rule            object          the settings that were applied
    customers?      object          of_the_dataset, in_the_audience, treatment, control
    left_out?       object          reason -> customers; each is counted with the first that holds
    arms?           object          share, key, days, power, level, buyers (of how many known), …
    scores?         object or null  run, task, model, quality on later customers, mean, quantiles, who has none and why
    items?          object          block -> customers with an item in it
    timing?         object or null  hour, weekday -> of_the_shop, strength, own, shop, difference, better, …
    waits?          object or null  run, task, model that next_order and send_at are from
    consent?        text            who said that they may be written to
    contacts_known?  bool            whether it was known what they had been sent
    profit?         object or null  what the campaign is expected to bring, and the best cut
    costs?          object or null  currency, contact_cost: what a message costs, by the dataset's values
    sessions?       object          of a rule for sessions: of_the_days, ready, bought_after_all, days
    warnings        list            what to look at first
"""
AUDIENCE = Folder(
    "Audience",
    "audiences/<dataset>/<audience>-<day>/",
    "whom to write to as of an instant, with what, and who is left alone to see the effect.",
    (
        file(
            "audience.parquet?",
            "one row per customer, first come first",
            """
            user_id           string  external id, or its pseudonym; in CSV with an apostrophe before what is a formula
            arm               string  treatment, or control: who gets nothing
            lifecycle?        string  segment, as of `segments`
            value_tier?       string  segment
            cluster?          string  segment, where a folder of segments was given
            days_since_order  double  null without an order
            orders            double  before the instant
            net_money?        double  of purchases less what came back, in the log's currency
            probability?      double  calibrated, of what the audience asks for; null where blank
            expected?         double  of counts and amounts: their mean
            low?              double  of models that say so: from where four of five lie …
            high?             double  … and until where
            blank_reason?     string  why there is no score; empty where there is one
            score?            double  before calibration, in log-odds (or the log of a mean): what all reasons add up to
            usual?            double  what the model says of nobody in particular
            reason_1?         string  what adds most to the score, in words
            reason_1_effect?  double  how much, in units of the score
            reason_2?         string  the next
            reason_2_effect?  double  how much
            reason_3?         string  the next
            reason_3_effect?  double  how much
            other_reasons?    double  what all others add
            best_hour?        int8    0 to 23 on the shop's clocks: the customer's own where that is shown to be better
            best_weekday?     string  the same
            next_order?       timestamp[us, tz=UTC]  median, of models that say so; null: not within the window
            send_at?          timestamp[us, tz=UTC]  when one of four such has ordered, at the best hour
            <block>?          any     <block>_1, <block>_1_name, <block>_1_price, …: items of each block
            """,
        ),
        file("audience.csv?", "the same"),
        file(
            "sessions.parquet?",
            "of a rule for sessions: one row per session that was ready for it",
            """
            user_id       string     external id, or its pseudonym
            began         timestamp[us, tz=UTC]  first event
            ready_at      timestamp[us, tz=UTC]  the event from which on it was
            views         int64      by then
            in_cart       int64      items, by then
            bought_after  bool       whether the session ended with a purchase
            """,
        ),
        file("sessions.csv?", "the same"),
        file("card.json", "whom it reaches, how good the scores are, what the arms can show", CARD),
        file("card.md", "the same for people"),
        file(
            "manifest.json",
            "what it is; written last",
            """
            format_version       int           raised when an older reader would misread
            kind                 text          audience
            audience             text          as in conf/audience
            dataset              text          name
            dataset_fingerprint  text          of the prepared dataset
            as_of                text          the instant
            erasure_list         text or null  SHA-256 of the erasure list that was applied to the data
            commit               text          git commit, `-dirty` where files differ
            files.<file>         text          SHA-256 of the file's bytes
            seal                 text          SHA-256 of all else here in canonical JSON: shows an edit
            """,
        ),
    ),
)
