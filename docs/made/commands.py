"""The page of commands: the verbs, and each further command as its parser describes it."""

from __future__ import annotations

import argparse

from made.markdown import cell, code

from shopkeeper.cli.main import command_parser
from shopkeeper.pipeline.shell.help import EXAMPLES
from shopkeeper.pipeline.shell.verbs import VERBS


def page() -> str:
    """The page in Markdown."""
    lines = ["# Commands", "", "Made from the commands. In a clone a verb is a file, too: `python train.py …`.",
             "", "## Verbs", "", "Settings are `name=value`; `shopkeeper <verb> --help` lists them, and so does",
             "[Settings](settings.md).", "", "| verb | what it does |", "|---|---|"]  # fmt: skip
    lines += [f"| [`shopkeeper {verb}`](#{verb}) | {cell(text)} |" for verb, text in VERBS.items()]
    for verb, text in VERBS.items():
        lines += ["", f"### {verb}", "", f"{_sentence(text)} [Its settings](settings.md#{verb}).", "",
                  "| | |", "|---|---|"]  # fmt: skip
        lines += [f"| {code(f'shopkeeper {verb} {words}'.rstrip())} | {cell(said)} |" for words, said in EXAMPLES[verb]]
    lines += ["", "## Further commands", ""]
    for name, parser in command_parser()[1].items():
        lines += [f"### {name}", "", f"{_sentence(parser.description or '')}", "", "```text",
                  " ".join(parser.format_usage().split()).removeprefix("usage: "), "```", ""]  # fmt: skip
        if options := [action for action in parser._actions if not isinstance(action, argparse._HelpAction)]:
            lines += ["| | what it is | default |", "|---|---|---|", *map(_row, options), ""]
    return "\n".join(lines) + "\n"


def _row(action: argparse.Action) -> str:
    name = ", ".join(action.option_strings) or str(action.metavar or action.dest)
    choices = f" ({', '.join(map(str, action.choices))})" if action.choices else ""
    default = "" if action.default in (None, argparse.SUPPRESS, False, []) else str(action.default)
    return f"| {code(name)} | {cell((action.help or '') + choices)} | {code(default)} |"


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."
