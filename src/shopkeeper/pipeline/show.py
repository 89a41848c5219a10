"""Tables for the terminal."""

from __future__ import annotations

import logging
import textwrap
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from shopkeeper.errors import UserError
from shopkeeper.models.about import parts_in_words
from shopkeeper.pipeline.shell.terminal import NARROW

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger(__name__)
# Okabe and Ito (2008): told apart with any colour vision.
NOTHING = "\u2013"
HIGHER_IS_BETTER = frozenset((
    "ndcg", "hit", "recall", "precision", "map", "mrr", "auc", "r_precision", "price_ndcg", "revenue", "ndcg_repeat",
    "ndcg_explore", "auroc", "average_precision", "lift_quality", "normalised_gini", "spearman", "concordance", "emp",
))  # fmt: skip
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#b5a900")


@contextmanager
def only_shown(what: str) -> Iterator[None]:
    """Around what is only displayed, once the result is written: a failure is a warning and loses nothing."""
    try:
        yield
    except Exception as e:
        log.warning("%s could not be made (%s: %s); the result is written all the same", what, type(e).__name__, e)
        log.debug("where that happened", exc_info=True)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their widest cell; the first is left-aligned, the others right-aligned."""
    widths = [max(len(str(row[c])) for row in [header, *rows]) for c in range(len(header))]

    def line(row: Sequence[str]) -> str:
        cells = [
            str(v).ljust(w) if c == 0 else str(v).rjust(w) for c, (v, w) in enumerate(zip(row, widths, strict=True))
        ]
        return "  ".join(cells).rstrip()

    return "\n".join([line(header), line(["-" * w for w in widths]), *(line(row) for row in rows)])


def arrow(metric: str) -> str:
    """The metric with an arrow to where better is; alone where neither is.

    >>> arrow("ndcg@10"), arrow("log_loss"), arrow("novelty@10")
    ('ndcg@10 ↑', 'log_loss ↓', 'novelty@10')
    """
    from shopkeeper.evaluation.compare import LOWER_IS_BETTER

    name = metric.partition("@")[0]
    return f"{metric} ↓" if name in LOWER_IS_BETTER else f"{metric} ↑" if name in HIGHER_IS_BETTER else metric


def fitting(header: Sequence[str], *ways: Sequence[Sequence[str]], width: int) -> str:
    """The first of several ways to write the same rows whose table is no wider than it may be; else the last one."""
    shown = [table(header, rows) for rows in ways]
    return next((text for text in shown if _fits(text, width)), shown[-1])


def wrapped(text: str, width: int) -> str:
    """Sentences in lines that are no wider than they may be; what goes on stands a little to the right.

    >>> print(wrapped("one two three", 8))
    one two
      three
    """
    found = []
    for line in text.splitlines():
        indent = " " * (len(line) - len(line.lstrip(" ")))
        found.append(
            textwrap.fill(line, width, subsequent_indent=f"{indent}  ", break_long_words=False, break_on_hyphens=False)
        )
    return "\n".join(found)


def _fits(text: str, width: int) -> bool:
    return max(map(len, text.splitlines())) <= width


def with_interval(entry: Mapping[str, Any] | None, digits: int = 4) -> str:
    """`0.1234 (0.1200 to 0.1268)`; a set statistic, which has no interval, stands alone."""
    if entry is None:
        return ""
    if entry.get("value") is None:  # not defined: 0/0
        return NOTHING
    if entry.get("low") is None or entry.get("high") is None:
        return f"{entry['value']:.{digits}f}"
    return f"{entry['value']:.{digits}f} ({entry['low']:.{digits}f} to {entry['high']:.{digits}f})"


def narrow(entry: Mapping[str, Any] | None) -> str:
    """`0.123 (0.120–0.127)`, and `152 (139–166)` of what is larger: three digits of a table that stands under another.

    >>> narrow({"value": 9.3017, "low": 8.6328, "high": 9.9561})
    '9.30 (8.63–9.96)'
    """
    if entry is None or entry.get("value") is None:
        return NOTHING if entry else ""
    digits = 3 if abs(entry["value"]) < 1 else max(0, 3 - len(str(int(abs(entry["value"])))))
    text = f"{entry['value']:,.{digits}f}"
    if entry.get("low") is None or entry.get("high") is None:
        return text
    return f"{text} ({entry['low']:,.{digits}f}\u2013{entry['high']:,.{digits}f})"


def bare(entry: Mapping[str, Any] | None) -> str:
    """The value alone, with three digits."""
    return narrow(entry and {**entry, "low": None, "high": None})


def over_seeds(model: str, metric: str, found: Mapping[str, Any]) -> str:
    """A model over its seeds in words, as `pipeline.comparing.checks.over_seeds_of` found it."""
    from shopkeeper.evaluation.compare import LOWER_IS_BETTER, digits_apart

    variance = found["from_users"] + found["from_seeds"]
    share = found["from_seeds"] / variance if variance else 0.0
    mean = with_interval({**found, "value": found["mean"]})
    text = (
        f"{model} over seeds {', '.join(found['seeds'])}: mean {metric} {mean}, spread {found['spread']:.4f}; "
        f"{share:.0%} of the mean's variance is due to seeds, the rest to who was asked"
    )
    for other, d in found["ahead_of"].items():
        clear = d["low"] is not None and not d["low"] <= 0 <= d["high"]
        digits = max(4, digits_apart(d["mean"], d["low"], d["high"])) if clear else 4
        by = f"{with_interval({**d, 'value': d['mean']}, digits)}, for new users and new seeds"
        if d["low"] is None:
            text += f"\n  nothing can be said of it and {other}: {d['n_users']} users have a value of both"
        elif not clear:
            text += f"\n  cannot be told apart from {other}: {by}"
        else:
            ahead = (d["mean"] > 0) != (metric.partition("@")[0] in LOWER_IS_BETTER)
            text += f"\n  {'better' if ahead else 'worse'} than {other}: by {by}"
    return f"{text}\n  {found['too_few']}" if found.get("too_few") else text


def level(metrics: Mapping[str, Any]) -> str:
    """What the intervals of a `metrics.json` cover, as text."""
    return f"{100 * metrics.get('confidence', 0.95):g} %"


def why_blank(table: pa.Table) -> list[str]:
    """How many rows of a table have no score, by reason: a line each, the most first."""
    import pyarrow.compute as pc

    if "blank_reason" not in table.column_names:
        return []
    told = {entry["values"]: entry["counts"] for entry in pc.value_counts(table["blank_reason"]).to_pylist()}
    return [f"{told[why]:,}: {why}" for why in sorted(told, key=lambda why: -told[why]) if why]


def metrics_table(metrics: Mapping[str, Any], width: int = NARROW) -> str:
    """The `metrics.json` of a run: one row per metric, validation and test side by side."""
    names = list(dict.fromkeys([*metrics.get("validation", {}), *metrics.get("test", {})]))
    parts = ("validation", "test")
    ways = [
        [[arrow(n), *(shown(metrics.get(p, {}).get(n)) for p in parts)] for n in names]
        for shown in (with_interval, narrow)
    ]
    first: Mapping[str, Any] = next(iter(metrics.get("test", {}).values()), {})
    caption = (
        f"{metrics['model']} on {metrics['dataset']}, task {metrics['task']}, split {metrics['split']}, "
        f"protocol {metrics['protocol']}, filter_seen {str(metrics['filter_seen']).lower()}, seed {metrics['seed']}, "
        f"n = {first.get('n', 0):,}{', test trained anew until its cutoff' if metrics.get('refit') else ''}"
    )
    if auto := metrics.get("auto"):
        caption += f"\nchosen by the data: {parts_in_words(auto)}"
    header = ["metric", *(f"{part} ({level(metrics)} interval)" for part in parts)]
    return f"{wrapped(caption, width)}\n{fitting(header, *ways, width=width)}"


def note(metrics: Mapping[str, Any], headline: str) -> str:
    """A run in Markdown, for the top of its page in MLflow: the headline figure, what it was asked, a table."""
    entry = metrics["test"].get(headline) or {}  # missing where no customer could be scored
    rows = [f"| {name} | {with_interval(value)} |" for name, value in metrics["test"].items()]
    return "\n".join(
        [
            f"**{headline} {with_interval(entry)}** on {entry.get('n', 0):,} requests of test "
            f"({level(metrics)} interval): {metrics['model']} on {metrics['dataset']}, split {metrics['split']}, "
            f"protocol {metrics['protocol']}, "
            f"filter_seen {str(metrics['filter_seen']).lower()}, seed {metrics['seed']}.",
            *([f"Chosen by the data: {parts_in_words(auto)}."] if (auto := metrics.get("auto")) else []),
            "",
            "| metric | test |",
            "|---|---|",
            *rows,
        ]
    )


def colour(model: str, oracle: str = "") -> str:
    """A model's colour in MLflow's charts: always the same one; baselines and oracles are grey."""
    from shopkeeper.evaluation.report.figures import IN_GREY, LABELS

    if model in IN_GREY or oracle:
        return "#a9a9a9" if model in IN_GREY else "#555555"
    known = [name for name in LABELS if name not in IN_GREY]
    place = known.index(model) if model in known else zlib.crc32(model.encode())
    return COLOURS[place % len(COLOURS)]


def find_metric(metrics: Mapping[str, Any], part: str, name: str) -> float:
    """One metric's value out of a `metrics.json`; a `UserError` lists what is there."""
    try:
        value = metrics[part][name]["value"]
    except KeyError:
        raise UserError(f"no metric '{name}' on {part}; there are {', '.join(metrics.get(part, {}))}") from None
    if value is None:
        raise UserError(f"{name} on {part} is not defined for any request: choose by another metric")
    return float(value)
