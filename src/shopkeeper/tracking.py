"""Where runs are logged: MLflow, and only here. `tracking=none` switches it off.

SQLite by default, any tracking server by `tracking.uri` or MLFLOW_TRACKING_URI. Metric names lose their `@`, which
MLflow forbids: `ndcg@10` is logged as `test_ndcg_at_10`, its interval as `test_ndcg_at_10_low` / `_high`.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from shopkeeper.errors import UserError
from shopkeeper.schema import mlflow_name

log = logging.getLogger(__name__)
MAX_PARAMETER = 500  # characters that MLflow's SQL stores keep of a parameter's value


class Run:
    """What a verb may tell the tracker; every method does nothing when tracking is off."""

    def __init__(self, run_id: str | None = None) -> None:
        self.run_id = run_id

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        """Log finite numbers under MLflow's names."""
        if self.run_id is None:
            return
        import math

        import mlflow

        kept = {mlflow_name(k): float(v) for k, v in values.items() if v is not None and math.isfinite(v)}
        mlflow.log_metrics(kept, step=step)

    def results(self, metrics: Mapping[str, Any]) -> None:
        """Log the `validation` and `test` parts of a `metrics.json`, intervals included."""
        flat: dict[str, float] = {}
        for part in ("validation", "test"):
            for name, entry in (metrics.get(part) or {}).items():
                flat[f"{part}_{name}"] = entry["value"]
                for bound in ("low", "high"):
                    if entry.get(bound) is not None:
                        flat[f"{part}_{name}_{bound}"] = entry[bound]
        self.metrics(flat)

    def tags(self, values: Mapping[str, Any]) -> None:
        """Set tags."""
        if self.run_id is None:
            return
        import mlflow

        mlflow.set_tags({k: str(v) for k, v in values.items()})

    def file(self, path: Path, folder: str | None = None) -> None:
        """Keep a copy of a file with the run."""
        if self.run_id is None:
            return
        import mlflow

        mlflow.log_artifact(str(path), folder)

    def figure(self, figure: Any, name: str) -> None:
        """Keep a matplotlib figure with the run, so that MLflow shows it."""
        if self.run_id is None:
            return
        import mlflow

        mlflow.log_figure(figure, name)


@contextmanager
def start(
    tracking: Mapping[str, Any], name: str, config: Mapping[str, Any], parent: str | None = None
) -> Iterator[Run]:
    """One MLflow run around a verb; it is marked failed when the verb raises."""
    if tracking["name"] == "none":
        yield Run()
        return
    mlflow = _connect(tracking)
    with mlflow.start_run(run_name=name, parent_run_id=parent, nested=parent is not None) as active:
        parameters = {k: str(v)[:MAX_PARAMETER] for k, v in _flatten(config).items()}
        for at in range(0, len(parameters), 100):
            mlflow.log_params(dict(list(parameters.items())[at : at + 100]))
        yield Run(active.info.run_id)


def log_to(tracking: Mapping[str, Any], run_id: str | None, files: Mapping[str, Path], tags: Mapping[str, Any]) -> None:
    """Add files (by artifact folder) and tags to a run that has ended."""
    if tracking["name"] == "none" or run_id is None:
        return
    mlflow = _connect(tracking)
    try:
        client = mlflow.MlflowClient()
        for folder, path in files.items():
            client.log_artifact(run_id, str(path), folder or None)
        for key, value in tags.items():
            client.set_tag(run_id, key, str(value))
    except mlflow.exceptions.MlflowException as e:
        log.warning("MLflow run %s is not in this store (%s); the report was not added to it", run_id, e.message)


def _connect(tracking: Mapping[str, Any]) -> Any:
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    try:
        import mlflow
    except ImportError:
        raise UserError('MLflow is not installed: `pip install "shopkeeper[track]"`, or tracking=none') from None
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    uri = str(tracking["uri"])
    try:
        mlflow.set_tracking_uri(uri)
        name = str(tracking["experiment"])
        if uri.startswith("sqlite") and mlflow.get_experiment_by_name(name) is None:
            place = Path(tracking["artifacts"]).resolve().as_uri()
            mlflow.create_experiment(name, artifact_location=f"{place}/{name}")
        mlflow.set_experiment(name)
    except mlflow.exceptions.MlflowException as e:
        raise UserError(f"cannot reach MLflow at {uri} ({e.message}); set tracking.uri, or tracking=none") from None
    return mlflow


def _flatten(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, entry in value.items():
        if isinstance(entry, Mapping) and entry:
            flat.update(_flatten(entry, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = entry
    return flat
