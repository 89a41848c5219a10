"""`shopkeeper <command>`: the verbs, and the commands of `commands/`; imports happen when one runs."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from shopkeeper import __version__, startup
from shopkeeper.cli.commands import bundles, campaigns, data, experiments, house, runs, stages
from shopkeeper.cli.commands.adding import Command
from shopkeeper.errors import nearest
from shopkeeper.pipeline.shell.entry import one_line_errors, until_reader_leaves
from shopkeeper.pipeline.shell.verbs import VERBS, run_verb

SUBJECTS = (stages, runs, experiments, data, campaigns, house, bundles)


@until_reader_leaves()
def main(argv: Sequence[str] | None = None) -> None:
    """Run one command; user errors end in one line and exit code 1."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words and words[0] in VERBS:  # Hydra reads the rest of the line, and logs for itself
        run_verb(words[0], words[1:])
        return
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    parser, commands = command_parser()
    if not words:
        parser.print_help()
        sys.exit(2)
    if words[0] == "help" or (words[0] in ("--help", "-h") and len(words) > 1):
        main([*words[1:2], "--help"])
        return
    first = next((w for w in words if not w.startswith("-")), None)
    if first is not None and first not in commands:
        print(f"error: there is no command '{first}'.{nearest(first, [*commands, *VERBS])}", file=sys.stderr)
        sys.exit(1)
    if first is not None:
        _check_settings(commands[first], words[words.index(first) + 1 :])
    arguments, left = parser.parse_known_args(words)
    if left and first is not None:
        commands[first].error(f"unrecognized arguments: {' '.join(left)}")
    startup.ready_arrow()
    with one_line_errors():
        arguments.run(arguments)


def _check_settings(command: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """Stop at `name=bc`, as verbs are told it: commands want `--name bc`, and what has no dashes by its place.

    Paths may have such names, and are what they are where something lies there.
    """
    of = {action.dest: action for action in command._actions}
    for before, word in zip(["", *words], words, strict=False):
        key, equals, value = word.partition("=")
        action = of.get(key.replace("-", "_"))
        if action is None or not equals or before.startswith("--") or Path(word).exists():
            continue
        if action.nargs != 0:
            wanted = " ".join([*action.option_strings[:1], value])
        elif value.lower() in ("true", "1", "yes"):
            wanted = action.option_strings[0]
        else:
            wanted = next((o for o in action.option_strings if o.startswith("--no-")), f"no {action.option_strings[0]}")
        command.error(f"'{word}' is how verbs are told their settings; this command wants {wanted}")


def command_parser() -> tuple[argparse.ArgumentParser, dict[str, argparse.ArgumentParser]]:
    """The parser of the commands that are no verb, and that of each by its name."""
    verbs = "\n".join(f"  {verb:<20}  {text}" for verb, text in VERBS.items())
    parser = argparse.ArgumentParser(
        prog="shopkeeper",
        usage="shopkeeper <verb> [key=value …]\n       shopkeeper <command> [options]\n"
        "       shopkeeper <verb or command> --help",
        description=f"verbs (settings as key=value, `shopkeeper <verb> --help` lists them):\n{verbs}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"shopkeeper {__version__}")
    sub = parser.add_subparsers(title="commands", metavar="<command>", prog="shopkeeper", required=True)
    commands: dict[str, argparse.ArgumentParser] = {}

    def command(name: str, run: Command, text: str) -> argparse.ArgumentParser:
        one = sub.add_parser(name, help=text, description=text)
        one.set_defaults(run=run)
        commands[name] = one
        return one

    for subject in SUBJECTS:
        subject.add(command)
    one = command("completion", _completion, "print what makes the shell's tab key complete `shopkeeper …`")
    one.add_argument("shell", choices=["bash", "zsh", "line"], help='eval "$(shopkeeper completion bash)" in ~/.bashrc')
    one.add_argument("typed", nargs="?", default="", help="with `line`, which the shell calls: what was typed so far")
    return parser, commands


def _completion(arguments: argparse.Namespace) -> None:
    from shopkeeper.cli.completion import completed, script

    if arguments.shell != "line":
        print(script(arguments.shell), end="")
        return
    _, commands = command_parser()
    for word in completed(arguments.typed, commands):
        print(word)
