"""A page as a reader types it: its files are written, its commands run one after another, what it shows must be said.

In a page a block of

    sh                  holds commands, one a line; a line that ends in a backslash goes on
    text                after the first of them, what was printed: each line must be said, … stands for anything
    … title="name"      is a file, in any language

Anything else is read and not typed.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
SITE = ROOT / "docs" / "site"
FENCE = re.compile(r"^( *)```(\w*)([^\n]*)\n(.*?)^\1```$", flags=re.DOTALL | re.MULTILINE)
TITLE = re.compile(r'title="([^"]+)"')


@dataclass(frozen=True)
class Step:
    """One thing that the reader does, or sees."""

    kind: str  # file | command | said
    text: str
    name: str = ""  # of a file


def steps(page: Path) -> list[Step]:
    """The steps of a page, in order."""
    text = page.read_text(encoding="utf-8")
    found: list[Step] = []
    for match in FENCE.finditer(text):
        body = "".join(line.removeprefix(match[1]) for line in match[4].splitlines(keepends=True))
        if title := TITLE.search(match[3]):
            found.append(Step("file", body, title[1]))
        elif match[2] == "sh":
            found += [Step("command", line) for line in _lines(body)]
        elif match[2] == "text" and any(step.kind == "command" for step in found):
            found.append(Step("said", body))
    return found


def commands(page: Path) -> list[str]:
    """The commands of a page, in order."""
    return [step.text for step in steps(page) if step.kind == "command"]


def _lines(body: str) -> Iterator[str]:
    """Commands, those that go on over several lines as one."""
    for line in body.replace("\\\n", " ").splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            yield " ".join(line.split())


def typed(page: Path, place: Path, elsewhere: Mapping[str, str], source: Path = ROOT / "src") -> dict[str, str]:
    """Type a page in a folder; what failed, and what it said.

    Args:
        page: the page.
        place: the folder.
        elsewhere: what is tried in the place of a command that needs what no test has; "": nothing.
        source: where the package lies that is run.
    """
    failed: dict[str, str] = {}
    said = previous = ""
    for step in steps(page):
        if step.kind == "file":
            (place / step.name).parent.mkdir(parents=True, exist_ok=True)
            (place / step.name).write_text(step.text, encoding="utf-8")
        elif step.kind == "said":
            if missing := unsaid(step.text, said):
                failed[f"after {previous}"] = f"{page.name} shows, and it is not said:\n{missing}\nbut:\n{said[-1500:]}"
        elif command := elsewhere.get(step.text, step.text):
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", command],
                cwd=place, env=environment(source), stdin=subprocess.DEVNULL, capture_output=True, text=True,
            )  # fmt: skip
            said += done.stdout + done.stderr
            if done.returncode:
                failed[step.text] = (done.stdout + done.stderr)[-1500:]
            previous = step.text
    return failed


def unsaid(shown: str, said: str) -> str:
    """The lines of a page that no command has said; … stands for anything, and blanks for any blanks."""
    have = [" ".join(line.split()) for line in said.splitlines()]
    missing = []
    for line in filter(str.strip, shown.splitlines()):
        pattern = ".*".join(re.escape(part) for part in " ".join(line.split()).split("…"))
        if not any(re.fullmatch(pattern, one) for one in have):
            missing.append(line)
    return "\n".join(missing)


def environment(source: Path) -> dict[str, str]:
    """Of a reader who has installed the package and has no data but those of the page."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    found = {**os.environ, "PATH": path, "PYTHONPATH": str(source), "MLFLOW_DISABLE_TELEMETRY": "true"}
    for name in ("SHOPKEEPER_RAW", "MLFLOW_TRACKING_URI"):
        found.pop(name, None)
    return found


def written_pages(but: Sequence[str] = ()) -> list[Path]:
    """Every written page of the site."""
    return sorted(path for path in SITE.rglob("*.md") if path.relative_to(SITE).as_posix() not in but)
