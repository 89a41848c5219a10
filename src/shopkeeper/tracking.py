"""Where runs are logged: MLflow, and only here. `tracking=none` switches it off.

SQLite by default, any tracking server by `tracking.uri` or MLFLOW_TRACKING_URI. Metric names lose their `@`, which
MLflow forbids: `ndcg@10` is logged as `test_ndcg_at_10`, its interval as `test_ndcg_at_10_low` / `_high`.
"""

from __future__ import annotations

import logging
import math
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from shopkeeper.errors import UserError
from shopkeeper.schema import mlflow_name

log = logging.getLogger(__name__)
MAX_PARAMETER = 500  # characters that MLflow's SQL stores keep of a parameter's value
MOST_PARAMETERS = 100  # in one call
MOST_SAID = 200  # characters of MLflow's own message
IMPATIENT = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}


class Run:
    """What a verb may tell the tracker; every method does nothing when tracking is off.

    A store that stops answering while a model trains does not end the training: it is told once, and the run folder
    holds everything anyway.
    """

    def __init__(self, run_id: str | None = None) -> None:
        self.run_id = run_id
        self.lost = False  # the store has stopped answering

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        """Log finite numbers under MLflow's names."""
        kept = {mlflow_name(k): float(v) for k, v in values.items() if v is not None and math.isfinite(v)}
        self._tell(lambda mlflow: mlflow.log_metrics(kept, step=step))

    def results(self, metrics: Mapping[str, Any]) -> None:
        """Log the `validation` and `test` parts of a `metrics.json`, intervals included."""
        flat: dict[str, float] = {}
        for part, at in (("validation", "validation/"), ("test", "test_")):
            for name, entry in (metrics.get(part) or {}).items():
                flat[f"{at}{name}"] = entry["value"]
                for bound in ("low", "high"):
                    if entry.get(bound) is not None:
                        flat[f"intervals/{part}_{name}_{bound}"] = entry[bound]
        self.metrics(flat)

    def parameters(self, config: Mapping[str, Any]) -> None:
        """Log a config's settings, groups as dotted names; what is null or empty says nothing and stays out."""
        flat = [(k, str(v)[:MAX_PARAMETER]) for k, v in _flatten(config).items() if v not in (None, [], {}, "")]
        for at in range(0, len(flat), MOST_PARAMETERS):
            self._tell(partial(_log_parameters, dict(flat[at : at + MOST_PARAMETERS])))

    def dataset(self, name: str, fingerprint: str, part: str) -> None:
        """Say what the run was trained on: MLflow shows name and digest in a column of its own."""

        def tell(mlflow: Any) -> None:
            from mlflow.data.code_dataset_source import CodeDatasetSource
            from mlflow.data.meta_dataset import MetaDataset

            data = MetaDataset(CodeDatasetSource({"prepared": name}), name=name, digest=fingerprint[:12])
            mlflow.log_input(data, context=part)

        self._tell(tell)

    def tags(self, values: Mapping[str, Any]) -> None:
        """Set tags; None is left out."""
        kept = {k: str(v) for k, v in values.items() if v is not None}
        self._tell(lambda mlflow: mlflow.set_tags(kept))

    def describe(self, markdown: str) -> None:
        """What stands at the top of the run's page."""
        self.tags({"mlflow.note.content": markdown})

    def file(self, path: Path, folder: str | None = None) -> None:
        """Keep a copy of a file with the run."""
        self._tell(lambda mlflow: mlflow.log_artifact(str(path), folder))

    def figure(self, figure: Any, name: str) -> None:
        """Keep a matplotlib figure with the run, so that MLflow shows it."""
        self._tell(lambda mlflow: mlflow.log_figure(figure, name))

    def _tell(self, call: Callable[[Any], Any]) -> None:
        if self.run_id is None or self.lost:
            return
        import mlflow

        try:
            call(mlflow)
        except (mlflow.exceptions.MlflowException, OSError) as e:
            self.lost = True
            log.warning("MLflow stopped answering (%s); the run goes on without it", _first_line(e))


@contextmanager
def start(
    tracking: Mapping[str, Any], name: str, config: Mapping[str, Any], parent: str | None = None
) -> Iterator[Run]:
    """One MLflow run around a verb; it is marked failed when the verb raises."""
    if tracking["name"] == "none":
        yield Run()
        return
    mlflow = _connect(tracking)
    active = mlflow.start_run(run_name=name, parent_run_id=parent, nested=parent is not None)
    run, status = Run(active.info.run_id), "FAILED"
    try:
        run.parameters(config)
        yield run
        status = "FINISHED"
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    finally:
        try:
            with _impatient():
                mlflow.end_run(status)
        except (mlflow.exceptions.MlflowException, OSError) as e:
            log.warning("MLflow could not be told that the run has ended (%s)", _first_line(e))


def log_to(
    tracking: Mapping[str, Any],
    run_id: str | None,
    files: Mapping[str, Path],
    tags: Mapping[str, Any],
    figures: Mapping[str, Any] | None = None,
) -> None:
    """Add files (by artifact folder), matplotlib figures (by name) and tags to a run that has ended."""
    if tracking["name"] == "none" or run_id is None:
        return
    mlflow = _connect(tracking)
    try:
        client = mlflow.MlflowClient()
        client.get_run(run_id)
        for folder, path in files.items():
            client.log_artifact(run_id, str(path), folder or None)
        for name, figure in (figures or {}).items():
            client.log_figure(run_id, figure, name)
        for key, value in tags.items():
            client.set_tag(run_id, key, str(value))
    except (mlflow.exceptions.MlflowException, OSError) as e:
        log.warning("MLflow run %s: the report was not added to it (%s)", run_id, _first_line(e))


def _connect(tracking: Mapping[str, Any]) -> Any:
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    try:
        import mlflow
    except ImportError:
        raise UserError('MLflow is not installed: `pip install "shopkeeper[track]"`, or tracking=none') from None
    for name in ("alembic", "mlflow", "urllib3.connectionpool"):
        logging.getLogger(name).setLevel(logging.WARNING if name != "urllib3.connectionpool" else logging.ERROR)
    uri = str(tracking["uri"])
    try:
        with _impatient():
            mlflow.set_tracking_uri(uri)
            name = str(tracking["experiment"])
            if uri.startswith("sqlite") and mlflow.get_experiment_by_name(name) is None:
                place = Path(tracking["artifacts"]).resolve().as_uri()
                mlflow.create_experiment(name, artifact_location=f"{place}/{name}")
            mlflow.set_experiment(name)
    except Exception as e:  # whatever the store's driver raises: a refused connection, a missing driver, a bad URI
        shown = re.sub(r"//[^@/]*@", "//", uri)  # no password in a log
        raise UserError(f"cannot reach MLflow at {shown} ({_first_line(e)}); set tracking.uri, or tracking=none") from e
    return mlflow


@contextmanager
def _impatient() -> Iterator[None]:
    """Within this, an unreachable server is given up after seconds, not after MLflow's usual minutes of retries."""
    kept = {name: os.environ.get(name) for name in IMPATIENT}
    os.environ.update({name: value for name, value in IMPATIENT.items() if kept[name] is None})
    try:
        yield
    finally:
        for name, value in kept.items():
            if value is None:
                os.environ.pop(name, None)


def _first_line(error: BaseException) -> str:
    """An error's first line, short and without the passwords in its URLs."""
    lines = str(getattr(error, "message", None) or error).strip().splitlines() or [type(error).__name__]
    return re.sub(r"//[^@/\s]*@", "//", lines[0])[:MOST_SAID]


def _log_parameters(values: dict[str, str], mlflow: Any) -> None:
    mlflow.log_params(values)


def _flatten(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, entry in value.items():
        if isinstance(entry, Mapping) and entry:
            flat.update(_flatten(entry, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = entry
    return flat
