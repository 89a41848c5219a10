"""`python -m shopkeeper compare RUN RUN …`: paired differences, request by request."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from shopkeeper.errors import UserError


def print_comparison(folders: Sequence[Path], metric: str | None, part: str, smallest_effect: float) -> None:
    """Compare runs on one metric, as one family; refused unless they answered the same requests."""
    from shopkeeper.evaluation.compare import compare_family
    from shopkeeper.pipeline import show
    from shopkeeper.pipeline.runs import distinct_names, open_run

    if len(folders) < 2:
        raise UserError("compare needs at least two run folders")
    runs = [open_run(folder) for folder in folders]
    tables = {name: run.table(part) for name, run in zip(distinct_names(runs), runs, strict=True)}
    metric = metric or str(runs[0].config["task"]["headline"])
    found = compare_family(tables, [metric], smallest_effect=smallest_effect)
    rows = [
        [f"{c.b} - {c.a}", f"{c.difference:+.4f} ({c.low:+.4f} to {c.high:+.4f})", f"{c.p_adjusted:.4f}",
         f"{c.effect_size:+.3f}", f"{c.n:,}"]
        for c in found
    ]  # fmt: skip
    print(show.table([f"{metric} on {part}", "difference (95 %)", "p (Holm)", "effect size", "n"], rows))
    print()
    for comparison in found:
        print(comparison.statement)
