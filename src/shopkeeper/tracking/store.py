"""Which MLflow store and experiment a run belongs to: connected within seconds, or told why not in one line."""

from __future__ import annotations

import logging
import os
import re
import sqlite3
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

from shopkeeper.errors import UserError, without_secrets
from shopkeeper.startup import without_collecting
from shopkeeper.tracking.calls import SECONDS, Line, reason, without_unused
from shopkeeper.tracking.settings import Tracking

log = logging.getLogger(__name__)
SECONDS_OF_A_DATABASE = 300.0  # in a file: MLflow makes its tables, and reports a lock by itself
HALF_MADE = re.compile(r"table \w+ already exists|no such table|out-of-date database schema|locate revision", re.I)
# Within MLflow's own minutes of retries a training would stand still. Whoever has set one of these keeps it.
IMPATIENT = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10", "PGCONNECT_TIMEOUT": "10",
             "AWS_MAX_ATTEMPTS": "2"}  # fmt: skip


def connect(tracking: Tracking, line: Line, experiment: bool = True) -> Any:
    """The module mlflow, set to the store and, with `experiment`, to the experiment of `tracking`.

    A `UserError` when the package is missing, the store does not answer or refuses, or the experiment is deleted.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    for name, value in IMPATIENT.items():
        os.environ.setdefault(name, value)
    if without_secrets(tracking.uri) != tracking.uri:  # MLflow prints a run's address as it is
        os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
    try:
        with without_unused(), without_collecting():
            import mlflow
    except ImportError:
        raise UserError('MLflow is not installed: `pip install "shopkeeper[track]"`, or tracking=none') from None
    for name in ("alembic", "mlflow"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for name in ("urllib3.connectionpool", "mlflow.store.db.utils"):  # what they warn of comes as an error, too
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with without_collecting():
            line.call(lambda: _set(mlflow, tracking, experiment), _patience(tracking.uri))
    except UserError:
        raise
    except Exception as e:  # whatever the store's driver raises: a refused connection, a missing driver, a bad URI
        raise cannot(tracking, e) from e
    return mlflow


def cannot(tracking: Tracking, error: BaseException) -> UserError:
    """The error for a store that does not answer or refuses."""
    shown, why = without_secrets(tracking.uri), reason(error)
    file = _file(tracking.uri)
    if file is not None and file.exists() and HALF_MADE.search(why):
        return UserError(
            f"MLflow's database {file} is half made or of another version ({why}): move it away, or, where it holds "
            f"runs of an older MLflow, call `mlflow db upgrade`"
        )
    return UserError(f"cannot reach MLflow at {shown} ({why}); set tracking.uri, or tracking=none")


def _set(mlflow: Any, tracking: Tracking, experiment: bool) -> None:
    uri = tracking.uri
    _make_database(mlflow, _whole(uri))
    mlflow.set_tracking_uri(_whole(uri))
    if not experiment:
        return
    name = tracking.experiment
    found = mlflow.get_experiment_by_name(name)
    if found is not None and found.lifecycle_stage == "deleted":
        raise UserError(
            f"MLflow's experiment '{name}' at {without_secrets(uri)} is deleted: restore it (`MLFLOW_TRACKING_URI=… "
            f"mlflow experiments restore --experiment-id {found.experiment_id}`), or take another name with "
            f"tracking.experiment=…"
        )
    if uri.startswith("sqlite"):
        place = f"{tracking.artifacts.resolve().as_uri()}/{name}"
        if found is None:
            mlflow.create_experiment(name, artifact_location=place)
        else:
            _bring_along(uri, name, found, place, tracking.artifacts.resolve())
    mlflow.set_experiment(name)


def _whole(uri: str) -> str:
    """A file's address with its whole path: MLflow keeps connections by address, whatever folder the process is in."""
    scheme, found, rest = uri.partition(":///")
    file, *options = rest.partition("?")
    if not found or not scheme.startswith("sqlite") or not file or file.startswith((":", "file:")):
        return uri
    return f"{scheme}:///{Path(file).absolute()}{''.join(options)}"


def _file(uri: str) -> Path | None:
    """The database file of an address, None where it is none."""
    scheme, found, rest = _whole(uri).partition(":///")
    file = rest.partition("?")[0]
    return Path(file) if found and scheme.startswith("sqlite") and Path(file).is_absolute() else None


def _patience(uri: str) -> float:
    """Seconds to wait for a store: longer for a database file, where a busy machine is all that is waited for."""
    return SECONDS if _file(uri) is None else SECONDS_OF_A_DATABASE


def _make_database(mlflow: Any, uri: str) -> None:
    """A database file that is not there yet is made under another name and is there at one instant.

    MLflow makes its tables in some 50 steps, and one that is left in between, by Ctrl-C, refuses every later command.
    """
    file = _file(uri)
    if file is None or file.exists() or not file.parent.is_dir():
        return
    begins = f".{file.name}.new-"
    for left in file.parent.glob(f"{begins}*"):  # by processes that were ended
        if not _runs(left.name.removeprefix(begins).partition("-")[0]):
            left.unlink(missing_ok=True)
    aside = file.with_name(f"{begins}{os.getpid()}")
    try:
        mlflow.MlflowClient(uri.replace(str(file), str(aside), 1)).search_experiments(max_results=1)
        try:
            os.link(aside, file)
        except FileExistsError:  # another command was sooner
            pass
        except OSError:  # a disk without links
            os.replace(aside, file)
    finally:
        aside.unlink(missing_ok=True)


def _runs(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except (ValueError, OverflowError, ProcessLookupError):
        return False
    except PermissionError:
        return True
    return True


def _bring_along(uri: str, name: str, experiment: Any, place: str, artifacts: Path) -> None:
    """In a project that was copied or renamed with its SQLite file, the artifacts lie below the new folder.

    MLflow keeps absolute paths. They are changed where the file lies beside the folder of artifacts and the old place
    was one of ours (`<artifacts>/<experiment>`); earlier runs follow if their files are here.
    """
    old = str(experiment.artifact_location)
    file = Path(uri.partition("///")[2].partition("?")[0]).resolve()
    ours = _path(old).name == name and _path(old).parent.name == artifacts.name
    if old == place or not ours or _path(old) == _path(place) or file.parent != artifacts.parent:
        return
    with sqlite3.connect(file, timeout=5) as database:
        of = database.execute(
            "SELECT run_uuid, artifact_uri FROM runs WHERE experiment_id = ?", [int(experiment.experiment_id)]
        ).fetchall()
        moved = [(place + uri[len(old) :], run) for run, uri in of if uri and uri.startswith(f"{old}/")]
        here = [(new, run) for new, run in moved if _path(new).exists()]
        database.executemany("UPDATE runs SET artifact_uri = ? WHERE run_uuid = ?", here)
        database.execute(
            "UPDATE experiments SET artifact_location = ? WHERE experiment_id = ?",
            [place, int(experiment.experiment_id)],
        )
    database.close()
    log.info(
        "MLflow's artifacts of '%s' lie below %s from now on, not %s: this project was copied or moved (%d of %d "
        "earlier runs came along)", name, artifacts, _path(old).parent, len(here), len(of)
    )  # fmt: skip


def _path(uri: str) -> Path:
    return Path(unquote(urlparse(uri).path)) if uri.startswith("file:") else Path(uri)
