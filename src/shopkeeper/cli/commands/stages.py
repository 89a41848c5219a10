"""Commands about what DVC runs beside the verbs."""

from __future__ import annotations

import argparse

from shopkeeper.cli.commands.adding import Add


def add(command: Add) -> None:
    """Add these commands and their arguments."""
    command("compose", _compose, "write the resolved config of every stage into data/composed (a DVC stage)")
    command("inputs", _inputs, "note raw files and the code of every stage in data/inputs (a DVC stage)")


def _compose(arguments: argparse.Namespace) -> None:
    from shopkeeper.pipeline.stages.compose import compose_stages

    for path in compose_stages():
        print(path)


def _inputs(arguments: argparse.Namespace) -> None:
    from shopkeeper.pipeline.stages.inputs import write_inputs

    write_inputs()
