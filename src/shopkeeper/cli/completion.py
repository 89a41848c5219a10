"""`shopkeeper completion bash`: what the shell reads so that its tab key completes `shopkeeper …`.

Commands and verbs, their options, settings, choices of groups, and names of runs. Read from `conf/` and the folder of
runs as text, so that a key press costs no heavy import.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Mapping

import yaml

from shopkeeper import configuration
from shopkeeper.pipeline.shell.help import SHARED, settings_of
from shopkeeper.pipeline.shell.verbs import VERBS
from shopkeeper.pipeline.shell.yaml_comments import Setting

# Bash takes `=` for the end of a word, as COMP_WORDBREAKS says, and then wants what stands behind it alone.
BASH = """_shopkeeper() {
  local line="${COMP_LINE:0:$COMP_POINT}" IFS=$'\\n'
  local word="${line##* }"
  COMPREPLY=($(shopkeeper completion line "$line" 2>/dev/null))
  if [[ "${COMP_WORDBREAKS-}" == *=* ]]; then
    COMPREPLY=("${COMPREPLY[@]#"${word%"${word##*=}"}"}")
  fi
}
complete -o nospace -o default -F _shopkeeper shopkeeper
"""
ZSH = "autoload -Uz compinit bashcompinit && compinit && bashcompinit\n"
FLAGS = ("--help", "--cfg", "--info", "-m", "--config-dir")  # of a verb, beside its settings
RUNS = ("run", "runs", "init_from", "scores", "recommender", "waits")  # settings that name runs
OPTIONS = re.compile(r"^[\w-]+( \| [\w-]+)+")  # `tpe | random | gp`, as comments name choices


def script(shell: str) -> str:
    """What `eval "$(…)"` reads."""
    return ZSH + BASH if shell == "zsh" else BASH


def completed(line: str, parsers: Mapping[str, argparse.ArgumentParser]) -> list[str]:
    """What the last word of a line may become; with a blank behind it where the word is then whole.

    Args:
        line: what was typed until the cursor.
        parsers: of the commands that are no verb, by name.

    Examples:
        >>> completed("shopkeeper tra", {})
        ['train ']
        >>> completed("shopkeeper train split=rol", {})
        ['split=rolling ']
    """
    *before, word = line.split(" ")
    before = [one for one in before if one]
    if len(before) == 1:
        found: Iterator[str] = (f"{name} " for name in sorted([*VERBS, *parsers]))
    elif len(before) > 1 and before[1] in VERBS:
        found = _of_verb(before[1], before[2:], word)
    elif len(before) > 1 and before[1] in parsers:
        found = _of_command(parsers[before[1]], before[-1])
    else:
        found = iter(())
    return [one for one in found if one.startswith(word)]


def _of_verb(verb: str, before: list[str], word: str) -> Iterator[str]:
    sign = word[: len(word) - len(word.lstrip("+~"))]
    key, equals, value = word.removeprefix(sign).partition("=")
    known = {one.name: one for one in _settings(verb, before)}
    if not equals:
        yield from (f"{flag} " for flag in FLAGS)
        yield from (f"{sign}{name}=" for name in known if name not in before)
        return
    some, comma, _ = value.rpartition(",")  # of several
    start = value[:1] if value.startswith("[") and not comma else ""
    lead = f"{sign}{key}=" + (f"{some}," if comma else start)
    whole = "" if value.startswith("[") else " "  # a list is to be closed
    yield from (f"{lead}{one}{whole}" for one in _values(key, known.get(key)))


def _values(key: str, setting: Setting | None) -> list[str]:
    if key in RUNS:
        return [
            *dict.fromkeys(
                path.parent.name for path in sorted(configuration.usual_runs().glob("*/*/*/*/manifest.json"))
            )
        ]
    if key and (names := configuration.names(key)):
        return list(names)
    if setting is None:
        return []
    if setting.value in ("true", "false"):
        return ["true", "false"]
    said = OPTIONS.match(setting.said)
    return said[0].split(" | ") if said else []


def _settings(verb: str, before: list[str]) -> Iterator[Setting]:
    """Settings of a verb, of what it shares, and of the groups that are chosen before, else as shipped."""
    own = settings_of(configuration.main_folder() / f"{verb}.yaml")
    shared = settings_of(configuration.main_folder() / "config.yaml")
    shared = [one for one in shared if one.name.partition(".")[0] in SHARED[verb]]
    yield from (*own, *shared)
    chosen = dict(one.split("=", 1) for one in before if "=" in one)
    for one in (*own, *shared):
        name = chosen.get(one.name, one.value)
        if "." not in one.name:
            for inner in _of_file(one.name, name):
                yield Setting(f"{one.name}.{inner.name}", inner.value, inner.said)


def _of_file(group: str, name: str) -> Iterator[Setting]:
    """Settings of one of a group's files, and of those of the group that it begins with."""
    file = configuration.find(group, name)
    if file is None:
        return
    yield from settings_of(file)
    for base in (yaml.safe_load(file.read_text(encoding="utf-8")) or {}).get("defaults") or []:
        if isinstance(base, str) and base != name:
            yield from _of_file(group, base)


def _of_command(parser: argparse.ArgumentParser, last: str) -> Iterator[str]:
    """Options of a command, and what may be chosen for the one before; nothing where a file is to be named."""
    actions = [one for one in parser._actions if not isinstance(one, argparse._HelpAction)]
    of_last = next((one for one in actions if last in one.option_strings), None)
    if of_last is not None and of_last.nargs != 0:
        yield from (f"{one} " for one in of_last.choices or ())
        return
    for one in actions:
        yield from (f"{name} " for name in (one.option_strings or one.choices or ()) if not name.startswith("--no-"))
