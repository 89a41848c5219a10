"""MLflow's registry: every bundle is a model that MLflow can serve, and two aliases say which one is served.

A registered model is called `<dataset>-<task>`. `challenger` is the bundle that was exported last, `champion` the one
that is served; a champion that gives way stays known as `previous`. `pipeline/handed/promote.py` lets it change.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import os
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from shopkeeper.errors import UserError
from shopkeeper.tracking.calls import Line, reason
from shopkeeper.tracking.settings import Tracking
from shopkeeper.tracking.store import cannot, connect

log = logging.getLogger(__name__)
CHALLENGER, CHAMPION, PREVIOUS = "challenger", "champion", "previous"
CODE = Path(__file__).parent / "bundle_model.py"


@dataclass(frozen=True)
class Version:
    """One version of a registered model."""

    name: str
    number: str
    tags: Mapping[str, str]
    source: str  # where its files are
    text: str = ""  # its description


@dataclass
class Registry:
    """The store of `tracking`; what it raises is one line."""

    tracking: Tracking
    experiment: bool = True  # False: of runs that are there, none is made
    line: Line = field(default_factory=Line)

    def __post_init__(self) -> None:
        os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
        with contextlib.suppress(ImportError):  # MLflow's models are half imported for good where it is not found first
            importlib.import_module("pandas")
        self.mlflow = connect(self.tracking, self.line, experiment=self.experiment)
        self.client = self.mlflow.MlflowClient()

    def add(
        self, bundle: Path, rows: Path, name: str, run_id: str | None, tags: Mapping[str, Any], example: Any
    ) -> Version:
        """Log a bundle with the run that it is of (a run of its own where that is not here), and name it challenger.

        A run stays in its own experiment, whatever the settings name: `export run=…` may be of another dataset or task.
        `rows`: what it was judged on, so that a later challenger can be set beside it; `example`: a request.
        """
        with self._quiet():
            import mlflow.pyfunc

            of = None if run_id is None else self._experiment_of(run_id)
            if of is None:
                connect(self.tracking, self.line)
            else:
                mlflow.set_experiment(experiment_id=of)
            with mlflow.start_run(run_id=None if of is None else run_id, run_name=name if of is None else None):
                info = mlflow.pyfunc.log_model(
                    name="bundle",
                    python_model=str(CODE),
                    artifacts={"bundle": str(bundle), "rows": str(rows)},
                    input_example=[example],
                    pip_requirements=["shopkeeper[serving]"],
                    registered_model_name=name,
                    metadata={key: str(value) for key, value in tags.items()},
                )
            version = str(info.registered_model_version)
            for key, value in tags.items():
                self.client.set_model_version_tag(name, version, key, str(value))
            card = (bundle / "card.md").read_text(encoding="utf-8")
            self.client.update_model_version(name, version, card)
            self.client.set_registered_model_alias(name, CHALLENGER, version)
        return self._version(self.client.get_model_version(name, version))

    def find(self, name: str, alias: str) -> Version | None:
        """The version that an alias names; None where it names none."""
        with self._quiet():
            try:
                return self._version(self.client.get_model_version_by_alias(name, alias))
            except self.mlflow.exceptions.MlflowException as e:
                if e.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                    return None
                raise

    def names(self) -> list[str]:
        """Of the models that are registered."""
        with self._quiet():
            return [one.name for one in self.client.search_registered_models()]

    @contextlib.contextmanager
    def files(self, version: Version) -> Iterator[tuple[Path, Path]]:
        """The bundle and the rows of a version, in a folder that is there within."""
        with tempfile.TemporaryDirectory() as place:
            with self._quiet():
                got = Path(self.mlflow.artifacts.download_artifacts(version.source, dst_path=place)) / "artifacts"
            found = next(got.glob("*/manifest.json"), None)
            if found is None:
                raise UserError(f"version {version.number} of {version.name} holds no bundle; export the model again")
            yield found.parent, next(got.glob("*.parquet"), got / "rows.parquet")

    def note(self, version: Version, tags: Mapping[str, Any], text: str) -> None:
        """Set tags of a version and its description."""
        with self._quiet():
            for key, value in tags.items():
                self.client.set_model_version_tag(version.name, version.number, key, str(value))
            self.client.update_model_version(version.name, version.number, text)

    def point(self, name: str, alias: str, number: str) -> None:
        """Let an alias name a version."""
        with self._quiet():
            self.client.set_registered_model_alias(name, alias, number)

    def _experiment_of(self, run_id: str) -> str | None:
        """The experiment of a run; None where it is not here, or deleted."""
        try:
            found = self.client.get_run(run_id).info
        except self.mlflow.exceptions.MlflowException:
            return None
        return str(found.experiment_id) if found.lifecycle_stage == "active" else None

    def _version(self, found: Any) -> Version:
        source = self.client.get_model_version_download_uri(found.name, found.version)
        return Version(found.name, str(found.version), dict(found.tags), source, found.description or "")

    @contextlib.contextmanager
    def _quiet(self) -> Iterator[None]:
        """MLflow says more of a model than anybody asked; what goes wrong is a `UserError`."""
        with contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                yield
            except UserError:
                raise
            except (self.mlflow.exceptions.MlflowException, OSError) as e:
                raise cannot(self.tracking, e) from e


def log_bundle(tracking: Tracking, bundle: Path, *told: Any) -> None:
    """`Registry.add`, which never ends an export: what does not work is said, and the folder is whole."""
    if tracking.off:
        return
    try:
        version = Registry(tracking, experiment=False).add(bundle, *told)
    except Exception as e:  # drivers and clients of stores raise what they like
        log.warning("MLflow: the bundle was not registered (%s); %s is whole", reason(e), bundle)
        return
    log.info("MLflow: %s is version %s of %s, the challenger", bundle, version.number, version.name)
