"""Where a browser finds a report's runs side by side in MLflow, from the report's manifest alone."""

from __future__ import annotations

import json
from collections.abc import Container, Mapping
from typing import Any
from urllib.parse import quote

from shopkeeper.errors import without_secrets

HERE = "http://127.0.0.1:5000"  # where `make ui` shows a database file


def addresses(manifest: Mapping[str, Any], uri: str = "", gone: Container[str] = ()) -> dict[str, str]:
    """By task the address of MLflow's page that compares its runs; none of tasks whose runs it does not know.

    `uri`: the tracking server; of a database file, the page is where `make ui` shows it. `gone`: ids of runs that it
    has no longer.

    >>> runs = [{"task": "t", "mlflow_run": run, "mlflow_experiment": "3"} for run in "ab"]
    >>> addresses({"runs": runs})
    {'t': 'http://127.0.0.1:5000/#/compare-runs?runs=%5B%22a%22%2C%22b%22%5D&experiments=%5B%223%22%5D'}
    """
    found: dict[str, tuple[list[str], list[str]]] = {}
    for run in manifest.get("runs") or []:
        if run.get("mlflow_run") and run.get("mlflow_experiment") and run["mlflow_run"] not in gone:
            ids, experiments = found.setdefault(str(run["task"]), ([], []))
            ids.append(str(run["mlflow_run"]))
            experiments += [one] if (one := str(run["mlflow_experiment"])) not in experiments else []
    base = without_secrets(uri).rstrip("/") if uri.startswith(("http://", "https://")) else HERE
    return {
        task: f"{base}/#/compare-runs?runs={_listed(ids)}&experiments={_listed(experiments)}"
        for task, (ids, experiments) in found.items()
    }


def _listed(names: list[str]) -> str:
    return quote(json.dumps(names, separators=(",", ":")), safe="")
