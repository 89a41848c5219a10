"""Commands about data: a first YAML of a file, a customer's erasure, what was made removed."""

from __future__ import annotations

import argparse
from pathlib import Path

from shopkeeper.cli.commands.adding import Add


def add(command: Add) -> None:
    """Add these commands and their arguments."""
    one = command("new-dataset", _new_dataset, "look at a file and write a first dataset YAML, with its doubts")
    one.add_argument("file", type=Path, help="a file, a folder of files, or a pattern in quotes ('exports/2*.csv')")
    one.add_argument("--name", help="of the dataset; default: the file's or the folder's")
    one.add_argument("--out", type=Path, help="where to write; default: conf/dataset/<name>.yaml")
    one = command("erased", _erased, "prove that a customer is gone from everything that was made")
    one.add_argument("user", help="the customer's external id")
    one.add_argument("--root", type=Path, default=Path("."), help="folder that holds data, models, reports, exports")
    one = command("clean", _clean, "remove what the verbs have made (prepared data, runs, reports, …), and that alone")
    one.add_argument("--dry-run", action="store_true", help="say what would go, and remove nothing")


def _new_dataset(arguments: argparse.Namespace) -> None:
    from shopkeeper.cli.new_dataset import write_dataset_yaml

    write_dataset_yaml(arguments.file, arguments.out, arguments.name)


def _erased(arguments: argparse.Namespace) -> None:
    from shopkeeper.cli.erased import print_erased

    print_erased(arguments.user, arguments.root)


def _clean(arguments: argparse.Namespace) -> None:
    from shopkeeper.cli.clean import clean

    clean(arguments.dry_run)
