"""`shopkeeper runs`: what was trained, where it lies, and how it did."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from shopkeeper.configuration import usual_runs
from shopkeeper.errors import UserError, nearest
from shopkeeper.pipeline import context, places, show
from shopkeeper.pipeline.shell.terminal import columns

PARTS = ("validation", "test")
DAY, MINUTE = len("2026-01-31"), len("2026-01-31 23:59")
# How figures on validation and test are written, and how much of the moment: the first that fits.
WAYS = (((show.narrow, show.narrow), MINUTE), ((show.narrow, show.narrow), DAY), ((show.bare, show.narrow), DAY),
        ((show.bare, show.bare), DAY))  # fmt: skip


def print_runs(words: Sequence[str], as_json: bool = False) -> None:
    """Print the finished runs below `paths.runs`, by dataset, task and split, the best on validation first.

    `words`: each must be a run's dataset, task, split or model, or begin the name of its folder.
    """
    root = usual_runs()
    every = places.listed(root)
    runs = [run for run in every if all(w in (*run.place, run.model) or run.path.name.startswith(w) for w in words)]
    if not runs:
        known = [name for run in every for name in (*run.place, run.model)]
        hint = nearest(words[0], known) if words and known else " `shopkeeper train model=…` trains one."
        raise UserError(f"there is no finished run{f' of {chr(32).join(words)}' if words else ''} below {root}.{hint}")
    tasks = {run.path: _task(run.path) for run in runs}
    if as_json:
        print(json.dumps([_as_json(run, tasks[run.path]) for run in runs], indent=2))
        return
    meant = {one.path for run in runs for one in places.trained_last([r for r in every if r.place == run.place])}
    blocks = []
    for place in dict.fromkeys(run.place for run in runs):
        here = [run for run in runs if run.place == place]
        headline = str(tasks[here[0].path].get("headline"))
        lower = tasks[here[0].path].get("direction") == "minimize"
        here.sort(key=lambda run: _order(run, headline, lower))
        ways = [
            [[f"{run.path.name}{'' if run.path in meant else ' (older)'}", str(run.seed),
              *(shown((run.metrics.get(part) or {}).get(headline)) for part, shown in zip(PARTS, how, strict=True)),
              _day(run.trained_at)[:digits]] for run in here]
            for how, digits in WAYS
        ]  # fmt: skip
        table = show.fitting(["run", "seed", *PARTS, "trained"], *ways, width=columns())
        caption = f"{root}/{'/'.join(place)}: {headline}, {'lower' if lower else 'higher'} is better"
        blocks.append(f"{caption}\n{table}")
    print("\n\n".join(blocks))


def _task(folder: Path) -> Mapping[str, Any]:
    config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    return (config.get("task") or {}) if isinstance(config, dict) else {}


def _value(run: places.Listed, part: str, headline: str) -> float | None:
    value = ((run.metrics.get(part) or {}).get(headline) or {}).get("value")
    return None if value is None else float(value)


def _order(run: places.Listed, headline: str, lower: bool) -> tuple[bool, float]:
    value = _value(run, "validation", headline)
    return value is None, (value if lower else -value) if value is not None else 0.0


def _day(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M")


def _as_json(run: places.Listed, task: Mapping[str, Any]) -> dict[str, Any]:
    headline = str(task.get("headline"))
    return {
        "path": context.relative(run.path),
        **{key: run.metrics[key] for key in (*places.GROUPS, "seed")},
        "trained_at": datetime.fromtimestamp(run.trained_at, UTC).isoformat(),
        "headline": headline,
        **{part: (run.metrics.get(part) or {}).get(headline) for part in PARTS},
    }
