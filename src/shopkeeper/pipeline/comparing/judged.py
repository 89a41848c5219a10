"""What a finished report says of a run beside the strongest baseline: for the card of its bundle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from shopkeeper.pipeline.comparing.choose import headline_of
from shopkeeper.pipeline.runs import RunFolder


def judged(run: RunFolder, reports: Path) -> dict[str, Any] | None:
    """The comparison on test of a run and its task's baseline, the run as b, from the report of its split.

    None: there is no report of this very run (its figure on test is another), or the run is the baseline.
    """
    place = reports / str(run.metrics["dataset"]) / str(run.metrics["split"])
    try:
        manifest, board, found = (
            json.loads((place / name).read_text(encoding="utf-8"))
            for name in ("manifest.json", "leaderboard.json", "comparisons.json")
        )
        baseline = manifest["baselines"][run.task]
        value = board[run.task][run.metrics["model"]][headline_of(run)]
    except (OSError, ValueError, KeyError, TypeError):  # none yet, or one of an older version
        return None
    model, headline = str(run.metrics["model"]), headline_of(run)
    if value != (run.metrics.get("test") or {}).get(headline, {}).get("value"):
        return None
    for one in found.get(run.task) or ():
        if one["metric"] == headline and {one["a"], one["b"]} == {model, baseline}:
            turned = one["a"] == model
            sign = -1 if turned else 1
            low, high = (one["high"], one["low"]) if turned else (one["low"], one["high"])
            signed = {"difference": one["difference"], "low": low, "high": high}
            return {
                "baseline": baseline,
                "metric": headline,
                **{key: None if v is None else sign * v for key, v in signed.items()},
                "p_adjusted": one["p_adjusted"],
                "better": one["winner"] == model,
                "method": one["method"],
                "statement": one["statement"],
            }
    return None
