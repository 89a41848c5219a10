"""`python -m shopkeeper compare RUN RUN …`: paired differences, request by request, and means over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from shopkeeper.configuration import usual_runs
from shopkeeper.errors import UserError


def print_comparison(folders: Sequence[Path], metric: str | None, part: str, **options: Any) -> None:
    """Compare runs on one metric, as one family; refused unless they answered the same requests.

    Runs that differ in their seed alone are put together as well. `options` as of `compare_family`.
    """
    from shopkeeper.pipeline import places, show
    from shopkeeper.pipeline.comparing.compared import compared
    from shopkeeper.pipeline.runs import open_run
    from shopkeeper.pipeline.shell.terminal import columns

    if len(folders) < 2:
        raise UserError("compare needs at least two runs")
    runs = [open_run(places.find(folder, usual_runs())) for folder in folders]
    found = compared(runs, metric, part, **options)
    print(show.table(found.header, found.rows))
    if found.family:
        print(show.wrapped(found.family, columns()))
    print()
    for line in found.said:
        print(show.wrapped(line, columns()))
