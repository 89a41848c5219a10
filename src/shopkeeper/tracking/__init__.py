"""Where runs are logged: MLflow, and only here. `tracking=none` switches it off.

SQLite by default, any tracking server by `tracking.uri` or MLFLOW_TRACKING_URI. Metric names lose their `@`, which
MLflow forbids: `ndcg@10` is logged as `test_ndcg_at_10`, its interval as `test_ndcg_at_10_low` / `_high`.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from shopkeeper.errors import UserError, without_secrets
from shopkeeper.schema import mlflow_name
from shopkeeper.shapes import Yaml
from shopkeeper.startup import without_collecting
from shopkeeper.tracking.calls import SECONDS, Line, reason
from shopkeeper.tracking.settings import Tracking
from shopkeeper.tracking.store import cannot, connect

log = logging.getLogger(__name__)
MAX_PARAMETER = 500  # characters that MLflow's SQL stores keep of a parameter's value
MOST_PARAMETERS = 100  # in one call
SECONDS_OF_A_FILE = 60.0  # an upload may take longer than a word


class Run:
    """What a verb may tell the tracker; every method does nothing when tracking is off.

    A store that stops answering while a model trains does not end the training: it is said once, and the run folder
    holds everything anyway. Where only the store of artifacts fails, figures and settings are still told.
    """

    def __init__(self, run_id: str | None = None, line: Line | None = None, experiment_id: str | None = None) -> None:
        self.run_id, self.experiment_id = run_id, experiment_id
        self.line = line or Line()
        self.lost = False  # the store has stopped answering
        self.no_files = False  # it keeps no files

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        """Log finite numbers under MLflow's names."""
        kept = {mlflow_name(k): float(v) for k, v in values.items() if v is not None and math.isfinite(v)}
        at = "" if step is None else f" from step {step} on"
        self._tell(f"metrics{at}", lambda mlflow: mlflow.log_metrics(kept, step=step))

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

    def parameters(self, config: Yaml) -> None:
        """Log a config's settings, groups as dotted names; what is null or empty says nothing and stays out."""
        flat = [
            (k, without_secrets(str(v))[:MAX_PARAMETER])
            for k, v in _flatten(config).items()
            if v not in (None, [], {}, "")
        ]
        for at in range(0, len(flat), MOST_PARAMETERS):
            self._tell("settings", partial(_log_parameters, dict(flat[at : at + MOST_PARAMETERS])))

    def dataset(self, name: str, fingerprint: str, part: str) -> None:
        """Say what the run was trained on: MLflow shows name and digest in a column of its own."""

        def tell(mlflow: Any) -> None:
            from mlflow.data.code_dataset_source import CodeDatasetSource
            from mlflow.data.meta_dataset import MetaDataset

            data = MetaDataset(CodeDatasetSource({"prepared": name}), name=name, digest=fingerprint[:12])
            mlflow.log_input(data, context=part)

        self._tell("the dataset's name", tell)

    def tags(self, values: Mapping[str, Any]) -> None:
        """Set tags; None is left out."""
        kept = {k: without_secrets(str(v)) for k, v in values.items() if v is not None}
        self._tell(f"tags {', '.join(kept)}", lambda mlflow: mlflow.set_tags(kept))

    def describe(self, markdown: str) -> None:
        """What stands at the top of the run's page."""
        self.tags({"mlflow.note.content": markdown})

    def file(self, path: Path, folder: str | None = None) -> None:
        """Keep a copy of a file with the run."""
        self._tell(path.name, lambda mlflow: mlflow.log_artifact(str(path), folder), is_file=True)

    def figure(self, figure: str, name: str) -> None:
        """Keep a picture (SVG) with the run, so that MLflow shows it."""
        self._tell(name, lambda mlflow: mlflow.log_text(figure, name), is_file=True)

    def _tell(self, what: str, call: Callable[[Any], Any], is_file: bool = False) -> None:
        if self.run_id is None or self.lost or (is_file and self.no_files):
            return
        import mlflow

        try:
            self.line.call(lambda: call(mlflow), SECONDS_OF_A_FILE if is_file else SECONDS)
        except Exception as e:  # drivers and clients of stores raise what they like; the run is worth more
            if is_file and not self.line.silent:
                self.no_files = True
                log.warning(
                    "MLflow: %s and what follows of files was not sent (%s); the run folder has it", what, reason(e)
                )
                return
            self.lost = True
            log.warning("MLflow stopped answering (%s): %s and what follows is not sent; the run goes on without it",
                        reason(e), what)  # fmt: skip

    def _end(self, status: str) -> None:
        if not self.lost:
            self._tell(f"that the run is {status.lower()}", lambda mlflow: mlflow.end_run(status))
        self.line.close()


@contextmanager
def start(tracking: Tracking, name: str, config: Yaml, parent: Run | None = None) -> Iterator[Run]:
    """One MLflow run around a verb, or below `parent`; it is marked failed when what is within raises.

    A `UserError` when the store cannot be reached. Below a parent whose store has gone away nothing is told.
    """
    if tracking.off or (parent is not None and parent.lost):
        yield Run()
        return
    line, above = Line(), None if parent is None else parent.run_id
    try:
        mlflow = connect(tracking, line)
        sampled = True if tracking.system_metrics else None  # None: as MLflow's own variable says
        with without_collecting():
            active = line.call(lambda: mlflow.start_run(run_name=name, parent_run_id=above, nested=above is not None,
                                                        log_system_metrics=sampled))  # fmt: skip
        run = Run(active.info.run_id, line, active.info.experiment_id)
    except Exception as e:
        if parent is None:
            raise e if isinstance(e, UserError) else cannot(tracking, e) from e
        parent.lost = True
        log.warning("MLflow stopped answering (%s): %s and what follows is not sent; the search goes on without it",
                    reason(e), name)  # fmt: skip
        run = Run()
    status = "FAILED"
    try:
        run.parameters(config)
        yield run
        status = "FINISHED"
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    finally:
        run._end(status)
        if parent is not None and run.lost:
            parent.lost = True


class Pages:
    """The pages of runs that have ended, to add to; the first failure of the store is said, and the rest left out.

    `gone`: ids of runs that were found to be deleted, or not there.
    """

    def __init__(self, tracking: Tracking) -> None:
        self.tracking, self.line = tracking, Line()
        self.closed = tracking.off
        self.gone: set[str] = set()

    def add(
        self,
        run_id: str | None,
        files: Mapping[str, Path],
        tags: Mapping[str, Any],
        figures: Mapping[str, str] | None = None,
    ) -> None:
        """Add files (by artifact folder), pictures (SVG, by name) and tags to a run."""
        if self.closed or run_id is None:
            return
        try:
            mlflow = connect(self.tracking, self.line, experiment=False)
            client = mlflow.MlflowClient()
            found = self.line.call(lambda: client.get_run(run_id))
        except Exception as e:
            if getattr(e, "error_code", None) == "RESOURCE_DOES_NOT_EXIST":
                self.gone.add(run_id)
            else:
                self.closed = True
            log.warning("MLflow run %s: the report was not added to it (%s); the report is whole", run_id, reason(e))
            return
        if found.info.lifecycle_stage == "deleted":
            self.gone.add(run_id)
            log.warning("MLflow run %s is deleted: the report was not added to it; the report is whole", run_id)
            return

        def tell() -> None:
            for key, value in tags.items():
                client.set_tag(run_id, key, without_secrets(str(value)))
            for folder, path in files.items():
                client.log_artifact(run_id, str(path), folder or None)
            for name, figure in (figures or {}).items():
                client.log_text(run_id, figure, name)

        try:
            self.line.call(tell, SECONDS_OF_A_FILE)
        except Exception as e:
            self.closed = True
            log.warning("MLflow run %s: the report was not added to it and to those after it (%s); the report is "
                        "whole", run_id, reason(e))  # fmt: skip

    def turn(self, old: Mapping[str, str], new: Mapping[str, str], experiments: Sequence[str], but: set[str]) -> None:
        """Give other tags to all runs of some experiments that have the tags `old`, `but` for some run ids."""
        if self.closed or not experiments:
            return
        asked = " and ".join(f"tags.{key} = '{value}'" for key, value in old.items())

        def tell() -> None:
            for run in client.search_runs(list(experiments), asked):
                for key, value in new.items() if run.info.run_id not in but else ():
                    client.set_tag(run.info.run_id, key, value)

        try:
            client = connect(self.tracking, self.line, experiment=False).MlflowClient()
            self.line.call(tell, SECONDS_OF_A_FILE)
        except Exception as e:
            self.closed = True
            log.warning("MLflow: runs of earlier reports keep their %s (%s); the report is whole",
                        ", ".join(new), reason(e))  # fmt: skip


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
