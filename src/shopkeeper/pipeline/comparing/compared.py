"""Finished runs beside each other on one metric: paired differences, request by request, and means over seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, Any

from shopkeeper.errors import UserError
from shopkeeper.pipeline import show
from shopkeeper.pipeline.runs import RunFolder, distinct_names

if TYPE_CHECKING:
    from shopkeeper.evaluation.compare import Comparison


@dataclass(frozen=True)
class Compared:
    """What can be said of runs on a metric."""

    metric: str
    part: str
    found: Sequence[Comparison]  # all pairs, judged as one family
    seeds: Mapping[str, Any]  # runs of one model that differ in their seed alone, put together

    @property
    def header(self) -> list[str]:
        """Of the table."""
        level = f"{100 * self.found[0].confidence:g} %"
        return [f"{self.metric} on {self.part}", f"difference ({level})", "p", "effect size", "n"]

    @property
    def rows(self) -> list[list[str]]:
        """A row per pair: who, by how much with its interval, p, effect size, number of requests."""
        from shopkeeper.evaluation.compare import p_shown

        return [
            [f"{c.b} - {c.a}", _difference(c), p_shown(c.p_adjusted), _signed(c.effect_size, 3), f"{c.n:,}"]
            for c in self.found
        ]

    @property
    def said(self) -> list[str]:
        """What follows from it, a sentence each."""
        own = [comparison.statement for comparison in self.found]
        return own + [show.over_seeds(model, self.metric, seeds) for model, seeds in self.seeds.items()]

    @property
    def family(self) -> str:
        """How many comparisons were judged together; "" of one."""
        n = len(self.found)
        return f"intervals and p adjusted together for {n} comparisons ({self.found[0].method})" if n > 1 else ""


def compared(runs: Sequence[RunFolder], metric: str | None = None, part: str = "test", **options: Any) -> Compared:
    """Compare runs on one metric, as one family; refused unless they answered the same requests.

    Args:
        runs: two or more.
        metric: None: the headline of the first one's task.
        part: `test` or `validation`.
        options: as of `evaluation.compare.compare_family`.

    Raises:
        UserError: fewer than two runs, one of them twice, different requests, nobody that two of them have scored.
    """
    from shopkeeper.evaluation.aggregates import compare
    from shopkeeper.pipeline.comparing.checks import over_seeds_of

    if len(runs) < 2:
        raise UserError("compare needs at least two runs")
    places = [run.path.resolve() for run in runs]
    if twice := next((run.path for run, place in zip(runs, places, strict=True) if places.count(place) > 1), None):
        raise UserError(f"{twice} is named twice; name two different runs")
    by_name = dict(zip(distinct_names(runs), runs, strict=True))
    tables = {name: run.table(part) for name, run in by_name.items()}
    metric = metric or str(runs[0].config["task"]["headline"])
    found = compare(tables, [metric], **options)
    if not found:
        raise UserError(f"nothing can be said on {metric}: fewer than two of the runs scored anybody; name others")
    return Compared(metric, part, found, over_seeds_of(by_name, tables, metric, found[0].confidence))


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
