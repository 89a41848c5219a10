"""`answer`: a bundle asked from the shell, line by line or for a whole customer base."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from shopkeeper.bundles.answer import Bundle
from shopkeeper.errors import UserError


def answer_from_shell(
    bundle: Path, events: Path | None, to: Path | None, approximate: bool = False, **told: Any
) -> None:
    """JSON lines from stdin to stdout, or with `events` and `to` a file of customers into a folder of Parquet files.

    `approximate`: from the bundle's index.
    A `UserError` at the end where requests were refused; which ones stand in their lines.
    """
    if (events is None) != (to is None):
        raise UserError(
            "--events and --to belong together: give a Parquet file of events, and the folder of the answers"
        )
    opened = Bundle.load(bundle, approximate=approximate)
    if events is not None and to is not None:
        from shopkeeper.bundles.answer.everybody import answer_everybody

        count = answer_everybody(opened, events, to, **told)
        print(f"{count:,} customers answered: {to}", file=sys.stderr)
        return
    if given := [f"--{name.replace('_', '-')}" for name in ("as_of", "k", "filter_seen") if told[name] is not None]:
        raise UserError(f"{given[0]} is for --events; leave it out: of JSON lines each request says it")
    from shopkeeper.bundles.answer.lines import answer_lines

    requests, refused = answer_lines(opened, sys.stdin.buffer, sys.stdout.buffer)
    if refused:
        raise UserError(f"{refused:,} of {requests:,} requests were refused; `error` in their lines says why")
