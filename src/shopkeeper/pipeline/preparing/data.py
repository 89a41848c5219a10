"""The prepared dataset of a config: opened, or made where it is missing or was made from something else."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from typing import Any

from shopkeeper.data.prepared import HASHED_RAW, Prepared
from shopkeeper.errors import UserError
from shopkeeper.files import read_json, sha256_json
from shopkeeper.folders import check_target
from shopkeeper.ingest.dataset import parse
from shopkeeper.ingest.matches import as_line, doubtful, matches_of
from shopkeeper.ingest.raw import raw_changes
from shopkeeper.locks import alone
from shopkeeper.pipeline import context
from shopkeeper.pipeline.told import Data, Prepare
from shopkeeper.timeline import iso

log = logging.getLogger(__name__)
of_frames: ContextVar[bool] = ContextVar("of_frames", default=False)  # of frames in memory, not of files and a config


def prepare_data(config: Data, as_of: int | None = None) -> Prepared:
    """Open the prepared dataset of a config, making it when it is missing or was made from another config.

    Where customers' keys are joined as of each cutoff, `as_of` (µs) gives the dataset as it was known then, in
    `as_of/<instant>/` below the other; without it every key is a customer of its own.
    """
    folder = context.prepared_folder(config)
    if as_of is None:
        spec, span = context.dataset_spec(config), None
    else:
        spec, span = context.dataset_spec(config, as_of), prepare_data(config).span
        folder = folder / "as_of" / iso(as_of).replace(":", "")
    raw = config.paths.raw
    if _stale(folder, spec, raw, span):
        folder = check_target(folder, "prepared")  # before the log is read
        with alone(folder, lambda: log.info("another process is preparing %s; waiting for it", folder)):
            reason = _stale(folder, spec, raw, span)  # whoever was first has done it
            if reason:
                log.info("%s: %s", folder, reason)
                _make(config, spec, folder, span)
                if as_of is None:  # as of a cutoff the log is the same
                    say_rejected(folder, str(read_json(folder / "manifest.json")["fingerprint"]))
    elif (extend := _extends(config)) and as_of is None:
        log.info("extend=%s adds nothing: %s holds all its files already", extend, folder)
    prepared = Prepared.open(folder)
    for match in matches_of(prepared.manifest):
        if doubtful(match):
            warn_once(as_line(match, of_frames.get()))
    return prepared


@cache
def say_rejected(folder: Path, fingerprint: str) -> None:
    """Once for each dataset as it is (`fingerprint`): how many rows are no events, and why."""
    manifest = read_json(folder / "manifest.json")
    if isinstance(rejected := manifest.get("rejected"), Mapping) and rejected:
        log.info("rejected %s rows, which %s keeps:", f"{manifest['n_rejected']:,}",
                 context.relative(folder / "rejected.parquet"))  # fmt: skip
        for reason, n in rejected.items():
            log.info("  %8s  %s", f"{n:,}", reason)


@cache
def warn_once(line: str) -> None:
    """A command opens a dataset several times."""
    log.warning("%s", line)


def _make(config: Data, spec: Mapping[str, Any], folder: Path, log_span: tuple[int, int] | None = None) -> None:
    """Prepare from the raw files, or, with `extend=<prepared folder>`, read only the files that are new."""
    from shopkeeper.arrange.extend import extend_dataset
    from shopkeeper.arrange.prepare import prepare_dataset
    from shopkeeper.people.rules import customer_rules

    raw, progress = config.paths.raw, config.progress
    if (extend := _extends(config)) and log_span is None:
        log.info("extending %s", extend)
        extend_dataset(extend, spec, raw, folder, progress=progress)
        return
    fetch_raw(config, only_missing=True)
    log.info("preparing %s%s", spec["name"], "" if log_span is None else f" as of {spec['identity']['as_of']}")
    change = customer_rules(spec, raw)
    engine = config.engine
    prepare_dataset(spec, raw, folder, progress=progress, change=change, engine=engine, log_span=log_span)


def fetch_raw(config: Data, *, only_missing: bool = False) -> None:
    """What `raw.fetch` names, put below paths.raw; `prepare` fetches all of it anew, other verbs what is not there."""
    told = context.dataset_spec(config)
    if (told.get("raw") or {}).get("fetch"):
        from shopkeeper.ingest.fetch.run import fetch

        fetch(parse(told), config.paths.raw, only_missing=only_missing)


def _extends(config: Data) -> Path | None:
    """The prepared folder that this command adds to: only `prepare` knows such a thing."""
    return config.extend if isinstance(config, Prepare) else None


def _stale(folder: Path, spec: Mapping[str, Any], raw: Path, log_span: tuple[int, int] | None = None) -> str | None:
    """Why a folder has to be prepared (anew): nothing there, another config, other raw files; None where it has not."""
    if not (folder / "manifest.json").is_file():
        return "nothing prepared there yet"
    found = read_json(folder / "manifest.json")
    if not isinstance(found, dict) or found.get("kind") != "prepared":
        raise UserError(f"{folder} holds something else than a prepared dataset; move it away or set paths.prepared")
    span = None if log_span is None else {"first": log_span[0], "last": log_span[1]}
    if sha256_json(found.get("config")) != sha256_json(spec) or found.get("log_span") != span:
        return "prepared from another config before"
    if found.get("format_version", 1) < HASHED_RAW:
        return "prepared by an older version before"
    return raw_changes(found, raw)
