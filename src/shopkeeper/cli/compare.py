"""`python -m shopkeeper compare RUN RUN …`: paired differences, request by request, and means over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shopkeeper.errors import UserError

if TYPE_CHECKING:
    from shopkeeper.evaluation.compare import Comparison


def _signed(value: float, digits: int) -> str:
    """A number with its sign; a dash where it is not defined (no request has the metric, or nothing varies)."""
    return f"{value:+.{digits}f}" if isfinite(value) else "–"


def _difference(c: Comparison) -> str:
    from shopkeeper.evaluation.compare import digits_apart

    if not isfinite(c.difference):
        return "–"
    if not (isfinite(c.low) and isfinite(c.high)):
        return _signed(c.difference, 4)
    digits = max(4, digits_apart(c.difference, c.low, c.high)) if c.significant else 4
    return f"{_signed(c.difference, digits)} ({_signed(c.low, digits)} to {_signed(c.high, digits)})"


def print_comparison(folders: Sequence[Path], metric: str | None, part: str, **options: Any) -> None:
    """Compare runs on one metric, as one family; refused unless they answered the same requests.

    Runs that differ in their seed alone are put together as well. `options` as of `compare_family`.
    """
    from shopkeeper.evaluation.aggregates import compare
    from shopkeeper.evaluation.compare import p_shown
    from shopkeeper.pipeline import places, show
    from shopkeeper.pipeline.comparing.checks import over_seeds_of
    from shopkeeper.pipeline.runs import distinct_names, open_run

    if len(folders) < 2:
        raise UserError("compare needs at least two runs")
    folders = [places.find(folder, places.usual_root()) for folder in folders]
    real = [folder.resolve() for folder in folders]
    if twice := next((folder for folder, place in zip(folders, real, strict=True) if real.count(place) > 1), None):
        raise UserError(f"{twice} is named twice; name two different runs")
    runs = [open_run(folder) for folder in folders]
    by_name = dict(zip(distinct_names(runs), runs, strict=True))
    tables = {name: run.table(part) for name, run in by_name.items()}
    metric = metric or str(runs[0].config["task"]["headline"])
    found = compare(tables, [metric], **options)
    if not found:
        raise UserError(f"nothing can be said on {metric}: fewer than two of the runs scored anybody; name others")
    rows = [
        [f"{c.b} - {c.a}", _difference(c), p_shown(c.p_adjusted), _signed(c.effect_size, 3), f"{c.n:,}"] for c in found
    ]
    level = f"{100 * found[0].confidence:g} %"
    print(show.table([f"{metric} on {part}", f"difference ({level})", "p", "effect size", "n"], rows))
    if len(found) > 1:
        print(f"intervals and p adjusted together for {len(found)} comparisons ({found[0].method})")
    print()
    for comparison in found:
        print(comparison.statement)
    for model, seeds in over_seeds_of(by_name, tables, metric, found[0].confidence).items():
        print(show.over_seeds(model, metric, seeds))
