"""Commands about campaigns: a list for another tool, and what messages did."""

from __future__ import annotations

import argparse
from pathlib import Path

from shopkeeper.cli.commands.adding import Add, share

UPLOADS = (
    "klaviyo",
    "mailchimp",
    "brevo",
    "omnisend",
    "meta",
    "google",
    "braze",
    "segment",
    "csv",
)  # of campaigns.upload


def add(command: Add) -> None:
    """Add these commands and their arguments."""
    one = command(
        "upload-file", _upload_file, "a list of customers as a file that a tool for mail or advertising takes"
    )
    one.add_argument("list", type=Path, help="folder of an audience, or CSV or Parquet with user_id: scores, …")
    one.add_argument(
        "contacts", type=Path, help="CSV or Parquet: user_id, consent, email, phone, …; kept beside the data"
    )
    one.add_argument("--tool", required=True, choices=UPLOADS)
    one.add_argument("--to", type=Path, required=True, help="the file to write")
    one.add_argument("--where", action="append", default=[], metavar="COLUMN=VALUE", help="only those; may be repeated")
    one.add_argument("--traits", nargs="*", help="columns of the list that go into the file; default: all")
    one.add_argument("--overwrite", action="store_true", help="replace an earlier file of that name")
    one = command(
        "read-audience", _read_audience, "what the messages of audiences did, from their arms and the log since"
    )
    one.add_argument("audiences", type=Path, nargs="+", metavar="AUDIENCE", help="folders of `shopkeeper audience`")
    one.add_argument(
        "--data", type=Path, help="prepared dataset with what came since; default: data/prepared/<dataset>"
    )
    one.add_argument("--days", type=float, help="of the window from the audience's instant; default: as its YAML says")
    one.add_argument("--contact-cost", type=float, help="of a message; default: as the card says")
    one.add_argument("--level", type=share, default=0.05)
    one.add_argument("--to", type=Path, help="file to write, .json or .md")


def _upload_file(arguments: argparse.Namespace) -> None:
    from shopkeeper.pipeline.upload import write_upload_file

    a = arguments
    write_upload_file(a.list, a.contacts, a.tool, a.to, a.where, a.traits, a.overwrite)


def _read_audience(arguments: argparse.Namespace) -> None:
    from shopkeeper.cli.read_audience import read_audiences

    a = arguments
    read_audiences(a.audiences, a.data, a.days, a.contact_cost, a.to, a.level)
