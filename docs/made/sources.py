"""The page of sources: each known export, what a person writes to read it, and what is made of its peculiarities."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from made.markdown import cell

from shopkeeper.ingest.steps.settings import STEPS

CONF = Path(__file__).parents[2] / "conf" / "source"
EXAMPLE = re.compile(r"^#   ")


def page() -> str:
    """The page in Markdown."""
    files = {path.stem: path.read_text(encoding="utf-8") for path in sorted(CONF.glob("*.yaml"))}
    told = {name: yaml.safe_load(text) for name, text in files.items()}
    lines = ["# Exports of shop systems", "",
             "A file of `conf/source/` is the part of a dataset's config that is the same for everybody who has that",
             "export. A dataset points to it in its `defaults`, and says what the shop alone knows; any key may be",
             "said otherwise there. A file that lacks a column, or is another export, is told by what it looks like.",
             "", "| source | what it is |", "|---|---|"]  # fmt: skip
    lines += [f"| [{name}](#{name}) | {cell(_title(told[name], text))} |" for name, text in files.items()]
    for name, text in files.items():
        lines += ["", f"## {name}", "", *_head(text)]
        if unfit := (told[name].get("export") or {}).get("unfit"):
            lines += ["", f"Not a log: {unfit}; {told[name]['export']['instead']}."]
    lines += ["", "## Steps", "", "What stands between reading and checking, in a source or in a dataset of your own:",
              "`steps:`, a list with an entry for each, taken in that order.", ""]  # fmt: skip
    for name, step in STEPS.items():
        about = " ".join((step.__doc__ or "").split())
        lines += [f"- **`{name}`**: {about.partition(': ')[2][:1].upper()}{about.partition(': ')[2][1:]}"]
    return "\n".join(lines) + "\n"


def _head(text: str) -> list[str]:
    """The comment at the head of a file as Markdown: its example as code, its list as a list."""
    found: list[str] = []
    inside = False
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        if EXAMPLE.match(line) and not inside and found and found[-1].endswith(":"):
            found += ["", "```sql" if "SELECT" in line else "```yaml"]
            inside = True
        if inside and not EXAMPLE.match(line):
            found += ["```", ""]
            inside = False
            if line == "#":
                continue
        words = EXAMPLE.sub("", line) if inside else re.sub(r"^# ?", "", line)
        if words.startswith("- ") and found and not found[-1].startswith(("- ", "  ")) and not inside:
            found.append("")
        found.append(words if inside else cell(words))
    return [*found, "```"] if inside else found


def _title(told: Mapping[str, Any], text: str) -> str:
    """What an export is called; of files without a header, what the head says up to a colon."""
    return str((told.get("export") or {}).get("title") or text.partition(":")[0].removeprefix("# "))
