"""Commands about the project itself: formats of its files, the machine."""

from __future__ import annotations

import argparse

from shopkeeper.cli.commands.adding import Add


def add(command: Add) -> None:
    """Add these commands and their arguments."""
    command("formats", _formats, "print what every file that the verbs write holds, as docs/formats.md says it")
    one = command("doctor", _doctor, "print what this machine has and how fast training runs on it")
    one.add_argument("--seconds", type=float, default=10.0, help="length of the training check; 0 leaves it out")


def _formats(arguments: argparse.Namespace) -> None:
    from shopkeeper.cli.formats import page

    print(page(), end="")


def _doctor(arguments: argparse.Namespace) -> None:
    from shopkeeper.cli.doctor import print_doctor

    print_doctor(arguments.seconds)
