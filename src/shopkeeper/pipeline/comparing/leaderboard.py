"""The leaderboard as the terminal shows it, and as DVC plots it."""

from __future__ import annotations

import csv
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from shopkeeper.pipeline import show
from shopkeeper.pipeline.shell.terminal import NARROW

SHOWN = (
    *("recall@{k}", "hit@{k}", "mrr", "coverage@{k}"),
    *("auroc", "brier", "ece"),
    *("absolute_error", "rmse", "bias"),
)  # beside the headline


def write_csv(path: Path, sections: Mapping[str, Mapping[str, Any]]) -> None:
    """Every model's headline with its interval, for DVC's plots."""
    _write(path, sections, lambda section, there: [section["headline"]])


def write_metrics(path: Path, sections: Mapping[str, Mapping[str, Any]]) -> None:
    """Every figure of every model on test with its interval: models best first, what the task shows before the rest."""

    def figures(section: Mapping[str, Any], there: Iterable[str]) -> list[str]:
        k = section["headline"].partition("@")[2] or 10
        first = [name.format(k=k) for name in (*section["about"].shown, *section["about"].beneath)]
        return [name for name in dict.fromkeys([section["headline"], *first, *there]) if name in there]

    _write(path, sections, figures)


def _write(
    path: Path,
    sections: Mapping[str, Mapping[str, Any]],
    figures: Callable[[Mapping[str, Any], Iterable[str]], Sequence[str]],
) -> None:
    with open(path, "w", newline="", encoding="utf-8") as f:
        rows = csv.writer(f)
        rows.writerow(["task", "model", "metric", "value", "low", "high", "n"])
        for task, section in sections.items():
            for name in section["names"]:
                found = section["metrics"][name]["test"]
                for metric in figures(section, list(found)):
                    rows.writerow([task, name, metric, *(found[metric].get(k) for k in ("value", "low", "high", "n"))])


def as_text(sections: Mapping[str, Mapping[str, Any]], width: int = NARROW) -> str:
    """The leaderboard in so many columns: with all intervals where they fit, else with the headline's alone."""
    from shopkeeper.evaluation.table import oracle_of

    parts = []
    for task, section in sections.items():
        metrics, level = section["metrics"], f"{100 * section['confidence']:g} %"
        first = metrics[section["names"][0]]
        k = section["headline"].partition("@")[2] or 10
        wanted = dict.fromkeys((section["headline"], *(name.format(k=k) for name in SHOWN)))
        shown = [m for m in wanted if m in first["test"]][:4]
        figures = [(n, [metrics[n]["test"].get(m) for m in shown]) for n in section["names"]]
        ways = (
            [[n, *map(show.with_interval, found)] for n, found in figures],
            [[n, *map(show.narrow, found)] for n, found in figures],
            [[n, show.narrow(found[0]), *map(show.bare, found[1:])] for n, found in figures],
        )
        n = first["test"][section["headline"]]["n"]
        place = f"placement {section['placement']}, " if section.get("placement") else ""
        anew = "trained anew until test, " if first.get("refit") else ""
        about = (
            f"{task}: {place}{first['dataset']}, split {first['split']}, protocol {first['protocol']}, "
            f"filter_seen {str(first['filter_seen']).lower()}, "
            f"{anew}{n:,} requests on test ({level} intervals)"
        )
        board = show.fitting(["model", *map(show.arrow, shown)], *ways, width=width)
        parts.append(textwrap.fill(about, width) + "\n" + board)
        parts += _beneath(section, k)
        apart = section["sanity"].get("uses_instant", [])
        oracles = [name for name, table in section["tables"].items() if oracle_of(table)]
        best = next((n for n in section["names"] if n not in (*oracles, *apart)), section["names"][0])
        sentences = [f"alarm: {alarm}" for alarm in section["sanity"].get("alarms", [])]
        said = [c for c in section["comparisons"] if best in (c["a"], c["b"])]
        own = section["headline"]  # on other metrics only what can be told apart; all of it is in comparisons.json
        sentences.append("\n".join(c["statement"] for c in said if c["metric"] == own or c["significant"]))
        sentences += [show.over_seeds(model, own, of) for model, of in section["sanity"]["seeds"].items()]
        parts += [show.wrapped(text, width) for text in sentences]
    return "\n\n".join(parts) + "\n"


def _beneath(section: Mapping[str, Any], k: str | int) -> list[str]:
    """Under the first table, in 80 columns: what was asked for; halves of the headline, and money."""
    from shopkeeper.evaluation.asked_for import asked_for

    found = {name: section["metrics"][name]["test"] for name in section["names"]}
    shown = [m for name in section["about"].beneath if any((m := name.format(k=k)) in own for own in found.values())]
    rows = [[name, *(show.narrow(own.get(m)) for m in shown)] for name, own in found.items()]
    block = [
        textwrap.fill(asked_for(found[section["names"][0]]), 80),
        show.table(["model", *map(show.arrow, shown)], rows) if shown else "",
    ]
    return ["\n".join(part for part in block if part)] if any(block) else []
