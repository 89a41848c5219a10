"""Runs that stand above others: a sweep above its jobs and, where it tries several seeds, above each model's seeds one.

A note in the sweep's folder says which they are, since every job of a sweep begins anew.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from shopkeeper.files import write_json
from shopkeeper.schema import mlflow_name
from shopkeeper.tracking import Run
from shopkeeper.tracking.calls import Line, reason
from shopkeeper.tracking.settings import Tracking
from shopkeeper.tracking.store import connect

log = logging.getLogger(__name__)
SEEDS = "seeds"  # in the note: heading -> seed -> figures


def parent_of(tracking: Tracking, name: str, note: Path, above: Run | None = None) -> Run | None:
    """The run of a name that stands above others in one experiment; the first of them makes and notes it.

    None without tracking, and where the store does not answer: that is said by the run that asks next.

    `above`: the heading that it lies below itself.
    """
    if tracking.off:
        return None
    known, key = _noted(note), tracking.experiment if above is None else f"{tracking.experiment}: {name}"
    if key in known:
        return Run(known[key])
    line = Line()
    try:
        mlflow = connect(tracking, line)
        client, tags = mlflow.MlflowClient(), {"kind": "sweep" if above is None else SEEDS}
        if above is not None:
            tags["mlflow.parentRunId"] = str(above.run_id)

        def make() -> str:
            there = client.get_experiment_by_name(tracking.experiment).experiment_id
            made = client.create_run(there, run_name=name, tags=tags).info.run_id
            client.set_terminated(made)  # it is but a heading: those below it say how they ended
            return str(made)

        run_id = line.call(make)
    except Exception:
        return None
    finally:
        line.close()
    write_json(note, {**known, key: run_id})
    return Run(run_id)


def over_seeds(tracking: Tracking, heading: Run, note: Path, seed: int, figures: Mapping[str, float]) -> None:
    """Keep with a heading what the runs below it, which differ in their seed alone, come to so far.

    From the second seed on it has `<figure>_mean`, `<figure>_spread` (standard deviation between seeds) and `seeds`.
    """
    known = _noted(note)
    told: dict[str, Any] = known.setdefault(SEEDS, {}).setdefault(str(heading.run_id), {})
    told[str(seed)] = dict(figures)
    write_json(note, known)
    if len(told) < 2:
        return
    found = {"seeds": float(len(told))}
    for name in figures:
        values = [one[name] for one in told.values() if name in one]
        if len(values) == len(told):
            found |= {f"{name}_mean": mean(values), f"{name}_spread": stdev(values)}
    line = Line()
    try:
        client = connect(tracking, line, experiment=False).MlflowClient()
        for name, value in found.items():
            line.call(partial(client.log_metric, heading.run_id, mlflow_name(name), value))
    except Exception as e:  # drivers and clients of stores raise what they like
        log.warning("MLflow: the mean over seeds was not sent (%s); the runs have their figures", reason(e))
    finally:
        line.close()


def _noted(note: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(note.read_text(encoding="utf-8")) if note.is_file() else {}
    return found
