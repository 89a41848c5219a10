"""Settings typed as other programs want them (`--model sasrec`, `sasrec`, `epochs=3`): how a verb wants them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import zip_longest

import yaml

from shopkeeper import configuration
from shopkeeper.errors import UserError

# Hydra's own, which argparse takes cut short, too.
FLAGS = ("--help", "--hydra-help", "--version", "--cfg", "--resolve", "--package", "--run", "--multirun",
         "--shell-completion", "--config-path", "--config-name", "--config-dir", "--experimental-rerun",
         "--info")  # fmt: skip
OF_A_VERB = {"export": "run={}", "recommend": "run={}", "score": "run={}", "evaluate": "runs=[{}]"}  # a bare word there
GROUPS = ("model", "dataset", "task", "split", "audience", "trainer", "loss", "experiment")  # whose choices are told
NESTED = ("trainer", "tuning", "evaluation", "loss", "model")  # whose settings are typed without their group


def check_dashes(verb: str, words: Sequence[str]) -> None:
    """A `UserError` for a word with dashes that is no flag of Hydra's: settings have none."""
    for word, after in zip_longest(words, words[1:], fillvalue=""):
        flag, equals, value = word.partition("=")
        if flag.startswith("--") and len(flag) > 2 and not any(known.startswith(flag) for known in FLAGS):
            value = value if equals else "…" if not after or after.startswith("-") or "=" in after else after
            raise UserError(
                f"there is no flag '{flag}'; settings are typed without dashes, and with =: "
                f"{flag[2:].replace('-', '_')}={value} (`shopkeeper {verb} --help` lists them)"
            )


def without_name(verb: str, word: str) -> str:
    """What a word without = may have been meant for, as a sentence."""
    group = next((group for group in GROUPS if word in configuration.names(group)), None)
    if verb in OF_A_VERB and group in (None, "model"):
        meant = OF_A_VERB[verb].format(word)
    else:
        meant = f"{group}={word}" if group else f"{word}=…"
    return f"'{word}' is no setting; settings are typed as name=value: {meant} (`shopkeeper {verb} --help` lists them)"


def below(key: str, groups: Iterable[str]) -> list[str]:
    """Settings of that name in some groups of `conf/` (`lr`: `model.lr`), and of its limit (`epochs`: `max_epochs`)."""
    main = yaml.safe_load((configuration.main_folder() / "config.yaml").read_text(encoding="utf-8"))
    found = []
    for group in (g for g in NESTED if g in set(groups)):
        nodes = [main.get(group) or {}, *(configuration.written(group, name) for name in configuration.names(group))]
        found += [f"{group}.{name}" for name in (f"max_{key}", key) if any(name in node for node in nodes)]
    return found
